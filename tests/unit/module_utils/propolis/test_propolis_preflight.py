# SPDX-License-Identifier: GPL-3.0-or-later
"""The conditions of a move: what is refused, what is only warned of."""

from __future__ import annotations

from typing import Any

import propolis_samples as samples
import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.preflight import (
    Move,
    Outcome,
    Replica,
    check,
    predict,
)

FAILED = "df9a4f8e-0000-4000-8000-000000000001"


def server(name: str, number: int, **changes: Any) -> dict[str, Any]:
    """One entry of ``propolis_instance_info``, of a server without an instance."""
    empty: dict[str, Any] = {
        "name": name,
        "address": f"10.0.0.{number}:8000",
        "reachable": True,
        "error": None,
        "dialect": "5.0.0",
        "instance": None,
        "migration": {"in": None, "out": None},
        "disks": [],
        "spec": None,
    }
    return {**empty, **changes}


def running(**changes: Any) -> dict[str, Any]:
    held = {"id": samples.INSTANCE_ID, "name": "vm0", "state": "Running"}
    return server("alpha", 1, instance=held, **changes)


def move(source: dict[str, Any], **changes: Any) -> Move:
    parts: dict[str, Any] = {"destination": server("beta", 2), "others": [], "replicas": [], "regions": {}, **changes}
    return Move("vm0", samples.INSTANCE_ID, 1024, source, **parts)


def outcome(of: Move, name: str) -> tuple[Outcome, str]:
    """The one check of that name."""
    (found,) = [one for one in check(of) if one.name == name]
    return found.outcome, found.sentence


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
        (AGREED % FAILED, Outcome.WARNED),
        (AGREED % FAILED + NEVER_AGREED % samples.MIGRATION_ID, Outcome.WARNED),
        (AGREED % FAILED + NEVER_AGREED % FAILED, Outcome.REFUSED),
    ],
)
def test_a_source_that_failed_before_is_refused_only_when_its_log_tells_that_it_will_refuse(
    log: str, expected: Outcome
) -> None:
    source = running(migration={"in": None, "out": {"id": FAILED, "state": "Error"}})
    found, sentence = outcome(move(source, source_log=log), "earlier_failure")
    assert found is expected
    assert FAILED in sentence
    assert "stop and start" in sentence


def test_what_a_log_says_of_an_earlier_life_is_nothing_against_a_source_that_has_not_failed() -> None:
    assert outcome(move(running(), source_log=NEVER_AGREED % FAILED), "earlier_failure")[0] is Outcome.OK


GEOMETRY = {"block_size": 512, "blocks_per_extent": 64, "extent_count": 3}


def replica(number: int, address: str) -> Replica:
    """One that the destination reaches."""
    seen = {"reachable": True, "error": None, "uuid": None, "geometry": None}
    return Replica("boot", f"ds{number}", address, 8810 + 10 * number, "region", seen)


@pytest.mark.parametrize(
    ("addresses", "told"),
    [
        (["10.0.1.0", "10.0.1.1", "10.0.1.2"], []),
        (["10.0.1.0", "10.0.1.1", "10.0.1.1"], ["2 of 3 replicas of boot are on one machine (10.0.1.1)"]),
        (["10.0.1.0", "10.0.1.0", "10.0.1.0"], ["3 of 3 replicas of boot are on one machine (10.0.1.0)"]),
    ],
)
def test_replicas_on_one_machine_are_warned_of(addresses: list[str], told: list[str]) -> None:
    replicas = [replica(number, address) for number, address in enumerate(addresses)]
    regions = {"boot": {"volume_id": samples.VOLUME_ID, **GEOMETRY}}
    found = [one for one in check(move(running(), replicas=replicas, regions=regions)) if one.name == "spread"]
    assert [one.sentence.split(":")[0] for one in found] == told
    assert {one.outcome for one in found} <= {Outcome.WARNED}


def test_a_large_machine_on_a_thin_line_is_predicted_to_stand_still_for_longer_than_a_small_one() -> None:
    small, large = predict(1024, 110), predict(8192, 110)
    assert large.seconds > 8192 / 110
    assert large.pause_seconds > small.pause_seconds
    assert predict(8192, 11).pause_seconds > large.pause_seconds
