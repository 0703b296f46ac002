# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults 5 and 8 with a policy for machines that were lost: it starts what nobody runs, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import SERVERS, Machine
from played_lab import PLAY_SECONDS


@pytest.mark.parametrize("policy", ["restart_on_source", "restart_on_destination"])
def test_fault_05_a_machine_that_was_lost_is_started_again_where_the_policy_says_and_the_move_has_failed(
    machine: Machine, tmp_path: Path, policy: str
) -> None:
    machine.lab.fault(steps=[{"side": "destination", "phase": "Activate", "action": "die", "times": 1}])
    played = machine.move(migration_on_failure=policy, migration_evidence=str(tmp_path))
    there = machine.source if policy == "restart_on_source" else machine.destination
    assert played.status != 0
    played.says(
        f"vm0 was lost from memory and started again cold on {there} at generation {machine.spent + 2}.",
        "Verdict: nobody_runs",
        f"Evidence: {tmp_path}/",
    )
    assert any(folder.is_dir() for folder in tmp_path.iterdir())
    machine.is_at(there, machine.spent + 2)


def test_fault_08_a_machine_of_which_nobody_can_tell_is_never_started_again(machine: Machine) -> None:
    lab = machine.lab
    lab.fault(steps=[{"side": "destination", "phase": "Activate", "action": "stall"}])
    playing = machine.begin_move(migration_on_failure="restart_on_source", migration_timeout=10)
    lab.until("the machine is handed over", lambda: lab.state(machine.source) == "Destroyed", PLAY_SECONDS)
    with lab.frozen(machine.destination):
        played = playing.ended()
    assert played.status != 0
    assert "started again cold" not in played.output
    assert "start no other copy" in played.words or "do not stop" in played.words, played.output[-3000:]
    assert machine.newest_number() == machine.spent + 1
    assert [lab.state(host) for host in SERVERS].count("Running") == 0
    lab.fault()
    machine.until_state(machine.destination, "Running")
    machine.is_at(machine.destination, machine.spent + 1)
