# SPDX-License-Identifier: GPL-3.0-or-later
"""Fault 17 with programs of January 2023, whose source is marked before a move and whose destination is told to run."""

from __future__ import annotations

from collections.abc import Iterator

import by_hand
import pytest
from conftest import SERVERS, Machine, put_up, take_down
from played_lab import Lab

ON_ITS_WAY = "vm0 is on its way."


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine of January 2023 that runs on alpha, in a lab of its own. Its server tells nothing of its disks."""
    lab = Lab(tmp_path_factory.mktemp("faults-2023") / "lab", "127.0.79", {"API": "2023-01"})
    try:
        put_up(lab)
        booted = lab.play("boot")
        assert booted.status == 0, booted.output[-3000:]
        number = max(number for found in lab.ledgers().values() for number in found)
        one = Machine(lab, *SERVERS, number, number)
        yield one
        one.end_plays()
        violations = one.violations()
        assert violations == [], "\n".join(str(violation) for violation in violations)
    finally:
        take_down(lab)


def test_fault_17_killed_at_each_moment_of_a_move_of_2023_it_is_finished_by_the_last_run_with_one_number(
    machine: Machine,
) -> None:
    lab, source, destination = machine.lab, machine.source, machine.destination

    # All hosts have recorded the number, and nobody was asked for anything.
    first = machine.begin_move()
    first.until_said("All target hosts have recorded it")
    with lab.frozen(destination):
        first.until_said("The move is made and followed to its end")
        first.kill()
    assert machine.passed("destination", "Sync") == 0

    # The source is marked, and the destination was not asked: there is no event between the two to stop a play at.
    assert by_hand.send(lab, "PUT", source, "/instance/state", "MigrateStart").status_code == 204

    # Memory is copied.
    second = machine.begin_stalled_move()
    second.kill()
    assert lab.state(source) == "Migrating"

    # Both ends have finished, and nobody has told the destination to run.
    third = machine.begin_move()
    third.until_said(ON_ITS_WAY)
    with third.halted():
        lab.fault()
        lab.until("the source is gone", lambda: lab.state(source) in (None, "Destroyed"))
        assert machine.passed("destination", "Finish", "end") == 1
        third.kill()
    assert lab.state(destination) == "Migrating"

    last = machine.move()
    assert (last.status, last.changed) == (0, 1), last.output[-3000:]
    last.says(f"vm0 runs on {destination} at generation {machine.spent + 1}", "which an earlier run began")
    assert lab.state(destination) == "Running"
    assert {tuple(numbers) for numbers in lab.ledgers().values()} == {(machine.spent, machine.spent + 1)}
    assert machine.boots() == 1
    machine.until_it_writes()
    again = machine.move()
    assert (again.status, again.changed) == (0, 0), again.output[-3000:]
