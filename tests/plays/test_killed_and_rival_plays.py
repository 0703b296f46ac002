# SPDX-License-Identifier: GPL-3.0-or-later
"""A play that is killed with all its processes and run again, and two plays that want to move one machine at once."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator

import pytest
from conftest import Lab
from played_lab import PLAY_SECONDS, ROOT, Played, Playing

MOVE = str(ROOT / "tests" / "fixtures" / "move_only.yml")
# Each test waits for several plays, one after the other.
pytestmark = pytest.mark.timeout(4 * PLAY_SECONDS)
HOSTS = ("alpha", "beta")
ON_ITS_WAY = "vm0 is on its way."
RECORDS = "All target hosts have recorded it"


@pytest.fixture(autouse=True)
def no_faults(lab: Lab) -> Iterator[None]:
    yield
    lab.fault()


def place(lab: Lab) -> tuple[str, str]:
    """Where the machine runs, and the other server."""
    running = [host for host in HOSTS if lab.state(host) == "Running"]
    assert len(running) == 1, {host: lab.state(host) for host in HOSTS}
    return running[0], next(host for host in HOSTS if host != running[0])


def newest(lab: Lab) -> int:
    return max(number for numbers in lab.ledgers().values() for number in numbers)


def stall(lab: Lab, side: str, phase: str) -> None:
    lab.fault(steps=[{"side": side, "phase": phase, "action": "stall"}])


def until_said(playing: Playing, text: str) -> None:
    Lab.until(text, lambda: text in playing.output or playing.process.poll() is not None, PLAY_SECONDS)
    assert text in playing.output, playing.output[-3000:]


def phases(lab: Lab, role: str, phase: str) -> int:
    lines = [json.loads(line) for line in (lab.root / "history.jsonl").read_text().splitlines()]
    wanted = ("migration", role, phase, "begin")
    return sum((line["event"], line.get("role"), line.get("phase"), line.get("at")) == wanted for line in lines)


def boots(lab: Lab) -> int:
    lines = [json.loads(line) for line in (lab.root / "history.jsonl").read_text().splitlines()]
    return sum(line["event"] == "guest" and line["what"] == "begin" for line in lines)


def moved_once(lab: Lab, again: Played, destination: str, number: int) -> None:
    """The second run has finished the migration, with the number of the first, which all three hosts know."""
    assert again.status == 0, again.output[-3000:]
    assert place(lab)[0] == destination
    assert newest(lab) == number
    assert len({tuple(numbers) for numbers in lab.ledgers().values()}) == 1


def test_killed_before_all_hosts_know_the_number_it_goes_on_with_the_same_one(lab: Lab) -> None:
    _source, destination = place(lab)
    number = newest(lab) + 1
    playing = lab.begin(MOVE, migration_destination=destination)
    until_said(playing, RECORDS)
    playing.kill()
    assert newest(lab) == number
    moved_once(lab, lab.play(MOVE, migration_destination=destination), destination, number)


@pytest.mark.parametrize(
    ("side", "phase", "held"),
    [
        pytest.param("source", "RamPush", "RamPush", id="while memory is copied"),
        pytest.param("destination", "Finish", "Activate", id="after Finish and before Running"),
    ],
)
def test_killed_while_the_machine_is_on_its_way_the_next_run_follows_it(
    lab: Lab, side: str, phase: str, held: str
) -> None:
    _source, destination = place(lab)
    number, seen = newest(lab) + 1, boots(lab)
    stall(lab, side, held)
    before = phases(lab, side, phase)
    playing = lab.begin(MOVE, migration_destination=destination)
    Lab.until(f"{side} {phase}", lambda: phases(lab, side, phase) > before, PLAY_SECONDS)
    playing.kill()
    again = lab.begin(MOVE, migration_destination=destination)
    until_said(again, ON_ITS_WAY)
    lab.fault()
    ended = again.ended()
    moved_once(lab, ended, destination, number)
    assert "Plan: follow migration" in ended.words, ended.output[-3000:]
    assert ended.changed == 1, ended.output[-3000:]
    assert boots(lab) == seen, "the machine was booted, not moved"
    if held == "Activate":
        third = lab.play(MOVE, migration_destination=destination)
        assert (third.status, third.changed) == (0, 0), third.output[-2000:]


def only_the_first(first: Played, second: Played, spent: int) -> None:
    assert first.status == 0, first.output[-3000:]
    assert second.status != 0, second.output[-3000:]
    assert re.search(r"being moved already: migration [0-9a-f-]{36} by desk since 20\d\d-", second.words), second.output
    assert "in_progress_elsewhere" in second.words
    assert second.changed == 0
    assert spent == 1


def test_a_rival_that_comes_while_the_machine_is_on_its_way_is_told_who_moves_it(lab: Lab) -> None:
    _source, destination = place(lab)
    before, seen = newest(lab), phases(lab, "source", "RamPush")
    stall(lab, "source", "RamPush")
    first = lab.begin(MOVE, migration_destination=destination, migration_controller="desk")
    Lab.until("memory is copied", lambda: phases(lab, "source", "RamPush") > seen, PLAY_SECONDS)
    second = lab.play(MOVE, migration_destination=destination, migration_controller="laptop")
    lab.fault()
    only_the_first(first.ended(), second, newest(lab) - before)


def test_a_rival_that_comes_after_the_number_and_before_the_request_is_told_who_moves_it(lab: Lab) -> None:
    _source, destination = place(lab)
    before = newest(lab)
    first = lab.begin(MOVE, migration_destination=destination, migration_controller="desk")
    until_said(first, RECORDS)
    first.send(signal.SIGSTOP)
    second = lab.play(MOVE, migration_destination=destination, migration_controller="laptop")
    first.send(signal.SIGCONT)
    only_the_first(first.ended(), second, newest(lab) - before)


def test_of_two_that_begin_at_once_one_moves_it_and_the_other_spends_nothing(lab: Lab) -> None:
    _source, destination = place(lab)
    before = newest(lab)
    plays = [lab.begin(MOVE, migration_destination=destination, migration_controller=name) for name in ("desk", "lap")]
    ends = [playing.ended() for playing in plays]
    assert newest(lab) == before + 1
    assert place(lab)[0] == destination
    won = [played for played in ends if played.status == 0 and "it was moved from" in played.words]
    assert len(won) == 1, [played.output[-2000:] for played in ends]
    other = next(played for played in ends if played is not won[0])
    late = other.status == 0 and "nothing was changed" in other.words
    assert late or "in_progress_elsewhere" in other.words, other.output[-3000:]
    assert other.changed == 0


def test_a_second_play_of_the_same_controller_follows_the_first(lab: Lab) -> None:
    _source, destination = place(lab)
    number = newest(lab) + 1
    plays = [lab.begin(MOVE, migration_destination=destination) for _unused in range(2)]
    for playing in plays:
        ended = playing.ended()
        assert ended.status == 0, ended.output[-3000:]
    assert newest(lab) == number
    assert place(lab)[0] == destination
