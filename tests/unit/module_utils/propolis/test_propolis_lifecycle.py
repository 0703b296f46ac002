# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a plan at a server that behaves, fails, hangs or is somebody else's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import propolis_samples as samples
import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis import lifecycle as lifecycle_module
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.errors import (
    ApiError,
    InstanceFailed,
    NoAnswer,
    NoInstance,
    PropolisError,
    ServerOccupied,
    StateChangeRefused,
    WaitTimeout,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.instance import State
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.instance_waits import (
    Deadline,
    Log,
    missing_disks,
    wait_for_state,
    wait_until_gone,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.lifecycle import (
    Goal,
    Lifecycle,
    Plan,
    Step,
    Wanted,
    make_plan,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.server import Server
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_description import Description
from client_fakes import NO_INSTANCE, FakePropolis, raw_server, refusal, silence

OTHER_ID = samples.DESTINATION_ID
DESCRIPTION = Description.from_json({"cpus": 4, "memory_mib": 1024, "disks": [samples.disk_request()]})
RUN, CREATE, STOP, REBOOT = Step.RUN, Step.CREATE, Step.STOP, Step.REBOOT
RUNS, ENDS = Step.AWAIT_RUNNING, Step.AWAIT_END


def wanted(goal: Goal, **changes: Any) -> Wanted:
    parts: dict[str, Any] = {"id": samples.INSTANCE_ID, "name": "vm0", "description": DESCRIPTION}
    return Wanted(goal=goal, **{**parts, **changes})


def carry(
    fake: FakePropolis,
    goal: Goal,
    *,
    timeout: float = 5,
    log: Path | None = None,
    meanwhile: Callable[[], None] | None = None,
    **changes: Any,
) -> tuple[Lifecycle, Plan]:
    """Make a plan and do it; ``meanwhile`` happens when the server is first asked to tell of its next state."""
    with fake.serve() as address:
        server = Server.open(address, timeout=1)
        ask = wanted(goal, **changes)
        plan = make_plan(ask, server.instance(), str(server))
        life = Lifecycle(server, ask, timeout=timeout, log=Log(str(log) if log else None))
        if meanwhile:
            threading.Thread(target=when_watched, args=(fake, meanwhile), daemon=True).start()
        try:
            life.carry_out(plan)
        except PropolisError as error:
            error.life = life  # type: ignore[attr-defined]
            raise
        return life, plan


def when_watched(fake: FakePropolis, then: Callable[[], None]) -> None:
    while not fake.bodies("GET", "/instance/state-monitor"):
        time.sleep(0.005)  # the fake writes down what it is asked, and tells nobody
    then()


def fresh(api: str = "5.0.0") -> FakePropolis:
    fake = FakePropolis(api)
    if api == "5.0.0":
        fake.disk_status = samples.volume_info()
    if fake.is_seed:
        fake.spec = samples.seed_spec()
    return fake


def running() -> FakePropolis:
    fake = fresh()
    fake.hold(samples.INSTANCE_ID, "vm0", "Creating", "Starting", "Running")
    fake.spec = {"type": "Present", "value": samples.instance_spec()}
    return fake


class TestCarryingOut:
    @pytest.mark.parametrize("api", ["5.0.0", "4.0.0", "1.0.0", "2023-01"])
    def test_an_instance_is_made_and_run_in_every_dialect(self, api: str) -> None:
        fake = fresh(api)
        life, _unused = carry(fake, Goal.RUNNING)
        assert life.changed
        assert fake.state == "Running"
        assert fake.bodies("PUT", "/instance/state") == ["Run"]
        assert [disk.name for disk in life.disks] == ["helios-blockdev"]

    def test_a_second_time_nothing_is_asked_for(self) -> None:
        fake = running()
        life, _unused = carry(fake, Goal.RUNNING)
        assert not life.changed
        assert {said.method for said in fake.said} == {"GET"}

    @pytest.mark.parametrize("goal", [Goal.STOPPED, Goal.ABSENT])
    def test_an_instance_is_ended_and_its_server_free(self, goal: Goal) -> None:
        fake = running()
        life, _unused = carry(fake, goal)
        assert (life.changed, fake.state) == (True, "Destroyed")

    def test_an_instance_is_rebooted_and_runs_again(self) -> None:
        fake = running()
        life, _unused = carry(fake, Goal.REBOOTED)
        assert (life.changed, fake.published[-2:]) == (True, [(4, "Rebooting"), (5, "Running")])

    def test_a_reboot_that_takes_a_while_is_waited_for(self) -> None:
        fake = running()
        fake.scripts["Reboot"] = []

        def reboot() -> None:
            fake.publish("Rebooting")
            threading.Timer(0.4, fake.publish, ["Running"]).start()

        started = time.monotonic()
        carry(fake, Goal.REBOOTED, meanwhile=reboot)
        assert time.monotonic() - started > 0.35

    def test_without_waiting_the_wish_is_left_at_the_server(self) -> None:
        fake = running()
        fake.scripts["Stop"] = []
        life, _unused = carry(fake, Goal.STOPPED, wait=False)
        assert life.changed

    def test_an_instance_that_is_ending_is_waited_for_before_its_successor_is_made_even_without_waiting(self) -> None:
        fake = running()
        fake.publish("Stopping")
        life, plan = carry(fake, Goal.PRESENT, meanwhile=lambda: fake.publish("Stopped", "Destroyed"), wait=False)
        assert plan.steps == (ENDS, CREATE)
        assert (life.changed, fake.state) == (True, "Creating")

    def test_an_instance_that_fails_is_reported_with_the_reason_from_the_log(self, tmp_path: Path) -> None:
        fake = fresh()
        fake.scripts["Run"] = ["Starting"]
        log = tmp_path / "server.log"
        log.write_text("Generation number is too low: requested 1, found 2\n")

        def fail() -> None:
            with log.open("a") as file:
                file.write(
                    '{"msg":"VM startup failed: Negotiation error: Generation number is too low: '
                    'requested 10, found 11","level":30}\n'
                )
            fake.publish("Failed")

        with pytest.raises(InstanceFailed) as caught:
            carry(fake, Goal.RUNNING, log=log, meanwhile=fail)
        assert "10 was asked for, at least 11 is needed" in caught.value.message
        assert "1 was asked for, at least 2" not in caught.value.message
        assert str(log) in caught.value.message
        assert caught.value.life.changed  # type: ignore[attr-defined]

    def test_an_instance_that_fails_without_a_readable_log_is_reported_with_what_is_likely(
        self, tmp_path: Path
    ) -> None:
        fake = fresh()
        fake.scripts["Run"] = ["Starting", "Failed"]
        for log in (None, tmp_path / "nosuch.log"):
            fake.instance = None
            with pytest.raises(InstanceFailed, match="likely a disk"):
                carry(fake, Goal.RUNNING, log=log)

    def test_an_instance_that_somebody_stops_while_it_starts_is_reported_as_that(self) -> None:
        fake = fresh()
        fake.scripts["Run"] = ["Starting", "Stopped", "Destroyed"]
        with pytest.raises(InstanceFailed, match="was stopped while it was being started"):
            carry(fake, Goal.RUNNING)

    def test_a_start_that_waits_for_a_downstairs_names_it(self) -> None:
        fake = fresh()
        fake.scripts["Run"] = ["Starting"]
        away = {"target_addr": None, "state": {"type": "connecting", "state": "wait_connect", "mode": "new"}}
        fake.disk_status = samples.volume_info("go_active", 1, away)
        with pytest.raises(WaitTimeout) as caught:
            carry(fake, Goal.RUNNING, timeout=0.5)
        assert "last seen: Starting" in caught.value.message
        assert "helios-blockdev (unknown target connecting (wait_connect, new))" in caught.value.message
        assert caught.value.code == "timed_out"

    def test_below_version_5_all_targets_of_a_waiting_disk_are_named(self) -> None:
        fake = fresh("4.0.0")
        fake.scripts["Run"] = ["Starting"]
        fake.disk_status = {"active": False}
        with pytest.raises(WaitTimeout, match=r"targets 172\.20\.3\.73:8810, "):
            carry(fake, Goal.RUNNING, timeout=0.4)

    def test_running_is_not_enough_while_a_disk_is_not_active(self) -> None:
        fake = fresh()
        fake.disk_status = samples.volume_info("go_active")
        with pytest.raises(WaitTimeout, match="not all of its disks are active"):
            carry(fake, Goal.RUNNING, timeout=0.5)
        fake = fresh()
        fake.disk_status = samples.volume_info("go_active")
        threading.Timer(0.3, setattr, (fake, "disk_status", samples.volume_info())).start()
        life, _unused = carry(fake, Goal.RUNNING)
        assert life.disks[0].active

    def test_a_disk_that_another_session_has_taken_is_a_failure_not_a_wait(self) -> None:
        fake = running()
        fake.disk_status = samples.volume_info("disabled", 5)
        started = time.monotonic()
        with pytest.raises(InstanceFailed, match="higher generation than 5") as caught:
            carry(fake, Goal.RUNNING, timeout=10)
        assert caught.value.code == "fenced"
        assert time.monotonic() - started < 3

    def test_a_stop_that_does_not_end_says_what_it_may_wait_for(self) -> None:
        fake = running()
        fake.scripts["Stop"] = ["Stopping"]
        with pytest.raises(WaitTimeout, match="waits for the disks") as caught:
            carry(fake, Goal.STOPPED, timeout=0.4)
        assert caught.value.life.changed  # type: ignore[attr-defined]

    def test_an_instance_that_ended_by_itself_before_the_stop_is_what_was_wanted(self) -> None:
        fake = running()
        with fake.serve() as address:
            server = Server.open(address, timeout=1)
            life = Lifecycle(server, wanted(Goal.STOPPED), timeout=2, log=Log(None))
            plan = make_plan(wanted(Goal.STOPPED), server.instance(), "s")
            fake.publish("Destroyed")
            life.carry_out(plan)
        assert not life.changed

    def test_a_stop_that_a_server_refuses_for_a_live_instance_is_not_taken_for_success(self) -> None:
        fake = running()
        fake.instead["PUT", "/instance/state"] = NO_INSTANCE
        with pytest.raises(NoInstance):
            carry(fake, Goal.STOPPED)

    def test_an_instance_whose_making_died_half_way_is_said_to_be_that(self) -> None:
        fake = fresh()
        fake.instead["PUT", "/instance/state"] = NO_INSTANCE
        with pytest.raises(InstanceFailed, match="died on the way") as caught:
            carry(fake, Goal.RUNNING)
        assert caught.value.code == "half_made"

    def test_a_refused_change_keeps_the_servers_reason(self) -> None:
        fake = fresh()
        text = "instance state change not allowed: Instance is preparing to stop"
        fake.instead["PUT", "/instance/state"] = refusal(403, "Forbidden", text)
        with pytest.raises(StateChangeRefused, match="preparing to stop"):
            carry(fake, Goal.RUNNING)

    def test_a_run_of_an_instance_that_vanished_is_not_taken_for_success(self) -> None:
        fake = fresh()
        fake.hold(samples.INSTANCE_ID, "vm0", "Creating")
        with fake.serve() as address:
            server = Server.open(address, timeout=1)
            life = Lifecycle(server, wanted(Goal.RUNNING), timeout=2, log=Log(None))
            plan = make_plan(wanted(Goal.RUNNING), server.instance(), "s")
            fake.publish("Destroyed")
            with pytest.raises(NoInstance):
                life.carry_out(plan)

    def test_a_server_that_was_taken_between_look_and_request_is_refused_or_accepted_by_id(self) -> None:
        for id, error in ((OTHER_ID, ServerOccupied), (samples.INSTANCE_ID, None)):
            fake = fresh()
            with fake.serve() as address:
                server = Server.open(address, timeout=1)
                life = Lifecycle(server, wanted(Goal.PRESENT), timeout=2, log=Log(None))
                plan = make_plan(wanted(Goal.PRESENT), server.instance(), "s")
                fake.hold(id, "vm0", "Creating")
                if error:
                    with pytest.raises(error):
                        life.carry_out(plan)
                else:
                    life.carry_out(plan)
            assert not life.changed

    def test_a_server_that_cannot_make_it_is_named_with_what_is_usual(self, tmp_path: Path) -> None:
        fake = fresh()
        fake.instead["PUT", "/instance"] = refusal(500, "Internal Server Error", "Internal")
        with pytest.raises(InstanceFailed, match="could not make instance") as caught:
            carry(fake, Goal.PRESENT)
        assert caught.value.code == "create_failed"
        assert caught.value.details["request_id"]

    def test_a_spec_that_the_server_finds_wrong_keeps_the_servers_sentence(self) -> None:
        fake = fresh()
        fake.instead["PUT", "/instance"] = refusal(400, "failed to generate internal instance spec: reason")
        with pytest.raises(ApiError, match="internal instance spec: reason"):
            carry(fake, Goal.PRESENT)

    def test_a_request_that_outlasts_our_patience_is_looked_for_before_it_is_given_up(self) -> None:
        fake = fresh()
        usual = fake._ensure
        fake._ensure = lambda said: (usual(said), time.sleep(1.2))[0]  # type: ignore[method-assign,func-returns-value]
        life, _unused = carry(fake, Goal.PRESENT, timeout=0.6)
        assert life.changed
        fake = fresh()
        fake._ensure = lambda said: time.sleep(1.2) or NO_INSTANCE  # type: ignore[method-assign,func-returns-value]
        with pytest.raises(NoAnswer):
            carry(fake, Goal.PRESENT, timeout=0.6)

    def test_a_plan_is_not_made_without_what_it_needs(self) -> None:
        with fresh().serve() as address:
            life = Lifecycle(Server.open(address), wanted(Goal.PRESENT, id=None), timeout=1, log=Log(None))
            with pytest.raises(AssertionError):
                life.carry_out(Plan((CREATE,), None, State.CREATING))


class TestWaits:
    def test_an_instance_that_ends_as_something_else_is_no_timeout(self) -> None:
        fake = running()
        fake.publish("Destroyed")
        with fake.serve() as address, pytest.raises(InstanceFailed, match=r"ended \(Destroyed\)") as caught:
            wait_for_state(Server.open(address), lambda now: now.state is State.RUNNING, Deadline(3), wanted="Running")
        assert caught.value.code == "instance_ended"

    def test_an_end_that_is_published_while_nobody_looked_is_found_by_looking_again(self) -> None:
        fake = running()
        fake.publish("Failed")
        looks = iter([False, True])
        with fake.serve() as address:
            seen = wait_for_state(Server.open(address), lambda now: next(looks), Deadline(3), wanted="looked at twice")
        assert seen.state is State.FAILED

    def test_a_server_that_hangs_for_longer_than_a_request_may_take_is_deaf_and_not_slow(self) -> None:
        with raw_server(silence) as address:
            server = Server.open(address, api="5.0.0", timeout=0.2)
            with pytest.raises(NoAnswer):
                wait_for_state(server, lambda now: True, Deadline(2), wanted="Running")
            with pytest.raises(WaitTimeout, match="last seen: nothing"):
                wait_for_state(server, lambda now: True, Deadline(0.1), wanted="Running")

    def test_an_instance_that_its_server_has_forgotten_is_gone(self) -> None:
        with FakePropolis("2023-01").serve() as address:
            wait_until_gone(Server.open(address), Deadline(2))

    def test_a_refusal_that_says_nothing_of_an_end_is_passed_on(self) -> None:
        fake = running()
        fake.instead["GET", "/instance/state-monitor"] = refusal(400, "unable to parse JSON body")
        with fake.serve() as address, pytest.raises(ApiError, match="unable to parse"):
            wait_until_gone(Server.open(address), Deadline(2))

    def test_a_wait_for_an_end_that_finds_an_ended_instance_is_over_at_once(self) -> None:
        fake = running()
        fake.publish("Failed")
        with fake.serve() as address:
            wait_until_gone(Server.open(address), Deadline(2))


class TestMissingDisks:
    def test_nothing_is_guessed_where_the_server_says_nothing(self) -> None:
        fake = running()
        fake.instead["GET", "/instance/spec"] = refusal(500, "Internal Server Error")
        with fake.serve() as address:
            assert missing_disks(Server.open(address, timeout=1)) == ""

    def test_every_step_but_a_wait_is_a_change(self) -> None:
        assert set(Step) - {ENDS, RUNS} == lifecycle_module.CHANGES
