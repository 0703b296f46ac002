# SPDX-License-Identifier: GPL-3.0-or-later
"""Ledgers under fire: a hundred thousand numbers, ten processes, and all that can happen to them and their disks.

``FIRE=N`` asks for another count than 100000 (`make fire N=...`), ``FIRE_SEED`` for the same dice again.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import ledger_fire
import pytest
from ledger_fire import HOSTS, Fire, Odds, Outcome

COUNT = int(os.environ.get("FIRE", "100000"))
SEED = int(os.environ.get("FIRE_SEED", random.SystemRandom().getrandbits(31)))
# Memory instead of a disk: what is tried here is our code, and three fsyncs for each number would take the day.
MEMORY = Path("/dev/shm")  # noqa: S108


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(dir=MEMORY)) if os.access(MEMORY, os.W_OK) else tmp_path
    yield place
    shutil.rmtree(place)


def judge(outcome: Outcome) -> Outcome:
    """No number twice, none that is not above what was in use before it was asked for, and only sentences of ours.

    A number that came into use is never seen again. One that did not may be allocated again after the only ledger that
    knew of it was damaged.
    """
    used = [number for number, _highest, _damages in outcome.used]
    assert len(used) == len(set(used)), "a number came into use twice"
    allocated = [(number, damages) for number, _highest, damages in outcome.allocated]
    assert len(allocated) == len(set(allocated)), "a number was allocated twice"
    assert [one for one in (*outcome.allocated, *outcome.used) if one[0] <= one[1]] == []
    assert outcome.strangers == []
    for sentence in outcome.sentences.values():
        assert sentence.endswith(".")
        assert "\n" not in sentence
    return outcome


def elsewhere(trouble: str, folder: Path) -> Outcome:
    """Numbers taken until a disk is in ``trouble`` and again when it is not, judged.

    Root gets a small disk of its own for it, in a mount namespace; others get limits that look like one, and say so.
    """
    program = [sys.executable, str(Path(ledger_fire.__file__)), trouble, str(folder), str(SEED)]
    if os.geteuid() == 0:
        program = ["unshare", "--mount", *program]
    else:
        print("SAID LOUDLY: without root no disk can be mounted; a file size limit and directory modes stand for it")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(program, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return judge(ledger_fire.read_logs(folder / "logs"))


def damage(fire: Fire, dice: random.Random) -> str:
    """What a power cut, or somebody with good intentions, does to one or two of the three ledgers."""
    hurt = dice.sample(range(HOSTS), dice.choice((1, 2)))
    done = []
    for host in hurt:
        path = fire.paths[host]
        content = path.read_bytes()
        how = dice.choice(("cut off", "lost", "restored"))
        if how == "lost":
            path.unlink()
        elif how == "cut off":
            path.write_bytes(content[: len(content) - dice.randrange(1, 300)])
        else:
            path.write_bytes(content[: content.rfind(b"\n", 0, dice.randrange(len(content) // 2, len(content))) + 1])
        done.append(f"{how} on host {host}")
    fire.damages += 1
    return ", ".join(done)


@pytest.mark.timeout(900)
def test_no_number_is_handed_out_twice_under_fire(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dice = random.Random(SEED)
    fire = Fire(folder, SEED, Odds(killed=2e-5, failed=5e-4))
    rounds = 5
    damages = []
    for number in range(1, rounds + 1):
        fire.burn(COUNT * number // rounds, kills=3)
        if number < rounds:
            damages.append(damage(fire, dice))
    outcome = judge(fire.outcome())
    begin = time.process_time()
    last = max(ledger.last for ledger in fire.ledgers())
    cold = time.process_time() - begin
    assert last >= max(number for number, _highest, _damages in outcome.allocated)
    assert len(outcome.allocated) >= COUNT
    with capsys.disabled():
        print(f"\nfire in {folder}, seed {SEED}: {outcome.report()}; ledgers: {'; '.join(damages)}; ", end="")
        print(
            f"three ledgers of {', '.join(str(path.stat().st_size) for path in fire.paths)} bytes read in {cold:.2f} s"
        )
    assert outcome.deaths["killed from outside"] > 0
    assert COUNT < 20000 or outcome.deaths["killed inside a file operation"] > 0
    assert COUNT < 20000 or {"disk_full", "read_only_disk", "permission_denied"} <= set(outcome.failures)


def test_a_full_disk_stops_everybody_with_one_sentence_and_room_lets_them_go_on(folder: Path) -> None:
    found = elsewhere("full", folder)
    assert set(found.failures) <= {"disk_full", "ledger_moved"}
    assert found.failures["disk_full"] > 0
    assert "the disk is full; make room, no number was handed out." in found.sentences["disk_full"]


def test_a_disk_that_turns_read_only_stops_everybody_with_one_sentence(folder: Path) -> None:
    found = elsewhere("read-only", folder)
    assert set(found.failures) <= {"read_only_disk", "permission_denied", "ledger_moved"}
    assert found.failures["read_only_disk"] + found.failures["permission_denied"] > 0
