# SPDX-License-Identifier: GPL-3.0-or-later
"""The module crucible_facts: regions of both ages, whole and damaged, ledgers, the program."""

from __future__ import annotations

import os

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger import Ledger
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger_entries import Entry
from ansible_collections.apiary.propolis.plugins.modules import crucible_facts
from lab_downstairs import AGES, executable
from module_runner import run_module
from regions_on_disk import UUID, extent_file, make_raw, make_sqlite

VOLUME = "0cedae45-3d6e-4d90-b2cb-56f1a1a42a89"
STORED = ((3, 9, False), (0, 0, False), (7, 8, True))


@pytest.fixture
def facts():
    def run(**options):
        told = run_module(crucible_facts, **options)
        return told if told["failed"] else told["ansible_facts"]["crucible"]

    return run


def test_regions_of_both_ages_are_found_below_a_root(facts, tmp_path):
    make_raw(tmp_path / "a", STORED)
    make_sqlite(tmp_path / "b", STORED)
    found = facts(root=str(tmp_path))["regions"]
    assert [(one["path"], one["age"], one["format"]) for one in found] == [
        (str(tmp_path / "a"), "today", "raw"), (str(tmp_path / "b"), "2023", "sqlite"),
    ]  # fmt: skip
    for one in found:
        assert (one["max_generation"], one["max_flush"], one["dirty"], one["method"]) == (7, 9, 1, "trailers")
        assert (one["complete"], one["problems"], one["uuid"], one["bytes"]) == (True, [], UUID, 24576)


def test_a_region_without_a_ledger_is_under_regions_only(facts, tmp_path):
    make_raw(tmp_path / "r")
    found = facts(paths=[str(tmp_path / "r") + "/"])
    assert found["regions"][0]["ledger"]["exists"] is False
    assert found["volumes"] == {}
    assert found["program"] is None


def test_volumes_have_their_numbers(facts, tmp_path):
    region = make_raw(tmp_path / "r", ((11, 1, False),) * 3)
    Ledger(tmp_path / "r.ledger", VOLUME).record([Entry(4, "start"), Entry(12, "migrate", "vm0", "beta")])
    found = facts(paths=[str(region)])
    assert found["volumes"] == {VOLUME: {"generation": 12, "stored_generation": 11, "next_generation": 13}}
    assert found["regions"][0]["ledger"]["newest"]["holder"] == {"instance": "vm0", "server": "beta"}
    assert (found["regions"][0]["ledger"]["last"], found["regions"][0]["ledger"]["entries"]) == (12, 2)


def test_a_stored_number_above_the_ledger_counts(facts, tmp_path):
    make_raw(tmp_path / "r", ((30, 1, False),) * 3)
    Ledger(tmp_path / "r.ledger", VOLUME).record([Entry(4, "start")])
    assert facts(root=str(tmp_path))["volumes"][VOLUME]["next_generation"] == 31


def test_a_number_of_a_torn_line_counts_as_spent(facts, tmp_path):
    make_raw(tmp_path / "r")
    Ledger(tmp_path / "r.ledger", VOLUME).record([Entry(4, "start")])
    with (tmp_path / "r.ledger").open("ab") as file:
        file.write(b'{"generation":9,')
    found = facts(root=str(tmp_path))
    assert found["volumes"][VOLUME]["next_generation"] == 10
    assert found["regions"][0]["ledger"]["torn"] is True


def test_a_path_without_a_region_is_told_and_not_a_failure(facts, tmp_path):
    found = facts(paths=[str(tmp_path / "nowhere")])["regions"][0]
    assert (found["exists"], found["complete"], found["uuid"], found["bytes"]) == (False, False, None, None)
    assert "holds no region" in found["problems"][0]


def test_what_is_wrong_with_a_region_is_a_problem_and_not_a_failure(facts, tmp_path):
    make_raw(tmp_path / "half")
    extent_file(tmp_path / "half", 1).unlink()
    (tmp_path / "half.making").write_text("")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "region.json").write_text("{")
    (tmp_path / "damaged.ledger").write_text("no ledger\n")
    damaged, half = facts(root=str(tmp_path))["regions"]
    assert "is not JSON" in damaged["problems"][0]
    assert "first line is not that of a ledger" in damaged["ledger"]["problem"]
    assert half["problems"] == [
        "1 of 3 extents are missing, first 1",
        "it was being made when an earlier run was interrupted",
    ]


def test_processes_that_use_a_region_are_named(facts, tmp_path):
    make_raw(tmp_path / "r")
    with extent_file(tmp_path / "r", 0).open():
        assert facts(root=str(tmp_path))["regions"][0]["processes"][0]["pid"] == os.getpid()


def test_a_root_that_is_not_there_is_a_failure(facts, tmp_path):
    assert facts(root=str(tmp_path / "nowhere"))["failure"]["code"] == "region_unusable"


@pytest.mark.parametrize("age", AGES)
def test_the_program_is_identified(facts, tmp_path, age):
    found = facts(paths=[], executable=executable(tmp_path, age))["program"]
    assert found["message_version"] == (13 if age == "today" else 1)
    assert (found["commit"] is None) == (age == "2023")


@pytest.mark.parametrize("age", AGES)
def test_the_program_is_asked_for_generations_of_regions_that_nobody_uses(facts, tmp_path, age):
    region = (make_raw if age == "today" else make_sqlite)(
        tmp_path / "r", ((3, 9, False), (5, 8, False), (0, 0, False))
    )
    options = {"paths": [str(region)], "method": "dump", "executable": executable(tmp_path, age)}
    found = facts(**options)["regions"][0]
    assert (found["method"], found["max_generation"], found["max_flush"]) == ("dump", 5, 9)
    with extent_file(region, 0).open():
        found = facts(**options)["regions"][0]
    assert (found["method"], found["max_generation"], found["max_flush"]) == ("trailers", 5, 9)


def test_a_dump_that_fails_is_a_problem_and_the_trailers_count(facts, tmp_path):
    make_raw(tmp_path / "r", ((5, 1, False),) * 3)
    program = tmp_path / "program"
    program.write_text(
        '#!/bin/sh\n[ $1 = version ] && echo "Upstairs <-> Downstairs Message Version: 13" && exit 0\n'
        'echo "Error: Region is odd" >&2; exit 1\n'
    )
    program.chmod(0o755)
    found = facts(root=str(tmp_path), method="dump", executable=str(program))["regions"][0]
    assert (found["max_generation"], found["method"], found["complete"]) == (5, "trailers", False)
    assert found["problems"] == [f"dump of {tmp_path / 'r'} failed (exit status 1): Region is odd"]


@pytest.mark.parametrize(("text", "code"), [("exit 3", "program_failed"), ("echo hello", "unexpected_output")])
def test_a_program_that_is_another_one_is_a_failure(facts, tmp_path, text, code):
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    assert facts(executable=str(program))["failure"]["code"] == code


def test_a_missing_program_is_a_failure(facts):
    assert facts(executable="/nowhere")["failure"]["code"] == "program_missing"


def test_a_missing_program_is_told_where_only_its_version_was_asked_for(facts):
    found = facts(executable="/nowhere", method="trailers")
    assert found["program"] is None
    assert "/nowhere" in found["program_problem"]


def test_a_program_that_hangs_is_a_failure_after_its_time(facts, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nsleep 600\n")
    program.chmod(0o755)
    assert facts(executable=str(program), timeout=0.2)["failure"]["code"] == "timed_out"
