# SPDX-License-Identifier: GPL-3.0-or-later
"""The pre-flight condition by condition, and the plan that is made of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import propolis_samples as samples
import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis import preflight_plan
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.preflight import (
    Check,
    Move,
    Outcome,
    Replica,
    check,
    live_differences,
    predict,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.preflight_hosts import check_hosts
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.redaction import redact

VM = "1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a01"
VOLUME = "0cedae45-3d6e-4d90-b2cb-56f1a1a42a89"
GEOMETRY = {"block_size": 512, "blocks_per_extent": 8192, "extent_count": 3, "encrypted": False}
REGION = {
    "volume_id": VOLUME,
    **GEOMETRY,
    "generation": 4,
    "floors": [{"generation": 4, "source": "the ledger on ds0"}],
}


def target(**more: Any) -> dict[str, Any]:
    return {"address": "10.0.1.1:8810", "repair_address": "10.0.1.1:12810", "state": "active"} | more


def disk(**more: Any) -> dict[str, Any]:
    plain = {
        "name": "boot",
        "backend": "boot-backend",
        "device": "virtio",
        "volume": VOLUME,
        "generation": 3,
        "floor": 3,
        "key_fits": None,
    }
    return {**plain, "active": True, "targets": [target()] * 3} | more


def server(name: str, number: int, state: str | None = None, **more: Any) -> dict[str, Any]:
    held = {"id": VM, "name": "vm0", "state": state} if state else None
    plain = {"name": name, "address": f"10.0.0.{number}:8000", "instance": held, "dialect": "5.0.0"}
    disks = [disk()] if state == "Running" else []
    return {
        **plain,
        "migration": {"in": None, "out": None},
        "disks": disks,
        "spec": None,
        "error": None,
        "failure": None,
    } | more


def seen(**more: Any) -> dict[str, Any]:
    return {"reachable": True, "error": None, "uuid": None, "geometry": dict(GEOMETRY)} | more


def replicas(**more: Any) -> list[Replica]:
    return [
        Replica("vm0-boot", f"ds{number}", f"10.0.1.{number}", 8810, f"region-{number}", seen(**more))
        for number in range(3)
    ]


MOVE = Move(
    "vm0", VM, 1024, server("alpha", 1, "Running"), server("beta", 2), [server("gamma", 3)], replicas(),
    {"vm0-boot": REGION},
)  # fmt: skip


def found(move: Move, outcome: Outcome) -> dict[str, str]:
    return {one.name: one.sentence for one in check(move) if one.outcome is outcome}


def test_where_all_is_well_every_condition_is_said_to_be() -> None:
    assert {one.outcome for one in check(MOVE)} == {Outcome.OK}
    names = {"source", "earlier_failure", "destination", "dialect", "addresses", "others", "replicas", "disks"}
    assert {one.name for one in check(MOVE)} == names


UNREACHED = [replicas()[0], *replicas(reachable=False, error="no route.")[1:2], replicas()[2]]
OTHER_UUID = [*replicas()[:2], *replicas(uuid="region-9")[2:]]
OTHER_GEOMETRY = [*replicas()[:2], *replicas(geometry=GEOMETRY | {"extent_count": 4})[2:]]
KEYED = [*replicas()[:2], *replicas(geometry=GEOMETRY | {"encrypted": True})[2:]]
VSOCK = {"spec": {"value": {"spec": {"components": {"vsock0": {"type": "virtio_socket"}}}}}}


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        ({"source": server("alpha", 1, "Starting")}, "source", ["Starting", "alpha", "only a Running"]),
        ({"destination": server("beta", 2, "Running")}, "destination", ["10.0.0.2:8000", "already holds vm0"]),
        ({"destination": server("beta", 2, error="no answer.")}, "destination", ["beta cannot be asked", "no answer"]),
        ({"destination": server("beta", 2, dialect="2023-01")}, "dialect", ["alpha speaks 5.0.0", "beta speaks 2023"]),
        ({"destination": server("beta", 2, address="0.0.0.0:8000")}, "addresses", ["beta", "0.0.0.0:8000"]),
        ({"destination": server("beta", 1)}, "addresses", ["one host (10.0.0.1)"]),
        ({"others": [server("gamma", 3, "Running")]}, "others", ["in use on gamma by vm0, at generation 3"]),
        ({"others": [server("gamma", 3, "Starting")]}, "others", ["gamma holds vm0 too (Starting)"]),
        ({"replicas": UNREACHED}, "replicas", ["beta does not reach", "ds1 (10.0.1.1:8810)", "no route."]),
        ({"replicas": OTHER_UUID}, "replicas", ["ds2", "serves region region-9", "expects region-2"]),
        ({"replicas": OTHER_GEOMETRY}, "replicas", ["ds2", "extent_count 4", "siblings have 3"]),
        ({"replicas": KEYED}, "replicas", ["ds2", "encrypted True", "siblings have False"]),
        ({"source": server("alpha", 1, "Running", spec=VSOCK)}, "devices", ["vsock (vsock0)", "cannot be migrated"]),
    ],
)
def test_what_would_end_badly_is_refused_with_field_values_and_hosts(
    change: dict[str, Any], name: str, words: list[str]
) -> None:
    sentence = found(replace(MOVE, **change), Outcome.REFUSED)[name]
    assert [word for word in words if word not in sentence] == [], sentence


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"active": False}, ["boot", "not active on alpha"]),
        ({"targets": [target(), target(), target(state="faulted")]}, ["10.0.1.1:8810", "faulted, not active"]),
        ({"targets": [target(repair_address="0.0.0.0:12810")]}, ["advertises 0.0.0.0:12810 for repair"]),
    ],
)
def test_a_disk_that_is_not_whole_is_refused(changed: dict[str, Any], words: list[str]) -> None:
    sentence = found(replace(MOVE, source=server("alpha", 1, "Running", disks=[disk(**changed)])), Outcome.REFUSED)
    assert [word for word in words if word not in sentence["disks"]] == [], sentence


@pytest.mark.parametrize("fits", [True, False])
def test_a_key_is_well_or_refused_before_a_machine_is_where_nothing_can_be_read(fits: bool) -> None:
    move = replace(MOVE, source=server("alpha", 1, "Running", disks=[disk(key_fits=fits)]))
    sentence = found(move, Outcome.OK if fits else Outcome.REFUSED)["keys"]
    said = ["vm0-boot", "alpha"] if fits else ["vm0-boot", "alpha", "disk boot", "vm0 would run on beta", "fail"]
    assert [word for word in said if word not in sentence] == [], sentence


def told_by_a_source(**changes: Any) -> dict[str, Any]:
    request = samples.vcr(7)
    request["sub_volumes"][0]["opts"]["key"] = samples.KEY
    request["sub_volumes"][0] |= changes
    spec = samples.instance_spec()
    spec["components"]["helios-blockdev-backend"]["component"]["request_json"] = json.dumps(request)
    document = {"state": "Running", "spec": {"type": "Present", "value": spec}}
    return server("alpha", 1, "Running", spec=redact(document))


def test_what_the_source_tells_of_a_volume_is_compared_with_the_request_for_the_move_before_anything_is_spent() -> None:
    disk = samples.disk_request(8)
    disk["volume_construction_request"]["sub_volumes"][0]["opts"]["key"] = samples.KEY[::-1]
    assert live_differences(told_by_a_source(), [disk]) == {"helios-blockdev": []}, "keys are compared by others"
    differing = live_differences(told_by_a_source(extent_count=65), [disk])
    sentence = found(replace(MOVE, differences=differing), Outcome.REFUSED)["volumes"]
    assert "Disk helios-blockdev: sub_volumes[0].extent_count is 65 on alpha and 64 as described." in sentence
    assert live_differences(server("alpha", 1), [disk]) == {}
    assert live_differences(server("alpha", 1, dialect=None), [disk]) == {}


def test_a_source_that_has_failed_an_nvme_disk_and_a_silent_third_server_are_warned_of() -> None:
    migration = {"in": None, "out": {"id": "m", "state": "Error"}}
    source = server("alpha", 1, "Running", migration=migration, disks=[disk(device="nvme")])
    warnings = found(replace(MOVE, source=source, others=[server("gamma", 3, error="silence")]), Outcome.WARNED)
    assert set(warnings) == {"earlier_failure", "devices", "others"}
    assert "30 s on Linux" in warnings["devices"]
    assert "gamma cannot be asked" in warnings["others"]
    assert found(replace(MOVE, destination=server("beta", 2, dialect="1.0.0")), Outcome.WARNED).keys() == {"dialect"}


# --- hosts ---------------------------------------------------------------------------------------------------------


def host(**more: Any) -> dict[str, Any]:
    cpu = {"vendor": "AuthenticAMD", "family": "25", "model": "EPYC"}
    memory = {"total_mib": 4096, "available_mib": 2048}
    return {"cpu": cpu, "memory": memory, "clock_offset": 0.3} | more


HOSTS = {name: host() for name in ("alpha", "beta")}
PROGRAM = {"version": "0.0.1", "commit": "abc", "message_version": 13}


def judged(changes: dict[str, Any], **more: Any) -> dict[str, Check]:
    """The conditions by name, with what is different about a host, or about the program of a host of a downstairs."""
    hosts = {name: changes.get(name, facts) for name, facts in HOSTS.items()}
    asked = {name: facts for name, facts in hosts.items() if facts is not None}
    programs = {name: changes.get(name, PROGRAM) for name in ("ds0", "ds1", "ds2")}
    return {one.name: one for one in check_hosts("alpha", "beta", 1024, asked, programs, **more)}


MIGRATION = "948a2e67-0000-4000-8000-000000000001"
# Two lines of a recorded log of a real server, shortened.
AGREED = '{"msg":"negotiating migration as source","level":30,"migration_id":"%s"}\n'
NEVER_AGREED = (
    '{"msg":"destination side did not begin migration version handshake: Some(Err(Io(Os { code: 104, kind: '
    'ConnectionReset, message: \\"Connection reset by peer\\" })))","level":50,"migration_id":"%s"}\n'
)


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", Outcome.WARNED),
        (AGREED % MIGRATION, Outcome.WARNED),
        (AGREED % MIGRATION + NEVER_AGREED % VM, Outcome.WARNED),
        (AGREED % MIGRATION + NEVER_AGREED % MIGRATION, Outcome.REFUSED),
    ],
)
def test_a_source_that_failed_before_is_refused_only_when_its_log_tells_that_it_will_refuse(
    log: str, expected: Outcome
) -> None:
    failed = {"in": None, "out": {"id": MIGRATION, "state": "Error"}}
    move = replace(MOVE, source=server("alpha", 1, "Running", migration=failed), source_log=log)
    assert MIGRATION in found(move, expected)["earlier_failure"]


def test_what_a_log_says_of_an_earlier_life_is_nothing_against_a_source_that_has_not_failed() -> None:
    assert "earlier_failure" in found(replace(MOVE, source_log=NEVER_AGREED % MIGRATION), Outcome.OK)


@pytest.mark.parametrize(
    ("addresses", "told"),
    [
        (["10.0.1.0", "10.0.1.1", "10.0.1.1"], "2 of 3 replicas of vm0-boot are on one machine (10.0.1.1)"),
        (["10.0.1.0", "10.0.1.0", "10.0.1.0"], "3 of 3 replicas of vm0-boot are on one machine (10.0.1.0)"),
    ],
)
def test_replicas_on_one_machine_are_warned_of(addresses: list[str], told: str) -> None:
    placed = [replace(one, address=address) for one, address in zip(replicas(), addresses, strict=True)]
    assert found(replace(MOVE, replicas=placed), Outcome.WARNED)["spread"].startswith(told)


def test_a_large_machine_on_a_thin_line_is_predicted_to_stand_still_for_longer_than_a_small_one() -> None:
    small, large = predict(1024, 110), predict(8192, 110)
    assert large.seconds > 8192 / 110
    assert large.pause_seconds > small.pause_seconds
    assert predict(8192, 11).pause_seconds > large.pause_seconds


def test_equal_hosts_with_room_are_well() -> None:
    assert {name: one.outcome for name, one in judged({}).items()} == dict.fromkeys(
        ("memory", "cpu", "crucible"), Outcome.OK
    )


@pytest.mark.parametrize(
    ("changes", "name", "outcome", "words"),
    [
        ({"beta": host(memory={"total_mib": 512, "available_mib": 9})}, "memory", Outcome.REFUSED, ["512", "1024"]),
        ({"beta": host(memory={"total_mib": 4096, "available_mib": 9})}, "memory", Outcome.WARNED, ["9 MiB"]),
        ({"beta": None}, "memory", Outcome.WARNED, ["not known", "beta"]),
        ({"beta": host(cpu={"vendor": "GenuineIntel"})}, "cpu", Outcome.REFUSED, ["AuthenticAMD on alpha", "beta"]),
        ({"beta": host(cpu={"vendor": "AuthenticAMD", "family": "26"})}, "cpu", Outcome.REFUSED, ["family", "26"]),
        (
            {"beta": host(cpu={"vendor": "AuthenticAMD", "family": "25", "model": "X"})},
            "cpu",
            Outcome.WARNED,
            ["model"],
        ),
        ({"alpha": None}, "cpu", Outcome.WARNED, ["not known"]),
        ({"beta": host(clock_offset=-60.0)}, "clock", Outcome.WARNED, ["60 s behind", "beta", "alpha"]),
        ({"beta": host(clock_offset=60.0)}, "clock", Outcome.WARNED, ["60 s ahead of"]),
        ({"ds1": None}, "crucible", Outcome.WARNED, ["not known", "ds1"]),
        (
            {"ds1": {"commit": "abc", "message_version": 12}},
            "crucible",
            Outcome.REFUSED,
            ["13 on ds0", "12 on ds1"],
        ),
        (
            {"ds1": {"commit": "def", "message_version": 13}},
            "crucible",
            Outcome.WARNED,
            ["abc on ds0", "def on ds1"],
        ),
        (
            {f"ds{n}": {"commit": "new", "message_version": 14} for n in range(3)},
            "crucible",
            Outcome.WARNED,
            ["Nobody has tried", "new", "14"],
        ),
    ],
)
def test_a_difference_between_hosts_is_named(
    changes: dict[str, Any], name: str, outcome: Outcome, words: list[str]
) -> None:
    one = judged(changes)[name]
    assert one.outcome is outcome
    assert [word for word in words if word not in one.sentence] == [], one.sentence


@pytest.mark.parametrize("cpu", [{"vendor": "GenuineIntel"}, {"vendor": "AuthenticAMD", "family": "26"}])
def test_another_processor_is_only_warned_of_where_the_user_insists(cpu: dict[str, str]) -> None:
    assert judged({"beta": host(cpu=cpu)}, any_cpu=True)["cpu"].outcome is Outcome.WARNED


def test_programs_of_january_2023_are_one_revision_although_they_do_not_tell() -> None:
    old = {"version": None, "commit": None, "message_version": 1}
    one = judged(dict.fromkeys(("ds0", "ds1", "ds2"), old))["crucible"]
    assert one.outcome is Outcome.OK
    assert "January 2023" in one.sentence


# --- the plan ------------------------------------------------------------------------------------------------------


def test_the_plan_says_the_numbers_before_and_after_and_where_they_are_recorded() -> None:
    (numbers,) = preflight_plan.numbers(MOVE, {})
    assert (numbers.before, numbers.last, numbers.after) == (3, 4, 5)
    assert numbers.step == (
        "allocate generation 5 for vm0-boot on ds0 (3 is in use, 4 was handed out last), record it on ds1 and ds2"
    )
    assert preflight_plan.numbers(MOVE, {"vm0-boot": 9})[0].after == 9
    live = replace(MOVE, source=server("alpha", 1, "Running", disks=[disk(floor=11)]))
    assert preflight_plan.numbers(live, {})[0].after == 12


def test_the_plan_has_steps_conditions_and_a_prediction() -> None:
    checks, numbers = check(MOVE), preflight_plan.numbers(MOVE, {})
    headline = preflight_plan.headline(MOVE, predict(1024, 100.0), checks)
    lines = preflight_plan.text(headline, preflight_plan.steps(MOVE, numbers, 60), checks).splitlines()
    assert lines[0].startswith("Plan: move vm0 from alpha to beta, in about 11.0 s")
    assert lines[1].startswith("1.      allocate generation 5")
    assert lines[2] == "2.      ask beta to fetch vm0 from alpha"
    assert lines[4] == "ok      vm0 is Running on alpha."
    old = replace(MOVE, source=server("alpha", 1, "Running", dialect="2023-01"))
    assert "tell alpha that vm0 is about to leave" in preflight_plan.steps(old, numbers, 60)


def test_a_plan_that_is_refused_does_not_say_that_it_moves() -> None:
    refused = [Check("disks", Outcome.REFUSED, "…")]
    assert preflight_plan.headline(MOVE, predict(1024, 100.0), refused).startswith("Plan: no move of vm0 from alpha")


def test_where_nothing_is_to_be_done_or_one_is_followed_the_plan_says_that() -> None:
    assert preflight_plan.nothing_to_do("vm0", server("beta", 2, "Running")) == (
        "Plan: nothing is to be done, because vm0 is Running on beta already, at generation 3."
    )
    assert "follow migration m of vm0 from alpha to beta" in preflight_plan.follow("vm0", "alpha", "beta", "m")


@pytest.mark.parametrize(
    ("live", "asked", "floor"),
    [
        (3, 4, "4, which the ledger on ds0 holds; the next free one is 5"),
        (3, 2, "4, which the ledger on ds0 holds; the next free one is 5"),
        (9, 9, "9, which disk boot on alpha holds; the next free one is 10"),
        (9, 5, "9, which disk boot on alpha holds; the next free one is 10"),
        (9, 10, None),
        (3, 5, None),
    ],
)
def test_a_number_that_somebody_insists_on_is_refused_at_a_floor_and_below_it_with_the_floor_and_its_source(
    live: int, asked: int, floor: str | None
) -> None:
    source = server("alpha", 1, "Running", disks=[disk(generation=live, floor=live)])
    found = [
        one.sentence for one in preflight_plan.too_low(replace(MOVE, source=source), {"vm0-boot": asked, "other": 1})
    ]
    begin = f"generation: {asked} must not be used for volume vm0-boot, it has to be more than "
    assert found == ([f"{begin}{floor}."] if floor else [])
