# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking a running downstairs what it serves: the HTTP API on its data port + 4000."""

from __future__ import annotations

import http.client
import json
from typing import Any

from ..http_bound import connected
from .errors import RegionError, RepairApiError, UnreachableError
from .region import RegionDefinition, parse_definition
from .volume import REPAIR_PORT_OFFSET

_LARGEST_ANSWER = 256 * 1024


class RepairApi:
    """One downstairs. Only paths that are harmless are asked for: ``/work`` can end the program, so it never is.

    Every method raises UnreachableError when nobody answers, RepairApiError when a stranger does.
    """

    def __init__(self, address: str, port: int, timeout: float) -> None:
        """``port`` is the data port."""
        self.address = address
        self.port = port + REPAIR_PORT_OFFSET
        self.timeout = timeout

    @property
    def url(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}"

    def region_info(self) -> RegionDefinition | None:
        """The region that is served; None from programs before February 2024, which have no such path."""
        status, body = self._get("/region-info")
        if status == 404:
            self._json("/region-info", body)
            return None
        if status != 200:
            raise self._odd("/region-info", status, body)
        try:
            return parse_definition(body, f"{self.url}/region-info")
        except RegionError as error:
            raise RepairApiError(f"{error.message.rstrip('.')}; is another program listening there?") from error

    def read_only(self) -> bool | None:
        """Whether it was started in mode ro; None from programs before February 2024."""
        status, body = self._get("/region-mode")
        answer = self._json("/region-mode", body)
        if status == 404:
            return None
        if status != 200 or not isinstance(answer, bool):
            raise self._odd("/region-mode", status, body)
        return answer

    def extent_files(self, extent: int) -> list[str]:
        """The files of an extent: what programs of every age can tell."""
        path = f"/extent/{extent}/files"
        status, body = self._get(path)
        answer = self._json(path, body)
        if status != 200 or not isinstance(answer, list) or not all(isinstance(name, str) for name in answer):
            raise self._odd(path, status, body)
        return answer

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.address, self.port, timeout=self.timeout)
        try:
            # Twice, so that silence is the socket's own timeout and only an answer without an end is cut off.
            with connected(connection, 2 * self.timeout):
                connection.request("GET", path, headers={"Accept": "application/json"})
                response = connection.getresponse()
                return response.status, response.read(_LARGEST_ANSWER)
        except http.client.HTTPException as error:
            raise RepairApiError(
                f"{self.url}{path}: what listens there does not speak HTTP ({type(error).__name__}); expected the "
                "repair API of a downstairs, which is on its data port + 4000."
            ) from error
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            raise UnreachableError(
                f"{self.url} does not answer: {reason}.", details={"address": self.address, "repair_port": self.port}
            ) from error

    def _json(self, path: str, body: bytes) -> Any:
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RepairApiError(
                f"{self.url}{path}: found {_excerpt(body)}, expected JSON as a downstairs answers; "
                "is another program listening there?"
            ) from error

    def _odd(self, path: str, status: int, body: bytes) -> RepairApiError:
        return RepairApiError(
            f"{self.url}{path}: answered status {status} with {_excerpt(body)}, not as a downstairs does; "
            "is another program listening there?",
            details={"status": status},
        )


def _excerpt(body: bytes) -> str:
    text = " ".join(body[:200].decode(errors="replace").split())
    if text[:15].lower().startswith(("<!doctype html", "<html")):
        return f"an HTML page ({text[:80]!r})"
    return repr(text) if text else "an empty answer"
