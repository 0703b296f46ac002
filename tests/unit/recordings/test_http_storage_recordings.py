# SPDX-License-Identifier: GPL-3.0-or-later
"""Crucible behind the server's API: the recorded sessions, losses, repairs, replacements and refusals, replayed.

Beside every answer, what the recorder saw of the disks is compared: the states of the session and of its three targets
must come here in the same order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from recordings.http_differences import DIFFERENCES, OMISSIONS, RACES
from recordings.http_events import Event
from recordings.http_lab import running
from recordings.http_replay import Replay
from recordings.http_scenario import Instructions, pieces, prepare, recorded_regions
from recordings.http_transcript import read
from recordings.test_http_recordings import completions, explained
from shared import needs_shared, recordings

pytestmark = [needs_shared, pytest.mark.recordings_http, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Scenario:
    """How one recording is replayed, and how much of it: a parser that overlooks something must not pass.

    ``whole``: its regions go from one part to the next, so the parts can't be replayed each by itself. ``quick``: the
    upstairs waits a shorter time before it connects again. ``held``: the parts in which the source let go of its disks
    after the destination had asked for them; it was the other way round in others. ``silent``: the parts in which the
    guest never writes to its disk. ``repairs``: a target is repaired while the guest goes on.
    """

    exchanges: int
    looks: int = 0
    whole: bool = True
    quick: bool = True
    encrypted: bool = False
    held: tuple[int, ...] = ()
    silent: tuple[int, ...] = ()
    repairs: bool = False


SCENARIOS = {
    "c8-equal-generation-never-written": Scenario(29, whole=False, quick=False, held=(0, 2), silent=(0, 1)),
    "e-crucible-ds": Scenario(17, 10),
    "e-crucible-gen": Scenario(32, 12),
    "e-crucible-geo": Scenario(44, 15),
    "e-crucible-vcr": Scenario(15, 7, repairs=True),
    "e2-two-sessions": Scenario(21, 16),
    "e3-encrypted-and-readonly": Scenario(19, encrypted=True),
    "g-virtio-and-blob": Scenario(13),
}
LET_GO_LATE = {"steps": [{"side": "source", "phase": "Finish", "at": "end", "action": "stall", "seconds": 1.0}]}
AT_ONCE = 3
"""Parts of recordings that are replayed at the same time: most of their time they wait."""


def replayed(name: str, number: int, part: list[Event], events: list[Event], folder: Path) -> Replay:
    """A replay of a part of the recording ``events``, done."""
    scenario = SCENARIOS[name]
    omitted = frozenset(line for omission in OMISSIONS if omission.recording == name for line in omission.lines)
    lab = prepare(part, folder)
    lab.quick, lab.encrypted, lab.newest_log = scenario.quick, scenario.encrypted, scenario.whole
    lab.used = number in scenario.silent
    if number in scenario.held:
        lab.server_options = ("--faults", json.dumps(LET_GO_LATE))
    with running(lab):
        lab.regions.update(recorded_regions(events, set(lab.regions)))
        replay = Replay(name, part, lab, Instructions(omitted, completions(name, events)))
        replay.run()
    return replay


Replays = dict[str, list[Future[Replay]]]


@pytest.fixture(scope="module")
def replays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replays]:
    """All replays, begun in the order of the tests, each of which waits for its own."""
    begun: Replays = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for name, scenario in SCENARIOS.items():
            events = read(recordings / "transcripts" / "propolis" / f"{name}.txt")
            parts = [events] if scenario.whole else pieces(events)
            folders = [tmp_path_factory.mktemp(name) / "lab" for _unused in parts]
            begun[name] = [
                pool.submit(replayed, name, number, part, events, folders[number]) for number, part in enumerate(parts)
            ]
        yield begun
        for future in (future for futures in begun.values() for future in futures):
            future.cancel()


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_storage_behind_the_api_shows_itself_as_recorded(name: str, replays: Replays) -> None:
    done = [future.result() for future in replays[name]]
    print(*(f"{name}: {replay.counts}" for replay in done), sep="\n")
    findings = [finding for replay in done for finding in replay.findings]
    unexplained = [finding for finding in findings if not explained(finding, (*DIFFERENCES, *RACES))]
    assert not unexplained, "\n".join(["differs from the recording:", *map(str, unexplained)])
    scenario = SCENARIOS[name]
    assert sum(replay.counts.exchanges for replay in done) == scenario.exchanges
    assert sum(replay.counts.disk_looks for replay in done) == scenario.looks
    assert (sum(replay.eyes.repairs for replay in done) > 0) == scenario.repairs
    omitted = {line for omission in OMISSIONS if omission.recording == name for line in omission.lines}
    assert set().union(*(replay.omitted for replay in done)) == omitted
