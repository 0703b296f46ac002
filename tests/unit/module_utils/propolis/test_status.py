# SPDX-License-Identifier: GPL-3.0-or-later
"""How an instance stands while nobody moves it, in one word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.instance import (
    DiskSession,
    MigrationRecord,
    Phase,
    State,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.observation import Reach, ServerName, Sighting
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.status import Standing, judge_standing
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.verdict import InstanceName

VM = InstanceName("1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a01", "vm0")
ALPHA, BETA = ServerName("alpha", "10.0.0.1:8000"), ServerName("beta", "10.0.0.2:8000")


def says(server: ServerName, state: State | None = None, **more: Any) -> Sighting:
    held = {"instance_id": VM.id, "instance_name": VM.name, "state": state} if state else {}
    return Sighting(server, Reach.ANSWERS, dialect="5.0.0", **held, **more)


def gone(server: ServerName) -> Sighting:
    return Sighting(server, Reach.GONE, error="refused")


def record(phase: Phase) -> MigrationRecord:
    return MigrationRecord("3a1f7a52-0d0f-4f8e-9b7b-5d4f4a0c1c03", phase)


FINISHED, UNDER_WAY, FAILED = (record(phase) for phase in (Phase.FINISH, Phase.RAM_PUSH, Phase.ERROR))


@pytest.mark.parametrize(
    ("seen", "word", "alarm"),
    [
        ((says(ALPHA, State.RUNNING), says(BETA)), "running", False),
        ((says(ALPHA, State.DESTROYED, outgoing=FINISHED), says(BETA, State.RUNNING)), "running", False),
        ((says(ALPHA, State.RUNNING, outgoing=FAILED), says(BETA, State.FAILED, incoming=FAILED)), "running", False),
        (
            (says(ALPHA, State.MIGRATING, outgoing=UNDER_WAY), says(BETA, State.MIGRATING, incoming=UNDER_WAY)),
            "moving",
            False,
        ),
        ((says(ALPHA), says(BETA)), "stopped", False),
        ((gone(ALPHA), gone(BETA)), "stopped", False),
        ((says(ALPHA, State.DESTROYED), says(BETA)), "stopped", False),
        ((says(ALPHA, State.DESTROYED, outgoing=FINISHED), says(BETA, State.DESTROYED)), "stopped", False),
        ((says(ALPHA, State.CREATING), says(BETA)), "created", False),
        ((says(ALPHA, State.STARTING), says(BETA)), "starting", False),
        ((says(ALPHA, State.FAILED), says(BETA)), "lost", True),
        ((says(ALPHA, State.DESTROYED, outgoing=FINISHED), says(BETA, State.FAILED)), "lost", True),
        ((says(ALPHA, State.DESTROYED, outgoing=FINISHED), gone(BETA)), "gone", True),
        ((says(ALPHA, State.DESTROYED, outgoing=FINISHED), says(BETA)), "gone", True),
        ((says(ALPHA, State.RUNNING), says(BETA, State.RUNNING)), "split_brain", True),
        ((Sighting(ALPHA, Reach.UNREACHABLE, error="no route"), says(BETA)), "unknown", True),
    ],
)
def test_each_standing_has_its_word(seen: tuple[Sighting, ...], word: str, alarm: bool) -> None:
    for order in (seen, seen[::-1]):
        standing = Standing(judge_standing(VM, order), order)
        assert (standing.word, standing.is_alarm) == (word, alarm), standing.verdict.sentence


def test_what_is_well_is_said_without_what_a_move_would_have_changed() -> None:
    sentence = judge_standing(VM, [says(ALPHA, State.RUNNING), says(BETA)]).sentence
    assert sentence == "vm0 runs on alpha; nothing is left to do."


def test_of_a_machine_that_its_last_server_knows_nothing_of_any_more_neither_stop_nor_loss_is_claimed() -> None:
    verdict = judge_standing(VM, [says(ALPHA, State.DESTROYED, outgoing=FINISHED), says(BETA)])
    assert verdict.sentence.startswith("vm0 runs nowhere: alpha handed it over, and beta ")
    assert "It was stopped there or lost with its server" in verdict.sentence
    assert "start it on any one server" in verdict.sentence


def test_a_machine_that_was_moved_and_then_stopped_was_stopped_where_it_went() -> None:
    seen = [says(ALPHA, State.DESTROYED, outgoing=FINISHED), says(BETA, State.DESTROYED, incoming=FINISHED)]
    for order in (seen, seen[::-1]):
        assert "it was stopped on beta" in judge_standing(VM, order).sentence


def test_one_server_alone_is_enough_to_ask() -> None:
    assert Standing(judge_standing(VM, [says(ALPHA, State.RUNNING)]), ()).word == "running"


def test_a_server_of_january_2023_that_stays_migrating_after_a_failed_move_is_explained() -> None:
    lonely = Sighting(
        ALPHA, Reach.ANSWERS, dialect="2023-01", instance_id=VM.id, instance_name=VM.name, state=State.MIGRATING
    )
    for order in ([lonely, gone(BETA)], [gone(BETA), lonely]):
        verdict = judge_standing(VM, order)
        assert verdict.sentence.startswith("vm0 is on alpha, which says Migrating, and no other server holds it;")
        assert "end it there by force and start it again" in verdict.sentence


def test_a_server_that_holds_another_instance_says_nothing_of_this_one() -> None:
    volume = "c0ffee00-0000-4000-8000-000000000001"
    other = DiskSession("boot", "boot-backend", "virtio", False, volume, 3, 3, True, "active", ())
    alpha = Sighting(
        ALPHA,
        Reach.ANSWERS,
        dialect="5.0.0",
        instance_id="1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0aff",
        instance_name="vm9",
        state=State.RUNNING,
        disks=(other,),
    )
    left = replace(alpha, state=State.DESTROYED, outgoing=FINISHED, disks=())
    assert Standing(judge_standing(VM, [left, replace(alpha, server=BETA)]), ()).word == "stopped"
    standing = Standing(judge_standing(VM, [alpha, says(BETA)]), ())
    assert standing.word == "stopped"
    assert "a generation that its ledger hands out" in standing.verdict.sentence
