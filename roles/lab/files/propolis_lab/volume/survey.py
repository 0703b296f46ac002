# SPDX-License-Identifier: GPL-3.0-or-later
"""What three downstairs say about their regions over the repair API, which opens no session and fences nobody.

The API is served on the data port plus 4000 (seen). The downstairs of 2023 serve no ``/region-info``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen
from uuid import UUID

from propolis_lab.protocol.basics import SocketAddress
from propolis_lab.upstairs.errors import RequestError
from propolis_lab.upstairs.fields import Fields

REPAIR_PORT_DISTANCE = 4000
MOST_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Geometry:
    """What three regions of a volume have in common. Sizes in bytes and blocks."""

    block_size: int
    blocks_per_extent: int
    extent_count: int
    encrypted: bool

    @property
    def size(self) -> int:
        return self.block_size * self.blocks_per_extent * self.extent_count

    def __str__(self) -> str:
        secret = "encrypted" if self.encrypted else "not encrypted"
        return f"{self.extent_count} extents x {self.blocks_per_extent} blocks x {self.block_size} bytes, {secret}"


@dataclass(frozen=True)
class Answer:
    """One downstairs: what it said, or why there is nothing. ``read_only`` is None when it did not say."""

    target: SocketAddress
    uuid: UUID | None = None
    geometry: Geometry | None = None
    read_only: bool | None = None
    problem: str = ""


class SurveyError(Exception):
    """The three downstairs don't make a volume; the text says why, downstairs by downstairs."""


def ask(targets: Sequence[SocketAddress], timeout: float) -> list[Answer]:
    """Ask all targets at once, each question for ``timeout`` seconds at most."""
    with ThreadPoolExecutor(max_workers=max(1, len(targets))) as pool:
        return list(pool.map(lambda target: _ask_one(target, timeout), targets))


def problems(answers: Sequence[Answer]) -> list[str]:
    """Why the regions are not three replicas of one volume; empty when they can be."""
    found = [f"{answer.target}: {answer.problem}" for answer in answers if answer.problem]
    told = [answer for answer in answers if answer.geometry is not None]
    found += [
        f"{answer.target} has {answer.geometry}, but {told[0].target} has {told[0].geometry}"
        for answer in told[1:]
        if answer.geometry != told[0].geometry
    ]
    seen: dict[UUID | None, SocketAddress] = {}
    for answer in told:
        if answer.uuid in seen:
            found.append(f"{answer.target} and {seen[answer.uuid]} serve the same region {answer.uuid}")
        seen.setdefault(answer.uuid, answer.target)
    modes = {answer.read_only for answer in told if answer.read_only is not None}
    if len(modes) > 1:
        found.append("some of the downstairs are read-only, others are not")
    return found


def agree(answers: Sequence[Answer]) -> Geometry:
    """The geometry that all answers give. Raises SurveyError when they don't, or when it can't be known."""
    told = [answer.geometry for answer in answers if answer.geometry is not None]
    wrong = [f"{answer.target}: {answer.problem}" for answer in answers if answer.problem]
    if not told:
        raise SurveyError("No downstairs tells its geometry:\n  " + "\n  ".join(wrong))
    if any(geometry != told[0] for geometry in told):
        raise SurveyError("The downstairs don't fit together:\n  " + "\n  ".join(problems(answers)))
    return told[0]


def _ask_one(target: SocketAddress, timeout: float) -> Answer:
    port = target.port + REPAIR_PORT_DISTANCE
    if port > 65535:
        return Answer(target, problem=f"its repair port would be {port}, which is none; the data port must be <= 61535")
    try:
        fields = Fields(_get(SocketAddress(target.ip, port), "/region-info", timeout), "struct RegionDefinition")
        extent = Fields(fields.need("extent_size"), "struct Block")
        numbers = fields.number("block_size"), extent.number("value"), fields.number("extent_count")
        geometry = Geometry(*numbers, fields.truth("encrypted"))
        mode = _get(SocketAddress(target.ip, port), "/region-mode", timeout)
        return Answer(target, fields.uuid("uuid"), geometry, mode if isinstance(mode, bool) else None)
    except HTTPError as error:
        old = " (the downstairs of 2023 never tell it)" if error.code == 404 else ""
        return Answer(target, problem=f"its repair port {port} answers {error.code} when asked for the region{old}")
    except (URLError, TimeoutError, OSError, HTTPException) as error:
        return Answer(target, problem=f"its repair port {port} can't be asked: {getattr(error, 'reason', error)}")
    except (ValueError, RequestError) as error:
        return Answer(target, problem=f"its repair port {port} gives no region: {error}")


def _get(address: SocketAddress, path: str, timeout: float) -> Any:
    request = Request(f"http://{address}{path}", headers={"api-version": "1.0.0", "accept": "application/json"})
    with urlopen(request, timeout=timeout) as answer:  # noqa: S310 -- always http
        return json.loads(answer.read(MOST_BYTES))
