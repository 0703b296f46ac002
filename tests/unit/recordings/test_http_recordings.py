# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-ins answer recorded HTTP exchanges as the real programs did, but for what differs on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from recordings.http_compare import Finding
from recordings.http_differences import BOOTROMS, COMPLETIONS, DIFFERENCES, OMISSIONS, RACES, Difference, Race
from recordings.http_events import Cut, Event, Exchange
from recordings.http_lab import running
from recordings.http_replay import Instructions, Replay, prepare
from recordings.http_transcript import read
from shared import needs_shared, recordings

pytestmark = [needs_shared, pytest.mark.recordings_http]

RECORDINGS = {
    # how many exchanges of each recording are sent at least: a parser that overlooks some must not pass
    "b-http-api": 117,
    "b2-ensure-failures": 78,
    "c1-migration-success": 25,
    "c2-migration-generation": 39,
    "f-api-versions": 71,
}


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


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_stand_ins_answer_as_recorded_but_for_what_differs_on_purpose(name: str, tmp_path: Path) -> None:
    events = read(recordings / "transcripts" / "propolis" / f"{name}.txt")
    omitted = frozenset(line for omission in OMISSIONS if omission.recording == name for line in omission.lines)
    instructions = Instructions(omitted, completions(name, events), BOOTROMS)
    with running(prepare(events, tmp_path)) as lab:
        replay = Replay(name, events, lab, instructions)
        replay.run()
    print(f"{name}: {replay.counts}")
    unexplained = [finding for finding in replay.findings if not explained(finding, (*DIFFERENCES, *RACES))]
    assert not unexplained, "\n".join(["differs from the recording:", *map(str, unexplained)])
    used = [entry for finding in replay.findings for entry in explained(finding, DIFFERENCES)]
    stale = [entry for entry in DIFFERENCES if entry.recording == name and entry not in used]
    assert not stale, f"no longer differs, take it from the list: {stale}"
    assert replay.omitted == omitted, f"omitted lines that do not exist: {sorted(omitted - replay.omitted)}"
    assert replay.counts.exchanges >= RECORDINGS[name]


def test_every_entry_of_the_lists_names_a_recorded_event() -> None:
    lines: dict[str, set[int]] = {}
    for entry in (*DIFFERENCES, *RACES, *COMPLETIONS):
        name = entry.recording
        if name not in lines:
            events = read(recordings / "transcripts" / "propolis" / f"{name}.txt")
            lines[name] = {event.line for event in events}
        assert entry.line in lines[name], entry


def test_every_entry_of_the_lists_gives_a_reason() -> None:
    for entry in (*DIFFERENCES, *RACES, *OMISSIONS):
        assert len(entry.reason.split()) > 4, entry
