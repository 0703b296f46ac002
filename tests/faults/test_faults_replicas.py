# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults 10, 11, 18 and 19: one of the three replicas is away, before a move, during it, and while it ends."""

from __future__ import annotations

from typing import Any

from conftest import Machine

# Long enough for a downstairs that returns to be found again (upstairs try each 10 s), and the end of a wait for one
# that does not.
PATIENCE = 60
IMPATIENCE = 15


def targets(machine: Machine, host: str) -> list[str]:
    """The states of the three replicas as the server on ``host`` sees them."""
    status = machine.lab.ask(host, "/instance/disk/helios-blockdev-backend/status")
    assert status is not None
    upstairs: dict[str, Any] = status["volume_info"]["volume"]["sub_volumes"][0]["upstairs"]
    return [str(target["state"]["type"]) for target in upstairs["targets"]]


def test_fault_10_a_downstairs_that_the_destination_cannot_reach_is_refused_before_a_number_is_spent(
    machine: Machine,
) -> None:
    with machine.lab.frozen("ds1"):  # as behind a partition: connections are made, and no answer ever comes
        played = machine.move()
        assert played.status != 0
        assert f"{machine.destination} does not reach the downstairs of vm0-boot on ds1" in played.words, played.output
        assert "nothing was changed and no number was spent" in played.words
        assert machine.lab.state(machine.source) == "Running"
        assert machine.lab.state(machine.destination) != "Running"
        assert machine.newest_number() == machine.spent
        machine.until_it_writes()


def test_fault_11_a_downstairs_lost_after_the_pre_flight_leaves_the_machine_waiting_in_the_destinations_memory(
    machine: Machine,
) -> None:
    machine.lab.fault(steps=[{"side": "source", "phase": "RamPush", "action": "stall"}])
    playing = machine.begin_move(migration_timeout=IMPATIENCE)
    machine.until_phase("source", "RamPush")
    machine.lab.kill("ds1")
    machine.lab.fault()
    played = playing.ended()
    assert played.status != 0
    assert "waiting_for_disks" in played.words, played.output
    assert f"vm0 lives in the memory of {machine.destination} and waits for its disks" in played.words
    assert f"the downstairs {machine.lab.network}.12:8820 is" in played.words
    assert f"do not stop or kill {machine.destination}" in played.words
    assert f"generation {machine.spent + 1} is spent" in played.words
    assert machine.lab.state(machine.source) == "Destroyed"
    assert machine.lab.state(machine.destination) == "Migrating"

    machine.lab.restart("ds1")
    machine.until_state(machine.destination, "Running")
    machine.until_it_writes()
    again = machine.move()
    assert (again.status, again.changed) == (0, 0), again.output
    assert machine.newest_number() == machine.spent + 1


def test_fault_18_a_machine_that_runs_on_two_replicas_is_not_moved_and_goes_on_running(machine: Machine) -> None:
    machine.lab.kill("ds2")
    machine.lab.until("the upstairs knows", lambda: targets(machine, machine.source)[2] != "active")
    played = machine.move()
    assert played.status != 0
    assert f"The downstairs {machine.lab.network}.13:8830 of disk helios-blockdev is" in played.words, played.output
    assert "Restart or replace it; move the machine when all three are active." in played.words
    assert "no number was spent" in played.words
    assert machine.lab.state(machine.source) == "Running"
    assert machine.newest_number() == machine.spent
    assert targets(machine, machine.source)[:2] == ["active", "active"]
    machine.until_it_writes()


def test_fault_19_a_downstairs_that_restarts_during_the_move_only_delays_it(machine: Machine) -> None:
    machine.lab.fault(steps=[{"side": "source", "phase": "RamPush", "action": "stall"}])
    playing = machine.begin_move(migration_timeout=PATIENCE)
    machine.until_phase("source", "RamPush")
    machine.lab.kill("ds0")
    machine.lab.fault()
    machine.until_state(machine.source, "Destroyed")
    machine.lab.restart("ds0")
    played = playing.ended()
    assert played.status == 0, played.output
    assert f"vm0 runs on {machine.destination} at generation {machine.spent + 1}" in played.words
    assert targets(machine, machine.destination) == ["active"] * 3
    machine.until_it_writes()
    assert machine.newest_number() == machine.spent + 1
