# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults 8 to 11: packets are lost without a word, between the two servers, and between one of them and a replica."""

from __future__ import annotations

from conftest import Machine, begin_anew
from played_lab import PLAY_SECONDS, Playing


def test_fault_08_a_partition_before_the_hand_over_ends_our_waiting_and_later_the_migration(
    wired_machine: Machine,
) -> None:
    machine, lab = wired_machine, wired_machine.lab
    playing = machine.begin_stalled_move(migration_timeout=4)
    machine.wires.cut(machine.source, machine.destination)
    lab.fault()
    played = playing.ended()
    assert played.status != 0
    played.says(
        "Verdict: timed_out",
        f"the migration itself goes on. vm0 is on its way from {machine.source} to {machine.destination}",
        f"{machine.source} says Migrating, phase RamPush, {machine.destination} says Migrating, phase RamPush",
        "leave both servers alone and run the same play again to follow it",
    )

    machine.until_state(machine.source, "Running")  # TCP has given up; the destination, which only listens, never does
    machine.until_it_writes()
    again = machine.move()
    assert again.status != 0
    again.says(
        "Verdict: failed_on_source",
        f"vm0 still runs on {machine.source} at generation {machine.generation}, which gave up the migration",
        f"{machine.destination} says Migrating, phase RamPush and waits for a rest that never comes",
        f"restart the server process of {machine.destination}",
    )
    assert machine.newest_number() == machine.spent + 1
    assert lab.state(machine.source) == "Running"
    lab.kill(machine.destination)


def _cut_off_at_the_last_word(machine: Machine) -> Playing:
    """A play that has begun, whose source has sent its last word into nothing and ended."""
    before = machine.passed("destination", "Finish")
    playing = machine.begin_stalled_move("Finish", migration_timeout=6)
    machine.lab.until("the destination waits", lambda: machine.passed("destination", "Finish") > before)
    machine.wires.cut(machine.source, machine.destination)
    machine.lab.fault()
    return playing


def _says_that_nobody_may_be_running(machine: Machine, playing: Playing) -> None:
    played = playing.ended()
    assert played.status != 0
    played.says(
        "Verdict: unknown",
        f"NOBODY MAY BE RUNNING vm0: {machine.source} has handed it over and says Destroyed",
        f"its last word has not reached {machine.destination}, which says Migrating, phase Server",
        f"generation {machine.spent + 1} is spent",
        f"see to the network between {machine.source} and {machine.destination} and run the same play again",
        f"start the instance on any one server with generation {machine.spent + 2} or higher",
    )
    assert machine.lab.state(machine.source) == "Destroyed"
    assert machine.lab.state(machine.destination) == "Migrating"
    assert machine.newest_number() == machine.spent + 1


def test_fault_09_a_last_word_that_is_lost_may_leave_nobody_running(wired_machine: Machine) -> None:
    machine, lab = wired_machine, wired_machine.lab
    _says_that_nobody_may_be_running(machine, _cut_off_at_the_last_word(machine))
    lab.kill(machine.destination)
    begin_anew(lab, keep_history=True)
    machine.is_at("alpha", machine.spent + 2)


def test_fault_09_a_last_word_that_is_late_only_finds_the_machine_waiting(wired_machine: Machine) -> None:
    machine = wired_machine
    machine.wires.try_again(15)
    _says_that_nobody_may_be_running(machine, _cut_off_at_the_last_word(machine))
    machine.wires.mend()
    # TCP doubles its pauses between two tries: the longer it was cut off, the longer it takes.
    machine.lab.until("it arrives", lambda: machine.lab.state(machine.destination) == "Running", PLAY_SECONDS)
    again = machine.move()
    assert again.status == 0, again.output[-3000:]
    assert f"vm0 runs on {machine.destination} at generation {machine.spent + 1}" in again.words
    machine.is_at(machine.destination, machine.spent + 1)


def test_fault_10_a_downstairs_behind_a_partition_from_the_destination_alone_is_refused_at_no_price(
    wired_machine: Machine,
) -> None:
    machine, begun = wired_machine, wired_machine.passed("destination", "Sync")
    machine.wires.cut(machine.destination, "ds1")
    played = machine.move()
    assert played.status != 0
    played.says(
        "Verdict: not_started",
        f"{machine.destination} does not reach the downstairs of vm0-boot on ds1",
        f"vm0 runs on {machine.source} as before, because of what is refused above; nothing was changed and no number "
        "was spent",
    )
    assert machine.passed("destination", "Sync") == begun
    machine.is_at(machine.source, machine.generation, machine.spent)  # and sees three replicas all the while


def test_fault_11_a_partition_from_a_downstairs_during_the_move_leaves_the_machine_waiting_for_its_end(
    wired_machine: Machine,
) -> None:
    machine, lab = wired_machine, wired_machine.lab
    playing = machine.begin_stalled_move(migration_timeout=5)
    machine.wires.cut(machine.destination, "ds1")
    lab.fault()
    played = playing.ended()
    assert played.status != 0
    played.says(
        "Verdict: waiting_for_disks",
        f"vm0 lives in the memory of {machine.destination} and waits for its disks",
        f"the downstairs {lab.network}.12:8820 is",
        f"do not stop or kill {machine.destination}",
        f"generation {machine.spent + 1} is spent",
    )
    assert lab.state(machine.source) == "Destroyed"
    assert lab.state(machine.destination) == "Migrating"
    machine.wires.mend()
    lab.until("it runs", lambda: lab.state(machine.destination) == "Running", seconds=90)
    machine.is_at(machine.destination, machine.spent + 1)
