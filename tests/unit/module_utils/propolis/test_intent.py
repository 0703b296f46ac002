# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run that shall move an instance decides to do, by what servers and ledgers say."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from typing import Any

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.intent import (
    UNSEEN_SECONDS,
    Asker,
    Intent,
    decide,
    overtaken,
)

VM = "1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a01"
MIGRATION = "3a1f7a52-0d0f-4f8e-9b7b-5d4f4a0c1c03"
NOW = 1_800_000_000.0
DESK = Asker("desk", NOW)
LAPTOP = Asker("laptop", NOW)


def server(name: str, state: str | None = None, **more: Any) -> dict[str, Any]:
    held = {"id": VM, "name": "vm0", "state": state} if state else None
    disk = {"backend": "boot", "generation": more.pop("generation", 1), "active": more.pop("active", True)}
    disks = [disk] if state in ("Running", "Migrating") else []
    migration = {"in": more.pop("into", None), "out": more.pop("out", None)}
    plain = {"name": name, "address": f"10.0.0.{len(name)}:8000", "instance": held, "disks": disks}
    return {**plain, "migration": migration, "error": None, "failure": None, **more}


def record(state: str) -> dict[str, str]:
    return {"id": MIGRATION, "state": state}


def entry(controller: str = "desk", age: float = 5.0, **more: Any) -> dict[str, Any]:
    time = datetime.fromtimestamp(NOW - age, UTC).isoformat(timespec="milliseconds")
    plain = {"generation": 2, "reason": "migrate", "migration_id": MIGRATION, "time": time, "controller": controller}
    return plain | more


def ask(*servers: dict[str, Any], newest: list[dict[str, Any]] | None = None, asker: Asker = DESK) -> Intent:
    return decide("vm0", VM, "beta", servers, newest or [], asker)


def test_an_instance_that_runs_elsewhere_is_moved_and_the_third_server_is_asked_too() -> None:
    found = ask(server("alpha", "Running"), server("beta"), server("gamma"))
    assert (found.needed, found.adopts, found.source, found.others) == (True, False, "alpha", ("gamma",))
    assert found.problem is None


def test_an_instance_that_is_there_needs_no_move() -> None:
    found = ask(server("alpha", "Destroyed", out=record("Finish")), server("beta", "Running", into=record("Finish")))
    assert (found.needed, found.problem, found.source) == (False, None, "alpha")


def test_two_copies_that_both_write_are_called_a_split_brain_and_nothing_is_begun() -> None:
    found = ask(server("alpha", "Running", generation=15), server("beta", "Running", generation=16))
    assert found.problem is not None
    assert found.problem.code == "split_brain"
    assert "SPLIT BRAIN: vm0 runs on alpha at generation 15 and on beta at generation 16 at once" in (
        found.problem.sentence
    )


def test_a_copy_whose_disks_were_taken_away_is_called_a_leftover() -> None:
    found = ask(server("alpha", "Running", active=False), server("beta", "Running", generation=2))
    assert found.problem is not None
    assert found.problem.code == "leftover_source"
    assert found.problem.next_step == "stop the old copy on alpha, whose disks are disabled"


def test_the_same_run_again_has_the_same_id_and_one_after_a_failure_has_another() -> None:
    first, again = (ask(server("alpha", "Running"), server("beta")) for _unused in range(2))
    failed = ask(server("alpha", "Running", out=record("Error")), server("beta", "Failed", into=record("Error")))
    later = ask(server("alpha", "Running", generation=2), server("beta"))
    assert first.migration_id == again.migration_id
    assert len({first.migration_id, failed.migration_id, later.migration_id}) == 3


def test_two_controllers_never_share_an_id() -> None:
    servers = server("alpha", "Running"), server("beta")
    assert ask(*servers).migration_id != ask(*servers, asker=LAPTOP).migration_id


