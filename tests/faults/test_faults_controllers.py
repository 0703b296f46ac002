# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults 15 to 17: two controllers, two jobs of one controller, and a controller that dies."""

from __future__ import annotations

import by_hand
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.observation import ServerName
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.serial import Wish, listen
from conftest import INSTANCE_ONLY, Machine


def test_fault_15_the_second_of_two_controllers_is_told_who_moves_it_and_spends_nothing(machine: Machine) -> None:
    lab = machine.lab
    first = machine.begin_stalled_move(migration_controller="north")
    second = machine.move(migration_controller="south")
    assert (second.status != 0, second.changed) == (True, 0)
    migration = lab.ask(machine.source, "/instance/migration-status")["migration_out"]["id"]
    second.says(
        "Verdict: in_progress_elsewhere",
        f"vm0 is being moved already: migration {migration} by north since 20",
        f"generation {machine.spent + 1}. Nothing was changed and no number was spent",
        "wait until that has ended",
    )
    assert machine.newest_number() == machine.spent + 1
    lab.fault()
    won = first.ended()
    assert won.status == 0, won.output[-3000:]
    machine.is_at(machine.destination, machine.spent + 1)


def test_fault_16_a_stop_during_a_move_is_told_to_wait_and_afterwards_stops_it_where_it_is(machine: Machine) -> None:
    lab = machine.lab
    moving = machine.begin_stalled_move()
    early = lab.play(INSTANCE_ONLY, instance_state="stopped")
    assert early.status != 0
    early.says("is being migrated", "follow the migration first, or set force")
    rebooted = by_hand.send(lab, "PUT", machine.source, "/instance/state", "Reboot")
    assert (rebooted.status_code, "migration source" in rebooted.text) == (403, True), rebooted.text
    assert by_hand.send(lab, "PUT", machine.source, "/instance/state", "Stop").status_code == 204
    lab.fault()
    moved = moving.ended()
    assert moved.status == 0, moved.output[-3000:]
    machine.is_at(machine.destination, machine.spent + 1)  # the source's own stop was dropped, as the sentence said
    late = lab.play(INSTANCE_ONLY, instance_state="stopped")
    assert late.status == 0, late.output[-3000:]
    late.says(f"vm0 on {machine.destination}")
    assert [lab.state(host) for host in (machine.source, machine.destination)] == ["Destroyed", "Destroyed"]


def test_fault_16_a_stop_by_hand_at_the_destination_ends_the_machine_there_and_the_move_says_so(
    machine: Machine,
) -> None:
    lab = machine.lab
    moving = machine.begin_stalled_move()
    machine.until_state(machine.destination, "Migrating")
    assert by_hand.send(lab, "PUT", machine.destination, "/instance/state", "Stop").status_code == 204
    lab.fault()
    played = moving.ended()
    assert played.status != 0
    played.says(
        "Verdict: nobody_runs",
        f"vm0 runs nowhere: it was stopped on {machine.destination}, where it was moved from {machine.source}",
        f"generation {machine.spent + 1} is spent",
        f"generation {machine.spent + 2} or higher",
    )
    assert [lab.state(host) for host in (machine.source, machine.destination)] == ["Destroyed", "Destroyed"]
    assert machine.newest_number() == machine.spent + 1


def test_a_guest_that_switches_itself_off_during_the_move_has_ended_at_the_destination_and_is_not_called_lost(
    machine: Machine,
) -> None:
    lab = machine.lab
    moving = machine.begin_stalled_move()
    at = ServerName(machine.source, lab.address(machine.source))
    assert listen(Wish(at, send=("root", "poweroff"), expect=r"^Power down\.", timeout=20)).match
    lab.fault()
    played = moving.ended()
    lab.until("it has ended", lambda: lab.state(machine.destination) == "Destroyed")
    assert lab.state(machine.source) == "Destroyed"
    assert machine.newest_number() == machine.spent + 1
    # It runs there for a moment, and the play may have seen it in that.
    if played.status == 0:
        played.says(f"vm0 runs on {machine.destination} at generation {machine.spent + 1}")
    else:
        played.says(
            f"vm0 runs nowhere: it was stopped on {machine.destination}, where it was moved from {machine.source}"
        )
    again = machine.move()
    assert again.status != 0
    again.says("vm0 runs on no server of the inventory and cannot be moved", "no number was spent")
    assert machine.newest_number() == machine.spent + 1


def test_fault_17_a_move_whose_controller_was_killed_is_finished_by_the_next_run_once(machine: Machine) -> None:
    lab = machine.lab
    killed = machine.begin_stalled_move()
    migration = lab.ask(machine.source, "/instance/migration-status")["migration_out"]["id"]
    killed.kill()
    adopting = machine.begin_move()
    adopting.until_said("vm0 is on its way")
    lab.fault()
    adopted = adopting.ended()
    assert (adopted.status, adopted.changed) == (0, 1), adopted.output[-3000:]
    adopted.says(
        f"vm0 runs on {machine.destination} at generation {machine.spent + 1}",
        f"this run found and followed migration {migration}, which an earlier run began",
    )
    third = machine.move()
    assert (third.status, third.changed) == (0, 0), third.output[-3000:]
    machine.is_at(machine.destination, machine.spent + 1)
