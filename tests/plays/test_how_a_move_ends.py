# SPDX-License-Identifier: GPL-3.0-or-later
"""How a move ends on the terminal, and what a failed one leaves behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Lab
from played_lab import PLAY_SECONDS, ROOT, Played

MOVE = str(ROOT / "tests" / "fixtures" / "move_only.yml")
HOSTS = ("alpha", "beta")
# Each test waits for several plays, one after the other.
pytestmark = pytest.mark.timeout(4 * PLAY_SECONDS)


@pytest.fixture(autouse=True)
def mended(lab: Lab) -> Iterator[None]:
    yield
    lab.fault()
    for host in (*HOSTS, "ds1"):
        if lab.pid(host) is None:
            lab.restart(host)


def place(lab: Lab) -> tuple[str, str]:
    """Where the machine runs, and the other server."""
    source = lab.until("the machine runs", lambda: next((host for host in HOSTS if lab.state(host) == "Running"), None))
    return source, next(host for host in HOSTS if host != source)


def newest(lab: Lab) -> int:
    return max(number for numbers in lab.ledgers().values() for number in numbers)


def dies(lab: Lab, phase: str) -> None:
    """The destination of the next migration dies in this phase."""
    lab.fault(steps=[{"side": "destination", "phase": phase, "action": "die", "times": 1}])


def evidence(played: Played) -> Path:
    found = re.search(r"Evidence:\s+(\S+)", played.output)
    assert found is not None, played.output[-3000:]
    return Path(found[1])


def test_a_failed_move_says_each_thing_once_and_leaves_its_evidence_in_a_private_directory(lab: Lab) -> None:
    source, destination = place(lab)
    dies(lab, "RamPush")
    played = lab.play(MOVE, migration_destination=destination)
    assert played.status != 0
    for sentence in (f"vm0 still runs on {source}", "read the log of", "Verdict:   failed_on_source"):
        assert played.output.count(sentence) == 1, played.output[-3000:]
    folder = evidence(played)
    assert folder.parent == lab.root / "evidence"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    written = {path.name for path in folder.iterdir() if path.stat().st_size}
    downstairs = {f"ds{n}-crucible-downstairs-vm0-boot-{8810 + 10 * n}.log" for n in range(3)}
    servers = {f"{host}-propolis-server-vm0.log" for host in HOSTS}
    assert written >= downstairs | servers | {"plan.txt", "migration.json", f"{source}-console.txt"}
    assert "Plan: move vm0" in (folder / "plan.txt").read_text()
    told = json.loads((folder / "migration.json").read_text())
    assert told["failure"]["code"] == "failed_on_source"
    assert any(event["phase"] == "RamPush" for event in told["migration"]["timeline"])


def test_check_mode_says_what_would_be_done_and_that_nothing_is_to_be_done_and_spends_nothing(lab: Lab) -> None:
    source, destination = place(lab)
    before, number = lab.truth(), newest(lab)
    there = lab.play(MOVE, "--check", migration_destination=source)
    assert (there.status, there.changed) == (0, 0), there.output[-3000:]
    assert f"Plan: nothing is to be done, because vm0 is Running on {source} already, at generation" in there.words
    planned = lab.play(MOVE, "--check", migration_destination=destination)
    assert planned.status == 0, planned.output[-3000:]
    for words in (
        f"Plan: move vm0 from {source} to {destination}, in about",
        f"1. allocate generation {number + 1} for vm0-boot on ds0",
        "record it on ds1 and ds2",
        f"ask {destination} to fetch vm0 from {source}",
        f"ok {destination} reaches 3 of 3 downstairs of vm0-boot",
        f"{number + 1} then.",
    ):
        assert words in planned.words, planned.output[-3000:]
    assert lab.truth() == before


def test_a_move_that_is_refused_says_why_once_and_spends_nothing(lab: Lab) -> None:
    source, destination = place(lab)
    before = newest(lab)
    lab.kill("ds1")
    played = lab.play(MOVE, migration_destination=destination)
    assert played.status != 0
    assert played.output.count(f"{destination} does not reach the downstairs of vm0-boot on ds1") == 1
    assert f"Plan: no move of vm0 from {source} to {destination}" in played.words
    assert f"vm0 runs on {source} as before" in played.words
    assert "Verdict: not_started (refused)" in played.words
    assert newest(lab) == before
    lab.restart("ds1")
    lab.until("three replicas", lambda: healthy(lab, source))


def healthy(lab: Lab, host: str) -> bool:
    status = lab.ask(host, "/instance/disk/helios-blockdev-backend/status")
    targets = status["volume_info"]["volume"]["sub_volumes"][0]["upstairs"]["targets"] if status else []
    return [target["state"]["type"] for target in targets] == ["active"] * 3


def test_the_commands_that_a_move_prints_work_as_they_are_printed(lab: Lab) -> None:
    _source, destination = place(lab)
    played = lab.play(MOVE, migration_destination=destination)
    assert played.status == 0, played.output[-3000:]
    printed = re.search(r"Console:\s+(.*)", played.output)
    assert printed is not None, played.output[-3000:]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LAB_", "ANSIBLE_"))}
    done = subprocess.run(
        ["bash", "-c", printed[1]],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PLAY_SECONDS,
    )
    assert done.returncode == 0, printed[1] + done.stdout[-2000:] + done.stderr[-2000:]
    assert re.search(r"\btick \d+", done.stdout), done.stdout[-2000:]


def test_status_calls_a_machine_running_and_one_that_nobody_holds_stopped(lab: Lab) -> None:
    host, _other = place(lab)
    one = {"id": "1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a01", "host": "alpha", "port": 8000}
    instances = {"vm0": one, "vm1": {**one, "id": "1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a02"}}
    played = lab.play("status", propolis_instances=instances)
    assert (played.status, played.changed) == (0, 0), played.output[-3000:]
    assert f"running: vm0 runs on {host} at generation" in played.words
    assert "stopped: vm1 runs nowhere: no server holds it" in played.words
