# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-ins answer recorded HTTP exchanges as the real programs did, but for what differs on purpose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from recordings.http_compare import Finding
from recordings.http_differences import (
    BOOTROMS,
    COMPLETIONS,
    DIFFERENCES,
    OMISSIONS,
    RACES,
    Completion,
    Difference,
    Omission,
    Race,
)
from recordings.http_events import Cut, Event, Exchange
from recordings.http_lab import running
from recordings.http_replay import Replay
from recordings.http_scenario import Instructions, pieces, prepare, recorded_regions
from recordings.http_transcript import read
from shared import needs_shared, recordings

pytestmark = [needs_shared, pytest.mark.recordings_http]

RECORDINGS = {
    # how many exchanges of each recording are sent: a parser that overlooks some must not pass
    "b-http-api": 117,
    "b2-ensure-failures": 78,
    "c0-nvme-after-migration": 6,
    "c1-migration-success": 25,
    "c2-migration-generation": 39,
    "c3-migration-failures": 70,
    "c4-migration-disturbed": 60,
    "c5-migration-killed": 64,
    "c6-migration-retry-and-hang": 10,
    "c7-migrate-start-endpoint": 38,
    "f-api-versions": 71,
}
AT_ONCE = 4
"""Pieces of recordings that are replayed at the same time: most of their time they wait."""


def completions(name: str, events: list[Event]) -> dict[int, str]:
    """The whole bodies of requests that the recording cut, by line."""
    found = {}
    exchanges = {event.line: event for event in events if isinstance(event, Exchange)}
    for completion in COMPLETIONS:
        if completion.recording == name:
            request = exchanges[completion.line].request
            found[completion.line] = request.body + completion.tail
            assert request.cut == Cut(len(found[completion.line])), f"{name}:{completion.line}: not the recorded length"
    return found


def explains_finding(entry: Difference | Race, finding: Finding) -> bool:
    """Whether the entry allows this finding."""
    if (entry.recording, entry.line) != (finding.recording, finding.line):
        return False
    if isinstance(entry, Race):
        return any(text in finding.ours for text in entry.allowed.get(finding.aspect, ()))
    return entry.aspect == finding.aspect and entry.ours in finding.ours


def explained(finding: Finding, entries: Sequence[Difference | Race]) -> list[Difference | Race]:
    """The entries that allow this finding."""
    return [entry for entry in entries if explains_finding(entry, finding)]


def omitted_lines(name: str) -> frozenset[int]:
    """The lines of a recording that are not replayed."""
    return frozenset(line for omission in OMISSIONS if omission.recording == name for line in omission.lines)


Replays = dict[str, list[Future[Replay]]]


@pytest.fixture(scope="module")
def replays(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replays]:
    """The replays of all tests that were chosen, begun in their order; each test waits for its own."""
    chosen = {str(item.callspec.params.get("name")) for item in request.session.items if hasattr(item, "callspec")}
    begun: Replays = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for name in (name for name in RECORDINGS if name in chosen):
            events = read(recordings / "transcripts" / "propolis" / f"{name}.txt")
            instructions = Instructions(omitted_lines(name), completions(name, events), BOOTROMS)
            begun[name] = [
                pool.submit(replayed, name, piece, events, tmp_path_factory.mktemp(name) / "lab", instructions)
                for piece in pieces(events)
            ]
        yield begun
        for future in (future for futures in begun.values() for future in futures):
            future.cancel()


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_stand_ins_answer_as_recorded_but_for_what_differs_on_purpose(name: str, replays: Replays) -> None:
    done = [future.result() for future in replays[name]]
    print(*(f"{name}: {replay.counts}" for replay in done), sep="\n")
    findings = [finding for replay in done for finding in replay.findings]
    unexplained = [finding for finding in findings if not explained(finding, (*DIFFERENCES, *RACES))]
    assert not unexplained, "\n".join(["differs from the recording:", *map(str, unexplained)])
    used = [entry for finding in findings for entry in explained(finding, DIFFERENCES)]
    stale = [entry for entry in DIFFERENCES if entry.recording == name and entry not in used]
    assert not stale, f"no longer differs, take it from the list: {stale}"
    omitted = omitted_lines(name)
    left_out = set().union(*(replay.omitted for replay in done))
    assert left_out == omitted, f"omitted lines that do not exist: {sorted(omitted - left_out)}"
    assert sum(replay.counts.exchanges for replay in done) == RECORDINGS[name]


def replayed(name: str, piece: list[Event], events: list[Event], folder: Path, instructions: Instructions) -> Replay:
    """A replay of one piece of the recording `events`, done."""
    with running(prepare(piece, folder)) as lab:
        lab.regions.update(recorded_regions(events, set(lab.regions)))
        replay = Replay(name, piece, lab, instructions)
        replay.run()
    return replay


def test_every_entry_of_the_lists_names_a_recorded_event() -> None:
    lines: dict[str, set[int]] = {}
    entries: list[Difference | Race | Completion] = [*DIFFERENCES, *RACES, *COMPLETIONS]
    for entry in entries:
        name = entry.recording
        if name not in lines:
            events = read(recordings / "transcripts" / "propolis" / f"{name}.txt")
            lines[name] = {event.line for event in events}
        assert entry.line in lines[name], entry


def test_every_entry_of_the_lists_gives_a_reason() -> None:
    entries: list[Difference | Race | Omission] = [*DIFFERENCES, *RACES, *OMISSIONS]
    for entry in entries:
        assert len(entry.reason.split()) > 4, entry
