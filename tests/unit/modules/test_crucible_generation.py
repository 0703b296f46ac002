# SPDX-License-Identifier: GPL-3.0-or-later
"""The module crucible_generation: numbers through the eyes of a playbook."""

from __future__ import annotations

import fcntl

import pytest
from ansible_collections.apiary.propolis.plugins.modules import crucible_generation
from module_runner import run_module
from regions_on_disk import extent_file, make_raw, make_sqlite

VOLUME = "0cedae45-3d6e-4d90-b2cb-56f1a1a42a89"
MIGRATION = "3a1f7a52-0d0f-4f8e-9b7b-5d4f4a0c1c03"


@pytest.fixture
def generation(tmp_path):
    def run(state="allocated", host="r", check=False, **options):
        given = {"path": str(tmp_path / host), "volume": VOLUME, "state": state, **options}
        return run_module(crucible_generation, check, **given)

    return run


@pytest.fixture
def region(tmp_path):
    return make_raw(tmp_path / "r")


def test_a_number_is_handed_out_with_its_entry(generation, region):
    told = generation(holder={"instance": "vm0", "server": "alpha"}, controller="desk")
    assert (told["changed"], told["generation"], told["last"], told["next_generation"]) == (True, 1, 1, 2)
    assert told["entry"]["holder"] == {"instance": "vm0", "server": "alpha"}
    assert told["entries"] == [told["entry"]]
    assert told["diff"] == {"before": {"generations": []}, "after": {"generations": [1]}}
    assert told["stored_generation"] == 0


@pytest.mark.parametrize("make", [make_raw, make_sqlite])
def test_what_is_stored_in_the_region_is_a_floor(generation, tmp_path, make):
    make(tmp_path / "r", ((20, 1, False), (3, 1, False), (0, 0, True)))
    told = generation()
    assert (told["stored_generation"], told["generation"]) == (20, 21)


def test_floors_from_elsewhere_count_and_the_stored_one_can_be_left_out(generation, region):
    told = generation(floors=[{"generation": 40, "source": "the disk status of alpha"}], stored=False)
    assert (told["generation"], told["stored_generation"]) == (41, None)


def test_check_mode_computes_and_spends_nothing(generation, region, tmp_path):
    told = generation(check=True, floors=[{"generation": 5, "source": "x"}])
    assert (told["changed"], told["generation"], told["spent"]) == (True, 6, False)
    assert not (tmp_path / "r.ledger").exists()
    assert generation(floors=[{"generation": 5, "source": "x"}])["generation"] == 6


def test_reading_changes_nothing(generation, region, tmp_path):
    told = generation("read")
    assert (told["changed"], told["last"], told["next_generation"], told["entries"]) == (False, 0, 1, [])
    generation()
    told = generation("read", floors=[{"generation": 9, "source": "x"}])
    assert (told["changed"], told["last"], told["next_generation"]) == (False, 1, 10)
    assert "generation" not in told


def test_the_other_hosts_record_it_once(generation, region, tmp_path):
    make_raw(tmp_path / "r1")
    entries = generation(holder={"server": "alpha"})["entries"]
    assert generation("recorded", "r1", check=True, entries=entries)["changed"]
    assert generation("recorded", "r1", entries=entries)["changed"]
    again = generation("recorded", "r1", entries=entries)
    assert not again["changed"]
    assert again["entries"] == entries


def test_a_lost_ledger_is_made_anew_from_the_others(generation, region, tmp_path):
    make_raw(tmp_path / "r1")
    for _turn in range(3):
        generation("recorded", "r1", entries=generation()["entries"])
    (tmp_path / "r.ledger").unlink()
    told = generation(entries=generation("read", "r1")["entries"])
    assert told["generation"] == 4
    assert [entry["generation"] for entry in told["entries"]] == [1, 2, 3, 4]


def test_a_ledger_without_a_region_can_be_recorded_and_read_but_hands_out_nothing(generation, tmp_path):
    assert generation()["failure"]["code"] == "no_region"
    assert generation("recorded", entries=[{"generation": 3, "reason": "start"}])["changed"]
    assert generation("read")["last"] == 3


def test_a_region_that_cannot_be_seen_whole_is_not_taken_for_an_empty_one(generation, region):
    extent_file(region, 1).unlink()
    told = generation()
    assert told["failure"]["code"] == "region_incomplete"
    assert "give the highest number of the other two in floors" in told["msg"]
    assert generation(stored=False)["generation"] == 1


