# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults 1 to 5: the destination dies while the machine comes to it."""

from __future__ import annotations

import pytest
from conftest import Machine


@pytest.mark.parametrize(
    "phase",
    [
        pytest.param("Sync", id="fault_01"),
        pytest.param("RamPush", id="fault_02"),
        pytest.param("RamPushDirty", id="fault_03"),
        pytest.param("Device", id="fault_04"),
        pytest.param("Server", id="fault_04_late"),
    ],
)
def test_a_destination_that_dies_before_the_hand_over_leaves_the_source_running(machine: Machine, phase: str) -> None:
    machine.lab.fault(steps=[{"side": "destination", "phase": phase, "action": "die"}])
    played = machine.move()
    assert played.status != 0
    assert "failed_on_source" in played.words
    assert f"vm0 still runs on {machine.source} at generation {machine.generation}" in played.words, played.output[
        -2000:
    ]
    assert machine.lab.state(machine.source) == "Running"
    assert machine.newest_number() == machine.spent + 1
    machine.until_it_writes()


def test_fault_05_a_destination_that_dies_after_the_hand_over_leaves_nobody_running(machine: Machine) -> None:
    machine.lab.fault(steps=[{"side": "destination", "phase": "Activate", "action": "die"}])
    played = machine.move()
    assert played.status != 0
    assert "NOBODY RUNS vm0" in played.words, played.output[-2000:]
    assert f"generation {machine.spent + 2} or higher" in played.words
    assert machine.lab.state(machine.source) == "Destroyed"
    booted = machine.lab.play("boot")
    assert booted.status == 0
    machine.until_it_writes()
    assert machine.newest_number() == machine.spent + 2
