# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults 1 to 5: the destination dies while the machine comes to it."""

from __future__ import annotations

import pytest
from conftest import Machine

_DIES_IN = [
    pytest.param("RamPush", False, id="fault_02"),
    pytest.param("RamPushDirty", True, id="fault_03"),
    pytest.param("Device", True, id="fault_04"),
    pytest.param("Server", True, id="fault_04_late"),
]


def test_fault_01_a_destination_that_dies_at_the_beginning_is_restarted_by_the_next_try(machine: Machine) -> None:
    machine.lab.fault(steps=[{"side": "destination", "phase": "Sync", "action": "die"}])
    played = machine.move()
    machine.failed_on_the_source(played, "Sync")
    assert machine.lab.pid(machine.destination) is None
    machine.lab.fault()
    again = machine.lab.play("migrate", migration_destination=machine.destination)
    assert again.status == 0, again.output[-3000:]
    assert f"vm0 runs on {machine.destination} at generation {machine.spent + 2}" in again.words
    machine.is_at(machine.destination, machine.spent + 2)


@pytest.mark.parametrize(("phase", "paused"), _DIES_IN)
def test_a_destination_that_dies_before_the_hand_over_leaves_the_source_running(
    machine: Machine, phase: str, paused: bool
) -> None:
    machine.lab.fault(
        steps=[
            {"side": "destination", "phase": phase, "action": "die"},
            # The source stays there for a while, so that a play on a busy machine can see it there.
            {"side": "source", "phase": phase, "action": "stall", "seconds": 1},
        ]
    )
    played = machine.move()
    machine.failed_on_the_source(played, phase)
    assert ("for which the guest stood still for" in played.words) == paused, played.output[-3000:]


def test_fault_05_a_destination_that_dies_after_the_hand_over_leaves_nobody_running(machine: Machine) -> None:
    machine.lab.fault(steps=[{"side": "destination", "phase": "Activate", "action": "die"}])
    played = machine.move()
    machine.nobody_runs(played)
    assert f"{machine.source} says Destroyed, {machine.destination} has no server process any more" in played.words
    assert machine.lab.state(machine.source) == "Destroyed"
    assert machine.lab.pid(machine.destination) is None
    machine.lab.fault()
    booted = machine.lab.play("boot")
    assert booted.status == 0, booted.output[-3000:]
    machine.is_at("alpha", machine.spent + 2)
