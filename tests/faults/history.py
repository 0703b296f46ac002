# SPDX-License-Identifier: GPL-3.0-or-later
"""The checker: what the lab wrote down while things went wrong, held against what must never happen.

It reads the lab's own record (``history.jsonl``), the ledgers and the heartbeats on the disks, and trusts no answer of
a server and no word of a play. Each rule names its invariant:

* I1: never two servers report one instance Running, and never two guests of it execute.
* I2: no acknowledged write of a guest is lost; none is written twice; its memory never goes back.
* I3: a number of the ledger never repeats or falls, and no session uses a number that was not handed out to it.

Times are seconds of the machine's monotonic clock, which all processes of a lab share.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

Line = Mapping[str, Any]
Process = tuple[str, int]  # listen address, process id
FOREVER = float("inf")


@dataclass(frozen=True)
class Violation:
    """Something that must never happen, and when it was first so."""

    invariant: str
    at: float
    sentence: str

    def __str__(self) -> str:
        return f"{self.invariant} at {self.at:.3f}: {self.sentence}"


@dataclass(frozen=True)
class Span:
    """A time in which a process was in some state."""

    process: Process
    begin: float
    end: float


class Record:
    """A history file that grows: each line is read once, however often it is looked at."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._forget()

    def _forget(self) -> None:
        self._inode: int | None = None
        self._end = 0
        self._lines: list[Line] = []

    def lines(self) -> list[Line]:
        """In the order of time; a line that is being written is left out, and no file is no line."""
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._end:
                    self._forget()  # that one was put away
                    self._inode = status.st_ino
                file.seek(self._end)
                whole = file.read().rpartition(b"\n")[0]
        except FileNotFoundError:
            self._forget()
            return []
        if whole:
            self._end += len(whole) + 1
            self._lines += [json.loads(line) for line in whole.split(b"\n")]
            self._lines.sort(key=lambda line: float(line["monotonic"]))
        return list(self._lines)


def check(
    lines: Sequence[Line], alive: Collection[int], ledgers: Mapping[str, Sequence[int]] | None = None
) -> list[Violation]:
    """All violations, in the order of time.

    ``alive`` are the process ids of servers that run now: the state of any other one ended with its last line.
    ``ledgers`` holds the numbers of each ledger of one volume in the order of their lines, by the name of its host.
    """
    found: list[Violation] = []
    for instance in sorted({str(line["instance"]) for line in lines if line["instance"]}):
        found += two_running(lines, instance, alive)
        found += two_guests(lines, instance, alive)
        found += writes(lines, instance)
        found += sessions(lines, instance, ledgers or {})
    found += numbers(ledgers or {})
    return sorted(found, key=lambda violation: violation.at)


# --- I1 ---------------------------------------------------------------------------------------------------------------


def two_running(lines: Sequence[Line], instance: str, alive: Collection[int]) -> Iterator[Violation]:
    """Two servers that have published Running and not taken it back."""
    states = [line for line in lines if line["event"] == "published" and line["instance"] == instance]
    spans = _spans(lines, states, alive, lambda line: line["state"] == "Running")
    for one, two, at in _overlaps(spans):
        yield Violation("I1", at, f"{one[0]} and {two[0]} both report {instance} Running")


def two_guests(lines: Sequence[Line], instance: str, alive: Collection[int]) -> Iterator[Violation]:
    """Two guests of one instance that execute, whatever their servers say."""
    notes = [line for line in lines if line["event"] == "guest" and line["instance"] == instance]
    spans = _spans(lines, notes, alive, lambda line: line["what"] in ("begin", "resume"))
    for one, two, at in _overlaps(spans):
        yield Violation("I1", at, f"the guest of {instance} executes on {one[0]} and on {two[0]}")


def _spans(lines: Sequence[Line], marks: Iterable[Line], alive: Collection[int], is_on: Any) -> list[Span]:
    ends = _ends(lines, alive)
    began: dict[Process, float] = {}
    spans: list[Span] = []
    for line in marks:
        process = _process(line)
        at = float(line["monotonic"])
        if is_on(line):
            began.setdefault(process, at)
        elif process in began:
            spans.append(Span(process, began.pop(process), at))
    spans += [Span(process, begin, ends[process]) for process, begin in began.items()]
    return spans


