# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults 18 and 19: one of the three replicas is away before a move, and while it ends."""

from __future__ import annotations

from typing import Any

from conftest import Machine

# Long enough for a downstairs that returns to be found again: upstairs try each 10 s.
PATIENCE = 60


def targets(machine: Machine, host: str) -> list[str]:
    """The states of the three replicas as the server on ``host`` sees them."""
    status = machine.lab.ask(host, "/instance/disk/helios-blockdev-backend/status")
    assert status is not None
    upstairs: dict[str, Any] = status["volume_info"]["volume"]["sub_volumes"][0]["upstairs"]
    return [str(target["state"]["type"]) for target in upstairs["targets"]]


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


def test_fault_19_a_downstairs_that_restarts_during_the_move_is_told_of_and_only_delays_it(machine: Machine) -> None:
    playing = machine.begin_stalled_move(migration_timeout=PATIENCE)
    machine.lab.kill("ds0")
    away = f"warning: the downstairs {machine.lab.network}.11:8810 of disk helios-blockdev is "
    playing.until_said(away)  # before the hand-over, which waits for us
    machine.lab.fault()
    machine.until_state(machine.source, "Destroyed")
    machine.lab.restart("ds0")
    played = playing.ended()
    assert played.status == 0, played.output
    assert f"vm0 runs on {machine.destination} at generation {machine.spent + 1}" in played.words
    assert played.output.count(away) == 1
    played.says(
        "[WARNING]: the downstairs",
        f"for {machine.source} while vm0 moves: {machine.destination} waits for all three before it runs the machine",
    )
    assert targets(machine, machine.destination) == ["active"] * 3
    machine.until_it_writes()
    assert machine.newest_number() == machine.spent + 1
