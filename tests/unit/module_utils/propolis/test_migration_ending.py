# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run of the role ended: when a policy starts an instance again, and the closing lines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.migration_ending import (
    Ending,
    closing,
    not_allocated,
    not_begun,
    of_move,
)

COMMANDS = {"console": "C", "status": "S", "teardown": "T"}
FAILURE = {"code": "nobody_runs", "message": "…", "details": {"evidence": "/evidence/vm0"}}


def result(verdict: str = "nobody_runs", reason: str = "nobody", *, failed: bool = True) -> dict[str, Any]:
    migration = {
        "id": "m",
        "verdict": verdict,
        "reason": reason,
        "source": {"name": "alpha", "address": "10.0.0.1:8000"},
        "destination": {"name": "beta", "address": "10.0.0.2:8000"},
        "sentence": "NOBODY RUNS vm0; generation 2 is spent; start it.",
        "account": "NOBODY RUNS vm0; generation 2 is spent",
        "next_steps": ["start it", "read the log"],
        "runs_on": None,
        "generations": {"boot": 2},
        "generations_before": {"boot": 1},
        "pause_seconds": 0.25,
        "total_seconds": 0.6,
    }
    return {"migration": migration} | ({"failure": FAILURE} if failed else {})


@pytest.mark.parametrize(
    ("policy", "place"), [("restart_on_source", "alpha"), ("restart_on_destination", "beta"), ("leave", None)]
)
def test_what_was_lost_is_started_where_the_policy_says(policy: str, place: str | None) -> None:
    assert of_move("vm0", result(), policy).restart_on == place


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        ("nobody_runs", "stopped"),
        ("nobody_runs", "created_only"),
        ("unknown", "silent"),
        ("waiting_for_disks", "waits_for_disks"),
        ("timed_out", "in_flight"),
        ("timed_out", "nobody"),
        ("failed_on_source", "failed_safely"),
        ("split_brain", "both_run"),
    ],
)
def test_nothing_else_is_ever_started_by_a_policy(verdict: str, reason: str) -> None:
    assert of_move("vm0", result(verdict, reason), "restart_on_source").restart_on is None


def test_a_move_that_ended_well_says_so_with_numbers_pause_and_commands() -> None:
    lines = closing(of_move("vm0", result("succeeded", "moved", failed=False), "leave"), COMMANDS)
    assert lines == [
        "NOBODY RUNS vm0; generation 2 is spent; start it.",
        "Disk boot: generation 1 before, 2 now.",
        "The guest stood still for 0.25 s of the 0.6 s that it took.",
        "Console:   C",
        "All down:  T",
    ]


def test_a_plan_says_the_number_that_would_be() -> None:
    lines = closing(
        of_move("vm0", result("not_started", "runs_on_source", failed=False), "leave"), COMMANDS, planned=True
    )
    assert "Disk boot: generation 1 before, 2 then." in lines


def test_a_failure_says_each_thing_once() -> None:
    lines = closing(of_move("vm0", result(), "leave"), COMMANDS)
    assert lines == [
        "NOBODY RUNS vm0; generation 2 is spent.",
        "Verdict:   nobody_runs",
        "Next:      start it",
        "           read the log",
        "Evidence:  /evidence/vm0",
        "Look:      S",
    ]


def test_an_instance_that_was_started_again_is_said_to_be_and_not_to_be_started() -> None:
    ending = replace(of_move("vm0", result(), "restart_on_source"), restarted={"vm0-boot": 3})
    lines = closing(ending, COMMANDS)
    assert lines[0].startswith("vm0 was lost from memory and started again cold on alpha at generation 3.")
    assert lines[1] == "Move:      NOBODY RUNS vm0; generation 2 is spent."
    assert "Verdict:   nobody_runs" in lines
    assert not any("start it" in line for line in lines)


def test_a_cold_start_that_did_not_come_about_is_said_to_have_failed() -> None:
    lines = closing(of_move("vm0", result(), "restart_on_source"), COMMANDS)
    assert "it was to be started again cold on alpha, which failed" in lines[0]
    assert "Next:      start it" in lines


