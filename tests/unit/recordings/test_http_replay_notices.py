# SPDX-License-Identifier: GPL-3.0-or-later
"""A replay notices what is wrong: of a recording with false passages it finds each of them and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from recordings.http_events import (
    Answer,
    Event,
    Exchange,
    Frame,
    LogLines,
    Monitored,
    Polled,
    Published,
    StateMissed,
)
from recordings.http_lab import running
from recordings.http_replay import Replay
from recordings.http_scenario import Instructions, prepare
from recordings.http_transcript import read
from shared import needs_shared, recordings

pytestmark = [needs_shared, pytest.mark.recordings_http]

E = TypeVar("E", bound=Event)


class Forger:
    """Changes events of a recording and remembers at which line which aspect must be found."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.expected: set[tuple[int, str]] = set()

    def change(self, kind: type[E], chosen: Callable[[E], bool], how: Callable[[E], Event], *aspects: str) -> E:
        """Change the first event of this kind that is `chosen`."""
        for position, event in enumerate(self.events):
            if isinstance(event, kind) and chosen(event):
                self.events[position] = how(event)
                self.expected.update((event.line, aspect) for aspect in aspects)
                return event
        raise LookupError(f"the recording has no such {kind.__name__}")


def with_answer(event: Exchange, **changes: object) -> Exchange:
    assert isinstance(event.answer, Answer)
    return replace(event, answer=replace(event.answer, **changes))  # type: ignore[arg-type]


def status_of(event: Exchange) -> int:
    return event.answer.status if isinstance(event.answer, Answer) else 0


def forge(forger: Forger) -> None:
    """One falsehood of each kind."""
    forger.change(
        Exchange,
        lambda e: e.request.target == "/instance/migration-status" and '"Finish"' in getattr(e.answer, "body", ""),
        lambda e: with_answer(e, body=e.answer.body.replace('"Finish"', '"Server"')),  # type: ignore[union-attr]
        "body",
    )
    forger.change(
        Exchange, lambda e: status_of(e) == 204, lambda e: with_answer(e, status=202, reason="Accepted"), "status"
    )
    forger.change(
        Exchange,
        lambda e: status_of(e) == 500,
        lambda e: with_answer(e, headers=(*e.answer.headers, ("retry-after", "1"))),  # type: ignore[union-attr]
        "headers",
    )
    forger.change(
        Frame,
        lambda e: e.opcode == 1,
        lambda e: replace(e, payload=e.payload.replace(b"12401", b"12400")),
        "frames",
    )
    forger.change(StateMissed, lambda e: True, lambda e: replace(e, found="Running"), "state")
    forger.change(
        Monitored,
        lambda e: e.body.get("gen") == 7,
        lambda e: replace(e, body={**e.body, "state": "Running"}),
        "monitor",
    )
    for table in [event for event in forger.events if isinstance(event, Published)]:
        rows = table.publications
        forger.change(
            Published,
            lambda e, table=table: e is table,  # type: ignore[misc]
            lambda e, rows=rows: replace(e, publications=(*rows[:2], rows[3], rows[2], *rows[4:])),  # type: ignore[misc]
            "order",
        )
    forger.change(
        LogLines,
        lambda e: e.program == "ds0",
        lambda e: replace(e, lines=tuple(line.replace("generation: 3 }", "generation: 4 }") for line in e.lines)),
        "messages",
    )


def forge_phases(forger: Forger) -> None:
    """The first migration's phases, seen in a wrong order by those who polled."""
    put = next(e for e in forger.events if isinstance(e, Exchange) and '"MigrationTarget"' in e.request.body)

    def is_late(event: Polled) -> bool:
        return event.port == 12400 and (event.migration or {}).get("migration_out") == "Device"

    wrong = {"migration_in": None, "migration_out": "Sync"}
    forger.change(Polled, is_late, lambda e: replace(e, migration=dict(wrong)))
    forger.expected.add((put.line, "phases"))


def test_every_false_passage_of_a_recording_is_found_and_nothing_else(tmp_path: Path) -> None:
    name = "c1-migration-success"
    forger = Forger(read(recordings / "transcripts" / "propolis" / f"{name}.txt"))
    forge(forger)
    forge_phases(forger)
    with running(prepare(forger.events, tmp_path)) as lab:
        replay = Replay(name, forger.events, lab, Instructions())
        replay.run()
    found = {(finding.line, finding.aspect) for finding in replay.findings}
    assert found == forger.expected, "\n".join(map(str, replay.findings))
