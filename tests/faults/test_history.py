# SPDX-License-Identifier: GPL-3.0-or-later
"""The checker itself: histories in which all is well, and one history for each thing that it must find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from history import Line, Record, check, on_disk
from hypothesis import given, settings
from hypothesis import strategies as st

VM = "1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a01"
ALPHA, BETA = ("127.0.1.1:8000", 11), ("127.0.1.2:8000", 22)
ALIVE = (11, 22)


class Story:
    """A history, told line by line; a second passes with each."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def tell(self, process: tuple[str, int], event: str, **fields: Any) -> Story:
        server, pid = process
        at = float(len(self.lines))
        self.lines.append({"event": event, "monotonic": at, "server": server, "pid": pid, "instance": VM, **fields})
        return self

    def state(self, process: tuple[str, int], state: str) -> Story:
        return self.tell(process, "published", state=state)

    def guest(self, process: tuple[str, int], what: str) -> Story:
        return self.tell(process, "guest", what=what)

    def disk(self, process: tuple[str, int], generation: int) -> Story:
        return self.tell(process, "disk", what="activated", backend="boot", generation=generation)

    def beats(self, process: tuple[str, int], numbers: range, generation: int, tick: int | None = None) -> Story:
        """Heartbeats; the guest counts one tick for each, from ``tick`` (as many as the number when not given)."""
        for place, number in enumerate(numbers):
            at = number if tick is None else tick + place
            self.tell(process, "heartbeat", number=number, tick=at, generation=generation)
        return self

    def booted(self, process: tuple[str, int], generation: int) -> Story:
        return self.disk(process, generation).state(process, "Running").guest(process, "begin")

    def moved(self, source: tuple[str, int], destination: tuple[str, int], generation: int) -> Story:
        self.state(source, "Migrating").state(destination, "Migrating").guest(source, "pause")
        self.state(source, "Destroyed").guest(source, "stop").disk(destination, generation)
        return self.state(destination, "Running").guest(destination, "resume")


def found(story: Story, alive: tuple[int, ...] = ALIVE, **ledgers: list[int]) -> list[str]:
    return [f"{one.invariant} {one.sentence}" for one in check(story.lines, alive, ledgers)]


def a_good_life() -> Story:
    story = Story().booted(ALPHA, 1).beats(ALPHA, range(1, 5), 1).moved(ALPHA, BETA, 2)
    return story.beats(BETA, range(5, 9), 2)


def test_a_boot_and_a_move_are_no_violation() -> None:
    assert found(a_good_life(), ds0=[1, 2], ds1=[1, 2], ds2=[2]) == []


def test_a_move_that_failed_and_a_machine_that_goes_on_are_no_violation() -> None:
    story = Story().booted(ALPHA, 1).beats(ALPHA, range(1, 4), 1).state(ALPHA, "Migrating").state(BETA, "Migrating")
    story.guest(ALPHA, "pause").state(BETA, "Failed").guest(ALPHA, "resume").state(ALPHA, "Running")
    assert found(story.beats(ALPHA, range(4, 7), 1), ds0=[1, 2]) == []


def test_a_cold_start_elsewhere_after_a_death_is_no_violation() -> None:
    story = Story().booted(ALPHA, 1).beats(ALPHA, range(1, 4), 1)
    # The fourth heartbeat was on the disk when the process died, and nobody was told.
    story.booted(BETA, 2).beats(BETA, range(5, 8), 2, tick=0)
    assert found(story, alive=(22,), ds0=[1, 2]) == []


