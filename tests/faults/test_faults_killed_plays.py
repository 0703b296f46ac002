# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults 14, 15 and 17: what happens to a play after it got its number: others, a lost ledger, a kill."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger import Ledger
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger_entries import Entry
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger_file import LedgerFile
from conftest import VOLUME, Machine
from played_lab import PLAY_SECONDS, Played, Playing

ON_ITS_WAY = "vm0 is on its way."
RECORDS = "All target hosts have recorded it"


def one_number(machine: Machine) -> None:
    """It is at its destination with one number more than before, which all three hosts know."""
    machine.is_at(machine.destination, machine.spent + 1)
    assert len({tuple(numbers) for numbers in machine.lab.ledgers().values()}) == 1


def followed(machine: Machine) -> Playing:
    """A play that has found what an earlier one began, and follows it."""
    playing = machine.begin_move()
    playing.until_said(ON_ITS_WAY)
    assert "Plan: follow migration" in playing.output
    return playing


def stall(machine: Machine, side: str, phase: str, at: str = "begin") -> None:
    """From now on nobody goes on beyond this place, and whoever stood still elsewhere does."""
    machine.lab.fault(steps=[{"side": side, "phase": phase, "at": at, "action": "stall"}])


def test_fault_17_killed_at_each_moment_of_a_move_it_is_finished_by_the_last_run_with_one_number(
    machine: Machine,
) -> None:
    lab, source, destination, boots = machine.lab, machine.source, machine.destination, machine.boots()
    began, left = machine.passed("source", "RamPush"), machine.passed("destination", "Finish")

    # One host knows the number.
    first = machine.begin_move()
    first.until_said(RECORDS)
    first.kill()
    assert machine.newest_number() == machine.spent + 1

    # All of them know it, and nobody was asked for anything.
    second = machine.begin_move()
    second.until_said(RECORDS)
    with lab.frozen(destination):
        second.until_said("The move is made and followed to its end")
        second.kill()
    assert lab.state(destination) in (None, "Destroyed")

    # The destination was asked, and has not yet said a word to the source.
    stall(machine, "destination", "Connect")
    third = machine.begin_move()
    lab.until("the destination was asked", lambda: lab.state(destination) == "Migrating", PLAY_SECONDS)
    third.kill()
    assert lab.state(source) == "Running"

    # Memory is copied.
    fourth = followed(machine)
    stall(machine, "source", "RamPush")
    lab.until("memory is copied", lambda: machine.passed("source", "RamPush") > began)
    fourth.kill()
    assert lab.state(source) == "Migrating"

    # Both ends have finished, and the destination does not run yet.
    fifth = followed(machine)
    stall(machine, "destination", "Activate")
    lab.until("both have finished", lambda: machine.passed("destination", "Finish") > left)
    fifth.kill()

    last = followed(machine)
    lab.fault()
    ended = last.ended()
    assert (ended.status, ended.changed) == (0, 1), ended.output[-3000:]
    one_number(machine)
    assert machine.boots() == boots, "the machine was booted, not moved"
    again = machine.move()
    assert (again.status, again.changed) == (0, 0), again.output[-2000:]


def test_fault_17_killed_while_the_source_ends_and_after_that_the_next_run_finds_all_done(machine: Machine) -> None:
    lab, source, destination, boots = machine.lab, machine.source, machine.destination, machine.boots()
    stall(machine, "source", "Finish", "end")
    first = machine.begin_move()
    lab.until("the destination runs", lambda: lab.state(destination) == "Running", PLAY_SECONDS)
    first.kill()
    assert lab.state(source) == "Migrating"

    second = followed(machine)
    with second.halted():
        lab.fault()
        lab.until("the source is gone", lambda: lab.state(source) in (None, "Destroyed"))
        second.kill()

    last = machine.move()
    assert (last.status, last.changed) == (0, 0), last.output[-3000:]
    one_number(machine)
    assert machine.boots() == boots, "the machine was booted, not moved"


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


def ledger(machine: Machine, host: str) -> Path:
    return next(machine.lab.root.glob(f"hosts/{host}/crucible/vm0-boot/*.ledger"))


@contextlib.contextmanager
def nobody_records(machine: Machine, playing: Playing) -> Iterator[None]:
    """The play has got a number from the first host, and waits until the last host lets it record it."""
    with LedgerFile(ledger(machine, "ds2")).locked(1):
        playing.until_said("Each volume has a new generation")
        machine.lab.until("it has its number", lambda: machine.newest_number() > machine.spent, PLAY_SECONDS)
        yield


def test_fault_15_a_play_that_is_overtaken_after_it_got_a_number_says_by_whom_and_that_it_is_spent(
    machine: Machine,
) -> None:
    playing = machine.begin_move()
    with nobody_records(machine, playing):
        Ledger(ledger(machine, "ds0"), VOLUME).allocate(Entry(0, "maintenance", controller="south"))
    ended = playing.ended()
    assert ended.status != 0
    ended.says(
        "Verdict: in_progress_elsewhere",
        f"vm0: south took generation {machine.spent + 2} of its volume at 20",
        "(maintenance), while this run looked. "
        f"Spent and not used: generation {machine.spent + 1} of vm0-boot. Nothing but ledgers was changed.",
    )
    assert "no number was spent" not in ended.words
    assert machine.lab.state(machine.source) == "Running"
    assert machine.newest_number() == machine.spent + 2
    again = machine.move()
    assert (again.status, again.changed > 0) == (0, True), again.output[-3000:]
    machine.is_at(machine.destination, machine.spent + 3)


def test_fault_14_a_play_whose_ledger_falls_back_after_it_got_a_number_says_that_it_is_spent(machine: Machine) -> None:
    place = ledger(machine, "ds2")
    playing = machine.begin_move()
    with nobody_records(machine, playing):
        place.write_text("".join(place.read_text().splitlines(keepends=True)[:-1]))
    ended = playing.ended()
    assert ended.status != 0
    ended.says(
        "Verdict: not_started (ledger_fell_back)",
        f"vm0 runs on {machine.source} as before, because it got no generation to use (see above). "
        f"Spent and not used: generation {machine.spent + 1} of vm0-boot. Nothing but ledgers was changed.",
    )
    assert machine.lab.state(machine.source) == "Running"
    again = machine.move()
    assert again.status == 0, again.output[-3000:]
    again.says("Ledger rebuilt: of the")
    one_number(machine)
