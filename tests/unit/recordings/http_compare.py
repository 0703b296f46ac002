# SPDX-License-Identifier: GPL-3.0-or-later
"""Says in which respects an answer differs from the recorded one, and whether one order of events is within another."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

from recordings.http_events import Answer, NoAnswer
from recordings.http_masks import CPUID, UUID, Places, mask_body, mask_header

T = TypeVar("T")

HISTORY_LIMIT = 16 * 1024
"""Bytes of console history that a server gives when `max_bytes` is not asked for."""


@dataclass(frozen=True)
class Finding:
    """One respect in which this run is not as recorded. `line` is the recording's line, `aspect` a short word."""

    recording: str
    line: int
    label: str
    aspect: str
    recorded: str
    ours: str

    def __str__(self) -> str:
        return (
            f"{self.recording}:{self.line} {self.label} · {self.aspect}\n"
            f"    recorded: {self.recorded[:4000]}\n    ours:     {self.ours[:4000]}"
        )


def compare_answers(recorded: Answer | NoAnswer, ours: Answer | NoAnswer, places: Places) -> dict[str, tuple[str, str]]:
    """The aspects (status, headers, body ...) that differ: each with the recorded and our masked form."""
    if isinstance(recorded, NoAnswer) or isinstance(ours, NoAnswer):
        pair = (_outline(recorded), _outline(ours))
        return {} if pair[0] == pair[1] else {"answer": pair}
    found: dict[str, tuple[str, str]] = {}
    _differ(found, "status", f"{recorded.status} {recorded.reason}", f"{ours.status} {ours.reason}")
    theirs, mine = recorded.body, places.recorded(ours.body)
    if recorded.cut is not None and not CPUID.search(recorded.body):
        _differ(found, "length", str(recorded.cut.length), str(len(mine)))
    variable = CPUID.search(theirs) is not None or recorded.cut is not None
    _differ(found, "headers", _headers(recorded, lengths=not variable), _headers(ours, lengths=not variable))
    theirs, mine = mask_body(theirs), mask_body(mine)
    if recorded.cut is not None:
        mine = mine[: len(theirs)]
    _differ(found, "body", theirs, mine)
    if request_id_problem := _request_id_problem(ours):
        found["request id"] = ("the same in header and body", request_id_problem)
    return found


def _differ(found: dict[str, tuple[str, str]], aspect: str, recorded: str, ours: str) -> None:
    if recorded != ours:
        found[aspect] = (recorded, ours)


def _outline(answer: Answer | NoAnswer) -> str:
    """An answer in one line; of a missing one only the kind, because the words are those of the client."""
    if isinstance(answer, NoAnswer):
        return f"none: {answer.reason.partition(':')[0]}"
    return f"{answer.status} {answer.reason} {answer.body}"


def _headers(answer: Answer, *, lengths: bool) -> str:
    """The headers, sorted; names in lower case, as their case says nothing."""
    lines = []
    for key, value in answer.headers:
        masked = mask_header(key, value)
        if key.lower() == "content-length" and not lengths:
            masked = "<length>"
        lines.append(f"{key.lower()}: {masked}")
    return "\n".join(sorted(lines))


def _request_id_problem(answer: Answer) -> str | None:
    header = next((value for key, value in answer.headers if key.lower() == "x-request-id"), None)
    found = re.search(rf'"request_id": ?"({UUID})"', answer.body)
    if found and found[1] != header:
        return f"header {header}, body {found[1]}"
    return None


@dataclass(frozen=True)
class Slice:
    """What a console history request asks for; None where the query does not say."""

    from_start: int | None
    most_recent: int | None
    max_bytes: int

    @classmethod
    def of(cls, target: str, default_limit: int = HISTORY_LIMIT) -> Slice:
        query = {key: int(values[0]) for key, values in parse_qs(urlsplit(target).query).items() if values[0].isdigit()}
        return cls(query.get("from_start"), query.get("most_recent"), query.get("max_bytes", default_limit))

    def within(self, total: int) -> tuple[int, int]:
        """First offset and end of the bytes that are given while the console has shown `total` bytes."""
        if self.from_start is not None:
            start = min(self.from_start, total)
        elif self.most_recent is not None:
            start = max(0, total - self.most_recent)
        else:
            start = total
        return start, min(start + self.max_bytes, total)


def history_problem(target: str, body: str, console: bytes, totals: Iterable[int]) -> str | None:
    """What is wrong with a history answer; None if nothing. `totals` are the lengths the console may have had then."""
    value = json.loads(body)
    data, end = bytes(value["data"]), value["last_byte_offset"]
    if list(value) != ["data", "last_byte_offset"]:
        return f"keys {list(value)}"
    for total in totals:
        first, last = Slice.of(target).within(total)
        if last == end and data == console[first:last]:
            return None
    return f"{len(data)} bytes that end at {end}: {data[:60]!r}"


def explains(publications: Sequence[T], seen: Sequence[T]) -> bool:
    """Whether somebody who looked now and then could have seen `seen` while `publications` happened in this order."""
    remaining = iter(publications)
    return all(any(item == candidate for candidate in remaining) for item in without_repeats(seen))


def without_repeats(items: Sequence[T]) -> list[T]:
    """The items without those that equal the one before."""
    return [item for position, item in enumerate(items) if position == 0 or item != items[position - 1]]