@pytest.mark.parametrize(
    "servers",
    [
        (server("alpha", "Migrating", out=record("RamPush")), server("beta", "Migrating", into=record("RamPush"))),
        (server("alpha", "Migrating", out=record("Sync")), server("beta")),
        (server("alpha", "Destroyed", out=record("Finish")), server("beta", "Migrating", into=record("Finish"))),
        (server("alpha", "Migrating", migration=None), server("beta", "Migrating", migration=None)),
        (server("alpha", "Destroyed", migration=None), server("beta", "Migrating", migration=None)),
    ],
    ids=["both", "source only", "after Finish", "of 2023", "of 2023 after Finish"],
)
def test_a_migration_under_way_is_followed_by_who_began_it_and_named_to_everybody_else(servers: Any) -> None:
    ours = ask(*servers, newest=[entry()])
    assert (ours.needed, ours.adopts, ours.migration_id, ours.problem) == (True, True, MIGRATION, None)
    theirs = ask(*servers, newest=[entry()], asker=LAPTOP)
    assert theirs.problem is not None
    assert not theirs.adopts
    assert theirs.problem.code == "in_progress_elsewhere"
    for word in (MIGRATION, "by desk", "since 2027", "generation 2", "no number was spent"):
        assert word in theirs.problem.sentence


def test_a_migration_that_no_ledger_knows_is_somebody_elses() -> None:
    servers = server("alpha", "Migrating", out=record("RamPush")), server("beta", "Migrating", into=record("RamPush"))
    problem = ask(*servers).problem
    assert problem is not None
    assert problem.code == "in_progress_elsewhere"
    assert f"by migration {MIGRATION}, which is not that of the newest number in its ledgers" in problem.sentence


def test_a_number_that_another_controller_took_a_moment_ago_is_a_move_that_begins() -> None:
    servers = server("alpha", "Running"), server("beta")
    problem = ask(*servers, newest=[entry("laptop")]).problem
    assert problem is not None
    assert problem.code == "in_progress_elsewhere"
    assert "by laptop" in problem.sentence


@pytest.mark.parametrize(
    ("servers", "newest"),
    [
        ((server("alpha", "Running"), server("beta")), entry("laptop", age=UNSEEN_SECONDS + 1)),
        ((server("alpha", "Running"), server("beta")), entry("laptop", time="long ago")),
        ((server("alpha", "Running"), server("beta")), entry("laptop", reason="start")),
        ((server("alpha", "Running", out=record("Error")), server("beta")), entry("laptop")),
        ((server("alpha", "Running", generation=2, migration=None), server("beta")), entry("laptop")),
        ((server("alpha", "Running"), server("beta")), entry("desk")),
    ],
    ids=["too old", "no time", "not a move", "known to have failed", "arrived here", "ours"],
)
def test_other_entries_of_the_ledger_stand_against_nothing(servers: Any, newest: dict[str, Any]) -> None:
    assert ask(*servers, newest=[newest]).problem is None


def test_an_instance_that_runs_nowhere_cannot_be_moved() -> None:
    problem = ask(server("alpha"), server("beta", "Failed")).problem
    assert problem is not None
    assert (problem.code, problem.next_step) == ("nobody_runs", "boot.yml starts it")


def test_an_instance_that_may_run_on_a_silent_server_is_not_said_to_run_nowhere() -> None:
    silent = server("alpha", error="no answer within 5 s.", failure={"code": "no_answer", "details": {}})
    problem = ask(silent, server("beta")).problem
    assert problem is not None
    assert problem.code == "unknown"
    assert "may run on alpha" in problem.sentence
    refused = {"code": "unreachable", "details": {"reason": os.strerror(errno.ECONNREFUSED)}}
    gone = ask(server("alpha", error="refused", failure=refused), server("beta")).problem
    assert gone is not None
    assert gone.code == "nobody_runs"


def test_who_overtook_is_named_with_the_migration_or_with_what_the_number_was_for() -> None:
    moved = overtaken("vm0", entry("laptop"), {})
    assert moved.code == "in_progress_elsewhere"
    assert f"migration {MIGRATION} by laptop" in moved.sentence
    started = overtaken("vm0", entry("laptop", reason="start", migration_id=None), {})
    assert "laptop took generation 2" in started.sentence
    assert "(start)" in started.sentence
    emptied = overtaken("vm0", None, {})
    assert "somebody emptied the ledger" in emptied.sentence
    for problem in (moved, started, emptied):
        assert problem.sentence.endswith(". Nothing was changed and no number was spent.")


@pytest.mark.parametrize("newest", [entry("laptop"), entry("laptop", reason="start", migration_id=None), None])
def test_numbers_that_were_handed_out_before_it_was_overtaken_are_told_as_spent(newest: Any) -> None:
    problem = overtaken("vm0", newest, {"vm0-boot": 3, "vm0-data": 8})
    assert problem.sentence.endswith(
        ". Spent and not used: generation 3 of vm0-boot, generation 8 of vm0-data. Nothing but ledgers was changed."
    )
