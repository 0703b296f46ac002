# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults 15 and 17: two plays that want one machine at once, and a play that is killed and run again."""

from __future__ import annotations

import re

import pytest
from conftest import Machine
from played_lab import PLAY_SECONDS, Lab, Played

ON_ITS_WAY = "vm0 is on its way."
RECORDS = "All target hosts have recorded it"


def moved_once(machine: Machine, again: Played) -> None:
    """The second run has finished the migration, with the number of the first, which all three hosts know."""
    assert again.status == 0, again.output[-3000:]
    machine.is_at(machine.destination, machine.spent + 1)
    assert len({tuple(numbers) for numbers in machine.lab.ledgers().values()}) == 1


def test_fault_17_killed_before_all_hosts_know_the_number_it_goes_on_with_the_same_one(machine: Machine) -> None:
    playing = machine.begin_move()
    playing.until_said(RECORDS)
    playing.kill()
    assert machine.newest_number() == machine.spent + 1
    moved_once(machine, machine.move())


@pytest.mark.parametrize(
    ("side", "phase", "held"),
    [
        pytest.param("source", "RamPush", "RamPush", id="while memory is copied"),
        pytest.param("destination", "Finish", "Activate", id="after Finish and before Running"),
    ],
)
def test_fault_17_killed_while_the_machine_is_on_its_way_the_next_run_follows_it(
    machine: Machine, side: str, phase: str, held: str
) -> None:
    seen, before = machine.boots(), machine.passed(side, phase)
    machine.lab.fault(steps=[{"side": side, "phase": held, "action": "stall"}])
    playing = machine.begin_move()
    Lab.until(f"{side} {phase}", lambda: machine.passed(side, phase) > before, PLAY_SECONDS)
    playing.kill()
    again = machine.begin_move()
    again.until_said(ON_ITS_WAY)
    machine.lab.fault()
    ended = again.ended()
    moved_once(machine, ended)
    assert "Plan: follow migration" in ended.words, ended.output[-3000:]
    assert ended.changed == 1, ended.output[-3000:]
    assert machine.boots() == seen, "the machine was booted, not moved"
    if held == "Activate":
        third = machine.move()
        assert (third.status, third.changed) == (0, 0), third.output[-2000:]


def only_the_first(machine: Machine, first: Played, second: Played) -> None:
    assert first.status == 0, first.output[-3000:]
    assert second.status != 0, second.output[-3000:]
    assert re.search(r"being moved already: migration [0-9a-f-]{36} by desk since 20\d\d-", second.words), second.output
    assert "in_progress_elsewhere" in second.words
    assert second.changed == 0
    machine.is_at(machine.destination, machine.spent + 1)


def test_fault_15_a_rival_that_comes_after_the_number_and_before_the_request_is_told_who_moves_it(
    machine: Machine,
) -> None:
    first = machine.begin_move(migration_controller="desk")
    first.until_said(RECORDS)
    with first.halted():
        second = machine.move(migration_controller="laptop")
    only_the_first(machine, first.ended(), second)


def test_fault_15_of_two_that_begin_at_once_one_moves_it_and_the_other_spends_nothing(machine: Machine) -> None:
    plays = [machine.begin_move(migration_controller=name) for name in ("desk", "lap")]
    ends = [playing.ended() for playing in plays]
    machine.is_at(machine.destination, machine.spent + 1)
    won = [played for played in ends if played.status == 0 and "it was moved from" in played.words]
    assert len(won) == 1, [played.output[-2000:] for played in ends]
    other = next(played for played in ends if played is not won[0])
    late = other.status == 0 and "nothing was changed" in other.words
    assert late or "in_progress_elsewhere" in other.words, other.output[-3000:]
    assert other.changed == 0


def test_fault_15_a_second_play_of_the_same_controller_follows_the_first(machine: Machine) -> None:
    plays = [machine.begin_move() for _unused in range(2)]
    for playing in plays:
        ended = playing.ended()
        assert ended.status == 0, ended.output[-3000:]
    machine.is_at(machine.destination, machine.spent + 1)