def _ends(lines: Sequence[Line], alive: Collection[int]) -> dict[Process, float]:
    """When each process ended: a dead one with its last line, one that lives not yet."""
    last = {_process(line): float(line["monotonic"]) for line in lines}
    return {process: FOREVER if process[1] in alive else at for process, at in last.items()}


def _overlaps(spans: Sequence[Span]) -> Iterator[tuple[Process, Process, float]]:
    for one, two in combinations(sorted(spans, key=lambda span: span.begin), 2):
        if one.process != two.process and two.begin < one.end:
            yield one.process, two.process, two.begin


def _process(line: Line) -> Process:
    return str(line["server"]), int(line["pid"])


# --- I2 ---------------------------------------------------------------------------------------------------------------


def writes(lines: Sequence[Line], instance: str) -> Iterator[Violation]:
    """Acknowledged heartbeats follow each other, over moves and failures; a cold boot goes on from the disk."""
    booted, tick, generation = False, -1, 0
    last: int | None = None  # a record may begin in the middle of a life
    for line in lines:
        if line["instance"] != instance:
            continue
        if line["event"] == "guest" and line["what"] == "begin":
            booted, tick = True, -1
        if line["event"] != "heartbeat":
            continue
        at, number = float(line["monotonic"]), int(line["number"])
        # A boot may find one heartbeat more on the disk than was acknowledged, never one less.
        if last is not None and number not in ({last + 1, last + 2} if booted else {last + 1}):
            what = (
                "was acknowledged again, so writes in between were lost or two guests write"
                if number <= last
                else "left a hole"
            )
            yield Violation("I2", at, f"heartbeat {number} of {instance} follows {last}: it {what}")
        if int(line["tick"]) < tick:
            yield Violation("I2", at, f"the memory of {instance} went back from tick {tick} to {line['tick']}")
        if int(line["generation"]) < generation:
            yield Violation(
                "I2", at, f"{instance} wrote through generation {line['generation']} after generation {generation}"
            )
        booted, last = False, max(number, last or 0)
        tick, generation = int(line["tick"]), max(generation, int(line["generation"]))


def on_disk(
    lines: Sequence[Line], instance: str, replicas: Mapping[str, Collection[int]], slots: int, needed: int = 2
) -> Iterator[Violation]:
    """Each acknowledged heartbeat that was not yet overwritten stands on ``needed`` of the replicas.

    ``replicas`` holds, by the name of its host, the numbers of the heartbeats in the ring of that region, which has
    room for ``slots`` of them.
    """
    acknowledged = {
        int(line["number"]): line for line in lines if line["event"] == "heartbeat" and line["instance"] == instance
    }
    newest = max((number for found in replicas.values() for number in found), default=0)
    for number, line in acknowledged.items():
        holders = [host for host, found in replicas.items() if number in found]
        if number > newest - slots and len(holders) < needed:
            yield Violation(
                "I2",
                float(line["monotonic"]),
                f"heartbeat {number} of {instance} was acknowledged and stands on {holders or 'no replica'}",
            )


# --- I3 ---------------------------------------------------------------------------------------------------------------


def numbers(ledgers: Mapping[str, Sequence[int]]) -> Iterator[Violation]:
    """The numbers of each ledger rise, and no ledger contradicts another."""
    for host, found in ledgers.items():
        for one, two in pairwise(found):
            if two <= one:
                yield Violation("I3", FOREVER, f"the ledger on {host} has {two} after {one}")


def sessions(lines: Sequence[Line], instance: str, ledgers: Mapping[str, Sequence[int]]) -> Iterator[Violation]:
    """One number, one session: what a disk was activated with was handed out, and to nobody before."""
    handed_out = {number for found in ledgers.values() for number in found}
    used: dict[tuple[str, int], set[Process]] = defaultdict(set)
    for line in lines:
        if line["event"] != "disk" or line["what"] != "activated" or line["instance"] != instance:
            continue
        at, number = float(line["monotonic"]), int(line["generation"])
        holders = used[str(line["backend"]), number]
        if holders - {_process(line)}:
            yield Violation("I3", at, f"{line['server']} uses generation {number}, which another server used before")
        if ledgers and number not in handed_out:
            yield Violation("I3", at, f"{line['server']} uses generation {number}, which no ledger has")
        holders.add(_process(line))
