# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults 6 and 7: the source dies, before and after it has handed the machine over."""

from __future__ import annotations

from conftest import Machine


def test_fault_06_a_source_that_dies_takes_the_memory_with_it_and_a_cold_start_is_offered(machine: Machine) -> None:
    machine.lab.fault(steps=[{"side": "source", "phase": "RamPush", "action": "die"}])
    played = machine.move()
    machine.nobody_runs(played)
    assert f"{machine.source} has no server process any more, {machine.destination} says Failed" in played.words
    assert machine.lab.state(machine.destination) == "Failed"
    machine.lab.fault()
    booted = machine.lab.play("boot")
    assert booted.status == 0, booted.output[-3000:]
    machine.is_at("alpha", machine.spent + 2)


def test_fault_07_a_source_that_dies_after_its_last_word_is_a_note_beside_the_success(machine: Machine) -> None:
    machine.lab.fault(steps=[{"side": "source", "phase": "Finish", "at": "end", "action": "die"}])
    played = machine.move()
    assert played.status == 0, played.output[-3000:]
    assert machine.lab.pid(machine.source) is None
    assert f"vm0 runs on {machine.destination} at generation {machine.spent + 1}" in played.words
    assert f"note that the server process of {machine.source} is gone" in played.words
    machine.is_at(machine.destination, machine.spent + 1)