Break = Callable[[Story], Story]
BREAKS: dict[str, tuple[Break, str]] = {
    "two servers that report it Running": (
        lambda story: story.state(ALPHA, "Running"),
        "I1 127.0.1.2:8000 and 127.0.1.1:8000 both report",
    ),
    "a source that is Running again after the destination is": (
        lambda story: story.state(ALPHA, "Running").state(BETA, "Destroyed"),
        "I1 127.0.1.2:8000 and 127.0.1.1:8000 both report",
    ),
    "two guests that execute, whatever the servers say": (
        lambda story: story.guest(ALPHA, "resume"),
        f"I1 the guest of {VM} executes on",
    ),
    "a heartbeat that was acknowledged twice": (
        lambda story: story.beats(BETA, range(8, 9), 2),
        "I2 heartbeat 8 of",
    ),
    "a heartbeat that is missing": (lambda story: story.beats(BETA, range(10, 11), 2), "it left a hole"),
    "an old machine that writes on through its old session": (
        lambda story: story.beats(ALPHA, range(9, 10), 1),
        "wrote through generation 1 after generation 2",
    ),
    "a memory that went back": (lambda story: story.beats(BETA, range(9, 10), 2, tick=3), "went back from tick 8 to 3"),
    "a cold boot from a disk that lost writes": (
        lambda story: (
            story.state(BETA, "Destroyed").guest(BETA, "stop").booted(ALPHA, 3).beats(ALPHA, range(5, 6), 3, 0)
        ),
        "I2 heartbeat 5 of",
    ),
    "a cold boot that is not told": (lambda story: story.beats(BETA, range(9, 10), 2, tick=0), "went back from tick"),
    "a number that a second server uses": (
        lambda story: story.disk(ALPHA, 2),
        "I3 127.0.1.1:8000 uses generation 2, which another server used before",
    ),
    "a number that nobody handed out": (
        lambda story: story.disk(BETA, 7),
        "I3 127.0.1.2:8000 uses generation 7, which no ledger has",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_must_never_happen_is_found(name: str) -> None:
    harm, words = BREAKS[name]
    violations = found(harm(a_good_life()), ds0=[1, 2, 3])
    assert any(words in one for one in violations), violations


@pytest.mark.parametrize("numbers", [[1, 2, 2], [1, 3, 2]])
def test_a_ledger_that_repeats_or_falls_is_found(numbers: list[int]) -> None:
    assert found(a_good_life(), ds0=[1, 2], ds1=numbers) != []


def test_a_process_that_lives_is_running_until_it_says_otherwise_and_a_dead_one_until_its_last_line() -> None:
    story = Story().booted(ALPHA, 1).booted(BETA, 2)
    assert any("both report" in one for one in found(story, alive=(11, 22), ds0=[1, 2]))
    assert found(story, alive=(22,), ds0=[1, 2]) == []


def test_an_acknowledged_write_must_stand_on_two_replicas() -> None:
    story = a_good_life()
    whole = set(range(1, 9))
    assert list(on_disk(story.lines, VM, {"ds0": whole, "ds1": whole, "ds2": set()}, slots=128)) == []
    lost = list(on_disk(story.lines, VM, {"ds0": whole, "ds1": whole - {6}, "ds2": set()}, slots=128))
    assert [one.sentence for one in lost] == [f"heartbeat 6 of {VM} was acknowledged and stands on ['ds0']"]


def test_a_write_that_the_ring_has_overwritten_is_not_missed() -> None:
    story = Story().booted(ALPHA, 1).beats(ALPHA, range(1, 21), 1)
    ring = set(range(13, 21))
    assert list(on_disk(story.lines, VM, {"ds0": ring, "ds1": ring, "ds2": ring}, slots=8)) == []
    assert len(list(on_disk(story.lines, VM, {"ds0": ring - {13}, "ds1": ring - {13}, "ds2": ring}, slots=8))) == 1


@settings(deadline=None)
@given(moves=st.lists(st.integers(1, 6), max_size=8), fails=st.sets(st.integers(0, 7)))
def test_any_number_of_moves_and_failures_is_fine_and_any_single_lost_heartbeat_is_not(
    moves: list[int], fails: set[int]
) -> None:
    story, ends, number, generation = Story().booted(ALPHA, 1), [ALPHA, BETA], 1, 1
    spent = 1
    for place, beats in enumerate(moves):
        story.beats(ends[0], range(number, number + beats), generation)
        number += beats
        spent += 1
        if place in fails:
            story.guest(ends[0], "pause").guest(ends[0], "resume")
            continue
        story.moved(ends[0], ends[1], spent)
        generation = spent
        ends.reverse()
    story.beats(ends[0], range(number, number + 2), generation)
    ledger = list(range(1, spent + 1))
    assert found(story, ds0=ledger) == []
    beats_told = [place for place, line in enumerate(story.lines) if line["event"] == "heartbeat"]
    for place in beats_told[1:-1]:
        broken = Story()
        broken.lines = story.lines[:place] + story.lines[place + 1 :]
        assert found(broken, ds0=ledger) != []


def test_a_line_is_read_when_it_is_whole_and_a_file_that_was_put_away_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    record = Record(path)

    def events() -> list[str]:
        return [line["event"] for line in record.lines()]

    assert events() == []
    path.write_text('{"event":"started","monotonic":2,"instance":null}\n{"event":"sta')
    assert events() == ["started"]
    with path.open("a") as file:
        file.write('te","monotonic":1,"instance":null}\n')
    assert events() == events() == ["state", "started"], "in the order of time"
    path.rename(tmp_path / "history.jsonl.0")
    assert events() == []
    path.write_text('{"event":"ended","monotonic":3,"instance":null}\n')
    assert events() == ["ended"]