@pytest.mark.parametrize("asked", [0, -1])
def test_a_number_that_nobody_may_use_is_refused(generation, region, asked):
    assert generation(generation=asked)["failure"]["code"] == "invalid_generation"


@pytest.mark.parametrize("asked", ["seven", "1.5", [1]])
def test_what_is_not_a_number_is_refused(generation, region, asked):
    assert "generation" in generation(generation=asked)["msg"]


def test_a_number_that_is_too_low_is_refused_with_the_floor_and_its_source(generation, region):
    told = generation(generation=40, floors=[{"generation": 40, "source": "the disk status of alpha"}])
    assert told["failure"]["code"] == "generation_too_low"
    assert told["failure"]["details"] == {"generation": 40, "floor": 40, "source": "the disk status of alpha"}


def test_a_number_below_what_the_region_stores_names_the_region(generation, tmp_path):
    make_raw(tmp_path / "r", ((20, 1, False),) * 3)
    assert f"which the region {tmp_path / 'r'} holds" in generation(generation=7)["msg"]


def test_somebody_else_at_work_is_noticed(generation, region):
    generation()
    told = generation(expected_last=0)
    assert told["failure"]["code"] == "ledger_moved"
    assert told["failure"]["details"]["newest"]["generation"] == 1
    assert generation(expected_last=-1)["msg"].startswith("expected_last: found -1")


def test_a_ledger_that_was_lost_after_the_play_looked_records_nothing(generation, region, tmp_path):
    make_raw(tmp_path / "r1")
    entries = generation()["entries"]
    for check in (True, False):
        told = generation("recorded", "r1", check=check, entries=entries, expected_last=1, seen_last=1)
        assert told["failure"]["code"] == "ledger_fell_back"
        assert told["failure"]["details"] == {"last": 0, "seen_last": 1}
    assert not (tmp_path / "r1.ledger").exists()
    assert generation("recorded", "r1", entries=entries, expected_last=1, seen_last=0)["changed"]
    assert not generation("recorded", "r1", entries=entries, expected_last=1, seen_last=1)["changed"]


@pytest.mark.parametrize(
    ("state", "seen"), [("recorded", -1), ("allocated", 1), ("read", 0)], ids=["below 0", "allocated", "read"]
)
def test_what_was_seen_is_a_number_and_belongs_to_what_is_recorded(generation, region, state, seen):
    assert generation(state, seen_last=seen)["msg"].startswith(f"seen_last: found {seen}, expected ")


def test_a_migration_gets_its_number_once(generation, region):
    first = generation(reason="migrate", migration_id=MIGRATION)
    again = generation(reason="migrate", migration_id=MIGRATION)
    assert (first["changed"], again["changed"]) == (True, False)
    assert again["entry"] == first["entry"]


@pytest.mark.parametrize(
    ("options", "field"),
    [({"volume": "vm0"}, "volume"), ({"migration_id": "x"}, "migration_id"), ({"path": "relative"}, "path"),
     ({"entries": [{"generation": 1, "reason": "x"}]}, "reason"),
     ({"floors": [{"generation": -1, "source": "x"}]}, "floors[0].generation")],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused_with_its_field(generation, region, options, field):
    assert generation(**options)["msg"].startswith(f"{field}: found ")


def test_a_lock_that_somebody_holds_is_named(generation, region, tmp_path):
    with (tmp_path / "r.ledger.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert generation(timeout=0.05)["failure"]["code"] == "ledger_locked"


def test_at_most_64_entries_are_returned(generation, region):
    entries = [{"generation": number, "reason": "start"} for number in range(1, 101)]
    told = generation("recorded", entries=entries)
    assert [entry["generation"] for entry in told["entries"]] == list(range(37, 101))
    assert told["last"] == 100


def test_a_whole_ledger_is_returned_to_one_who_makes_a_lost_one_anew_of_it(generation, region, tmp_path):
    make_raw(tmp_path / "r1")
    generation("recorded", "r1", entries=[{"generation": number, "reason": "start"} for number in range(1, 101)])
    entries = generation("read", "r1", whole=True)["entries"]
    told = generation(entries=entries, whole=True, expected_last=100)
    assert [entry["generation"] for entry in told["entries"]] == list(range(1, 102))


def test_the_ledger_of_another_volume_is_refused(generation, region):
    generation()
    assert generation(volume=VOLUME.replace("0", "1"))["failure"]["code"] == "foreign_ledger"
