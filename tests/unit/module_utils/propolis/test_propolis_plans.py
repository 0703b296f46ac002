# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done about an instance: one decision for each pair of a wanted and a found state."""

from __future__ import annotations

from typing import Any

import propolis_samples as samples
import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.errors import (
    BadDescription,
    ServerOccupied,
    StateChangeImpossible,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.instance import Instance, State
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.lifecycle import (
    Goal,
    Step,
    Wanted,
    make_plan,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_description import Description

OTHER_ID = samples.DESTINATION_ID
DESCRIPTION = Description.from_json({"cpus": 4, "memory_mib": 1024, "disks": [samples.disk_request()]})
RUN, CREATE, STOP, REBOOT = Step.RUN, Step.CREATE, Step.STOP, Step.REBOOT
RUNS, ENDS = Step.AWAIT_RUNNING, Step.AWAIT_END


def wanted(goal: Goal, **changes: Any) -> Wanted:
    parts: dict[str, Any] = {"id": samples.INSTANCE_ID, "name": "vm0", "description": DESCRIPTION}
    return Wanted(goal=goal, **{**parts, **changes})


def held(state: State, id: str = samples.INSTANCE_ID) -> Instance:
    return Instance(id, "vm0", state)


ENDED = (None, State.DESTROYED, State.FAILED)


class TestPlans:
    @pytest.mark.parametrize("state", ENDED)
    @pytest.mark.parametrize(
        ("goal", "steps"),
        [
            (Goal.PRESENT, (CREATE,)),
            (Goal.RUNNING, (CREATE, RUN, RUNS)),
            (Goal.STOPPED, ()),
            (Goal.ABSENT, ()),
        ],
    )
    def test_where_nothing_lives_an_instance_is_made_or_nothing_is_done(
        self, state: State | None, goal: Goal, steps: tuple[Step, ...]
    ) -> None:
        plan = make_plan(wanted(goal), held(state) if state else None, "s")
        assert plan.steps == steps
        assert plan.changed == bool(steps)
        assert plan.before == state

    @pytest.mark.parametrize(
        ("state", "present", "running", "stopped"),
        [
            (State.CREATING, (), (RUN, RUNS), (STOP, ENDS)),
            (State.STARTING, (), (RUNS,), (STOP, ENDS)),
            (State.RUNNING, (), (RUNS,), (STOP, ENDS)),
            (State.REBOOTING, (), (RUNS,), (STOP, ENDS)),
            (State.REPAIRING, (), (RUNS,), (STOP, ENDS)),
            (State.STOPPING, (ENDS, CREATE), (ENDS, CREATE, RUN, RUNS), (ENDS,)),
            (State.STOPPED, (ENDS, CREATE), (ENDS, CREATE, RUN, RUNS), (ENDS,)),
        ],
    )
    def test_each_live_state_has_its_steps(
        self, state: State, present: tuple[Step, ...], running: tuple[Step, ...], stopped: tuple[Step, ...]
    ) -> None:
        for goal, steps in ((Goal.PRESENT, present), (Goal.RUNNING, running), (Goal.STOPPED, stopped)):
            assert make_plan(wanted(goal), held(state), "s").steps == steps
        assert make_plan(wanted(Goal.ABSENT), held(state), "s").steps == stopped

    def test_an_instance_that_runs_needs_no_change(self) -> None:
        for goal in (Goal.PRESENT, Goal.RUNNING):
            plan = make_plan(wanted(goal), held(State.RUNNING), "s")
            assert (plan.changed, plan.before, plan.after) == (False, State.RUNNING, State.RUNNING)

    @pytest.mark.parametrize("goal", list(Goal))
    def test_a_server_that_holds_another_live_instance_is_refused_with_both_ids(self, goal: Goal) -> None:
        with pytest.raises(ServerOccupied) as caught:
            make_plan(wanted(goal), held(State.RUNNING, OTHER_ID), "server beta")
        for word in (samples.INSTANCE_ID, OTHER_ID, "server beta", "Running"):
            assert word in caught.value.message
        assert caught.value.code == "server_occupied"

    def test_what_another_instance_left_behind_is_in_nobodys_way(self) -> None:
        plan = make_plan(wanted(Goal.PRESENT), held(State.DESTROYED, OTHER_ID), "s")
        assert (plan.steps, plan.before) == ((CREATE,), None)

    def test_without_an_id_the_name_decides_and_without_both_anything_is_meant(self) -> None:
        assert make_plan(wanted(Goal.STOPPED, id=None), held(State.RUNNING, OTHER_ID), "s").changed
        assert make_plan(wanted(Goal.STOPPED, id=None, name=None), held(State.RUNNING, OTHER_ID), "s").changed
        with pytest.raises(ServerOccupied, match="named vm1"):
            make_plan(wanted(Goal.STOPPED, id=None, name="vm1"), held(State.RUNNING), "s")

    @pytest.mark.parametrize("missing", ["id", "name", "description"])
    def test_an_instance_is_not_made_of_half_a_description(self, missing: str) -> None:
        with pytest.raises(BadDescription) as caught:
            make_plan(wanted(Goal.RUNNING, **{missing: None}), None, "s")
        assert caught.value.code == "cannot_create"
        assert ("spec" if missing == "description" else missing) in caught.value.message

    @pytest.mark.parametrize(
        "state", [None, *(state for state in State if state.value not in ("Running", "Rebooting"))]
    )
    def test_only_a_running_instance_can_be_rebooted(self, state: State | None) -> None:
        with pytest.raises(StateChangeImpossible) as caught:
            make_plan(wanted(Goal.REBOOTED), held(state) if state else None, "s")
        assert caught.value.code == "state_change_refused"

    def test_a_running_instance_is_rebooted_every_time(self) -> None:
        assert make_plan(wanted(Goal.REBOOTED), held(State.RUNNING), "s").steps == (REBOOT, RUNS)

    def test_an_instance_that_is_being_migrated_is_left_alone_unless_forced(self) -> None:
        for goal in (Goal.RUNNING, Goal.STOPPED, Goal.ABSENT):
            with pytest.raises(StateChangeImpossible, match="being migrated"):
                make_plan(wanted(goal), held(State.MIGRATING), "s")
        assert make_plan(wanted(Goal.PRESENT), held(State.MIGRATING), "s").steps == ()
        assert make_plan(wanted(Goal.STOPPED, force=True), held(State.MIGRATING), "s").steps == (STOP, ENDS)
