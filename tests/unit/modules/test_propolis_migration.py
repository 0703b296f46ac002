# SPDX-License-Identifier: GPL-3.0-or-later
"""The module propolis_migration: options in, result out, and no key anywhere in it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils import ansible_propolis
from ansible_collections.apiary.propolis.plugins.modules import propolis_migration
from fake_moves import FAILS_AFTER_FINISH, SUCCESS, Pair
from fake_propolis import FakeServer, request_for
from module_running import run_module

VM = "0cc7d20f-ee8e-49ad-b89c-b58f3a4f76d6"
KEY = base64.b64encode(b"a secret of exactly 32 bytes ...").decode()


@pytest.fixture
def pair() -> Iterator[Pair]:
    source, destination = FakeServer("127.0.3.1"), FakeServer("127.0.3.2")
    source.holds(VM, "Running", {"boot": request_for(1)})
    yield Pair(source, destination)
    source.kill()
    destination.kill()


def encrypted(generation: int) -> dict[str, Any]:
    request = request_for(generation)
    request["sub_volumes"][0]["opts"]["key"] = KEY
    return request


def options(pair: Pair, generation: int = 2, **more: Any) -> dict[str, Any]:
    disks = [{"name": "boot", "generation": generation, "volume_construction_request": request_for(generation)}]
    return {
        "instance": {"id": VM, "name": "vm0"},
        "source": {"name": "alpha", "address": pair.source.address},
        "destination": {"name": "beta", "address": pair.destination.address},
        "disks": disks,
        "timeout": 5,
        "ask_timeout": 0.5,
    } | more


def move(pair: Pair, *, check: bool = False, **more: Any) -> dict[str, Any]:
    return run_module(propolis_migration.main, options(pair, **more), check=check)


def test_a_move_returns_what_was_seen_and_is_changed_once(pair: Pair) -> None:
    result = move(pair)
    assert not result.get("failed")
    assert result["changed"]
    migration = result["migration"]
    assert migration["verdict"] == "succeeded"
    assert migration["runs_on"] == "beta"
    assert migration["generations"] == {"boot": 2}
    assert migration["generations_before"] == {"boot": 1}
    assert migration["pause_seconds"] > 0
    assert migration["total_seconds"] >= migration["pause_seconds"]
    assert {"phase", "side", "at"} == set(migration["timeline"][0])
    assert result["msg"] == migration["sentence"]
    assert result["diff"]["before"] == {"server": "alpha", "generations": {"boot": 1}}
    assert result["diff"]["after"] == {"server": "beta", "generations": {"boot": 2}}
    again = move(pair)
    assert not again["changed"]
    assert again["migration"]["verdict"] == "already_there"
    assert again["diff"]["before"] == again["diff"]["after"]


def test_check_mode_plans_and_the_real_run_does_what_was_planned(pair: Pair) -> None:
    planned = move(pair, check=True)
    assert planned["changed"]
    assert "would be moved from alpha to beta and use generation 2" in planned["msg"]
    assert pair.puts == []
    done = move(pair)
    assert done["diff"] == planned["diff"]
    assert done["migration"]["id"] == planned["migration"]["id"]
    assert not move(pair, check=True)["changed"]


def test_check_mode_refuses_what_the_real_run_would_refuse(pair: Pair) -> None:
    for check in (True, False):
        result = move(pair, generation=1, check=check)
        assert result["failed"]
        assert result["failure"]["code"] == "generation_too_low"
        assert result["failure"]["details"]["asked"] == 1
        assert not result["changed"]


def test_check_mode_would_follow_a_migration_of_ours(pair: Pair) -> None:
    number = move(pair, check=True)["migration"]["id"]
    pair.source.publish("Migrating", out="RamPush", id=number)
    pair.destination.holds(VM, "Migrating", {"boot": request_for(2)})
    pair.destination.publish(into="RamPush", id=number)
    result = move(pair, check=True)
    assert result["changed"]
    assert result["migration"]["verdict"] == "adopted"
    assert "Would follow" in result["msg"]


def test_a_machine_that_is_lost_fails_the_task_and_says_that_something_changed(pair: Pair) -> None:
    pair.script = FAILS_AFTER_FINISH
    result = move(pair)
    assert result["failed"]
    assert result["changed"]
    assert result["failure"]["code"] == "nobody_runs"
    assert result["failure"]["message"] == result["msg"]
    assert result["failure"]["details"]["runs_on"] is None
    assert result["failure"]["details"]["next_steps"]
    assert result["diff"]["after"] == {"server": None}


def test_a_warning_of_the_plan_is_a_warning_of_the_task(pair: Pair) -> None:
    pair.source.device = "nvme_disk"
    result = move(pair)
    assert result["migration"]["warnings"] == result["warnings"]
    assert "disk boot is an nvme disk" in result["warnings"][0]


def test_no_key_is_in_any_result(pair: Pair) -> None:
    def quote(_server: FakeServer, body: dict[str, Any]) -> tuple[int, Any]:
        return 400, {"request_id": "x", "message": f"unable to parse JSON body: {json.dumps(body)}"}

    pair.source.holds(VM, "Running", {"boot": encrypted(1)})
    disks = [{"name": "boot", "volume_construction_request": encrypted(2)}]
    planned = move(pair, check=True, disks=disks)
    assert KEY not in json.dumps(planned)
    pair.destination.on_put = quote
    refused = move(pair, disks=disks)
    assert refused["failed"]
    assert KEY not in json.dumps(refused)
    pair.destination.on_put = pair._asked
    pair.script = SUCCESS
    done = move(pair, disks=disks)
    assert done["migration"]["verdict"] == "succeeded"
    assert KEY not in json.dumps(done)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"instance": {"id": "vm0"}}, "instance.id is 'vm0', which is not a UUID"),
        ({"migration_id": "x"}, "migration_id is 'x'"),
        ({"timeout": 0}, "timeout (0.0)"),
        ({"source": {"address": "nowhere"}}, "no port"),
        ({"disks": [{"name": "", "volume_construction_request": request_for(1)}]}, "has no name"),
        ({"disks": [{"name": "a", "volume_construction_request": request_for(1)}] * 2}, "is given twice"),
        ({"disks": [{"name": "a", "volume_construction_request": request_for(0)}]}, "generation 0"),
        ({"disks": [{"name": "a", "generation": 0, "volume_construction_request": request_for(1)}]}, "generation is 0"),
        ({"disks": [{"name": "a", "generation": 3, "volume_construction_request": request_for(2)}]}, "says 2"),
        ({"disks": [{"name": "a", "volume_construction_request": {"type": "volume"}}]}, "disk a"),
        ({"servers": [{"name": "x", "address": ""}]}, "servers[0] has no address"),
        ({"api": "banana"}, "banana"),
    ],
)
def test_bad_options_are_one_sentence_and_nothing_is_asked_of_anybody(
    pair: Pair, more: dict[str, Any], words: str
) -> None:
    result = move(pair, **more)
    assert result["failed"]
    assert words in result["msg"]
    assert pair.puts == []


def test_a_volume_without_crucible_regions_cannot_be_given(pair: Pair) -> None:
    plain = {"type": "file", "id": VM, "block_size": 512, "path": "/x"}
    result = move(pair, disks=[{"name": "boot", "volume_construction_request": plain}])
    assert "has no Crucible region" in result["msg"]


def test_names_may_be_left_out(pair: Pair) -> None:
    result = move(
        pair,
        instance={"id": VM},
        source={"address": pair.source.address},
        destination={"address": pair.destination.address},
    )
    assert result["migration"]["runs_on"] == pair.destination.address
    assert VM in result["msg"]


def test_without_the_library_the_message_names_it(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ansible_propolis, "HAS_REQUESTS", False)
    result = move(pair)
    assert result["failure"]["code"] == "missing_library"