def test_a_run_that_did_nothing_has_the_code_beside_the_verdict() -> None:
    ending = not_begun("vm0", "refused", "vm0 runs on alpha as before.", "mend it", "alpha")
    assert closing(ending, COMMANDS)[:3] == [
        "vm0 runs on alpha as before.",
        "Verdict:   not_started (refused)",
        "Next:      mend it",
    ]
    assert not_begun("vm0", "in_progress_elsewhere", "…", None, None).verdict == "in_progress_elsewhere"


LOST = {"code": "ledger_fell_back", "message": "…", "details": {"last": 0, "seen_last": 3}}
MOVED = {"code": "ledger_moved", "message": "…", "details": {"newest": None}}
REFUSED = {"code": "generation_too_low", "message": "…", "details": {}}


def allocated(volume: str, number: int, **more: Any) -> dict[str, Any]:
    """What the loop of a role has of a volume whose first host handed a number out."""
    asked = {"state": "allocated", "expected_last": number - 1}
    found = {"changed": True, "generation": number, "item": {"volume": volume}, "invocation": {"module_args": asked}}
    return found | more


def recorded(volume: str, number: int, **more: Any) -> dict[str, Any]:
    """The same of a host that was asked to record it."""
    asked = {"state": "recorded", "expected_last": number}
    return {"changed": True, "item": {"volume": volume}, "invocation": {"module_args": asked}} | more


def refused(volume: str, failure: dict[str, Any]) -> dict[str, Any]:
    """The same of a host that handed no number out."""
    asked = {"state": "allocated", "expected_last": 6}
    return {"failed": True, "failure": failure, "item": {"volume": volume}, "invocation": {"module_args": asked}}


def test_a_ledger_that_was_lost_meanwhile_is_nobody_else_at_work() -> None:
    results = [recorded("vm0-boot", 4), recorded("vm0-boot", 4, failed=True, failure=LOST)]
    ending = not_allocated("vm0", "alpha", {"results": results})
    assert closing(ending, COMMANDS)[:2] == [
        "vm0 runs on alpha as before, because it got no generation to use (see above). Spent and not used: "
        "generation 4 of vm0-boot. Nothing but ledgers was changed.",
        "Verdict:   not_started (ledger_fell_back)",
    ]


@pytest.mark.parametrize("failure", [LOST, MOVED, REFUSED])
@pytest.mark.parametrize(
    ("results", "words"),
    [
        ([], "Nothing was changed and no number was spent."),
        ([allocated("boot", 4)], "Spent and not used: generation 4 of boot. Nothing but ledgers was changed."),
        ([allocated("boot", 4, changed=False)], "Spent and not used: generation 4 of boot. Nothing but ledgers"),
        ([allocated("boot", 4, spent=False)], "Nothing was changed and no number was spent."),
    ],
    ids=["first volume", "second volume", "second volume, a number of an earlier run", "second volume in check mode"],
)
def test_where_the_number_of_one_volume_is_refused_those_of_the_others_are_told_as_spent(
    results: list[Any], words: str, failure: dict[str, Any]
) -> None:
    ending = not_allocated("vm0", "alpha", {"results": [*results, refused("data", failure)]})
    assert words in ending.sentence
    assert words in closing(ending, COMMANDS)[0]


def test_numbers_of_a_move_that_the_module_then_refused_are_told_as_spent_and_those_of_one_that_began_are_not() -> None:
    numbers = {"vm0-boot": 2}
    lines = closing(of_move("vm0", result("not_started", "runs_on_source"), "leave", numbers), COMMANDS)
    assert lines[0].endswith(". Spent and not used: generation 2 of vm0-boot.")
    for verdict in ("nobody_runs", "failed_on_source", "in_progress_elsewhere", "succeeded"):
        assert "not used" not in of_move("vm0", result(verdict), "leave", numbers).sentence


def test_an_ending_survives_the_way_through_a_playbook() -> None:
    ending = of_move("vm0", result(), "restart_on_source")
    assert Ending.from_dict(ending.as_dict()) == ending
