# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves against servers that play recorded sequences: how each ends, what is sent, and what is said at the end."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.migration import Mover, Outcome
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.migration_request import Move
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.verdict import Code, Reason
from fake_moves import (
    FAILS_AFTER_FINISH,
    NEVER_GETS_ITS_DISKS,
    SOURCE_ENDS,
    STEP,
    SUCCESS,
    UNTIL_FINISH,
    Pair,
)
from fake_propolis import METADATA, TARGETS, FakeServer, request_for

VM = "0cc7d20f-ee8e-49ad-b89c-b58f3a4f76d6"
OTHER_VM = "370a65bf-bc74-48d7-b6a3-f360018cdd04"
FOREIGN = "652fa2d2-fcb0-4616-a326-49c7b2ef3206"


@dataclass
class Lab:
    """Two servers on two addresses, the instance running on the first at generation 1, and a move to the second."""

    source: FakeServer
    destination: FakeServer
    pair: Pair

    def move(self, generation: int = 2, timeout: float = 5.0, **more: Any) -> Move:
        disks = [{"name": "boot", "generation": generation, "volume_construction_request": request_for(generation)}]
        values: dict[str, Any] = {
            "instance": {"id": VM, "name": "vm0"},
            "source": {"name": "alpha", "address": self.source.address},
            "destination": {"name": "beta", "address": self.destination.address},
            "disks": disks,
            "timeout": timeout,
            "ask_timeout": 0.4,
        }
        return Move.read(**(values | more))

    def run(self, **more: Any) -> Outcome:
        return Mover(self.move(**more)).run()


def make_lab(dialect: str = "5.0.0") -> Lab:
    source, destination = FakeServer("127.0.2.1", dialect=dialect), FakeServer("127.0.2.2", dialect=dialect)
    source.holds(VM, "Running", {"boot": request_for(1)})
    return Lab(source, destination, Pair(source, destination))


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = make_lab()
    yield made
    made.source.kill()
    made.destination.kill()


@pytest.fixture
def seed() -> Iterator[Lab]:
    made = make_lab("2023-01")
    yield made
    made.source.kill()
    made.destination.kill()


def writes(server: FakeServer) -> list[tuple[str, str]]:
    return [(method, path) for method, path, _body in server.requests if method != "GET"]


def phases(outcome: Outcome, side: str) -> list[str]:
    return [event.phase for event in outcome.timeline if event.side == side]


def test_a_move_ends_with_the_instance_running_there_and_the_request_names_every_disk(lab: Lab) -> None:
    told = []
    outcome = Mover(lab.move(), told.append).run()
    assert outcome.verdict.code is Code.SUCCEEDED
    assert outcome.changed
    assert outcome.verdict.failure_code is None
    assert "vm0 runs on beta at generation 2" in outcome.verdict.sentence
    assert phases(outcome, "source")[-1] == "Destroyed"
    assert phases(outcome, "destination")[-1] == "Running"
    assert "Device" in phases(outcome, "destination")
    assert outcome.pause == pytest.approx(12 * STEP, abs=8 * STEP)
    assert [event.at for event in outcome.timeline] == sorted(event.at for event in outcome.timeline)
    assert tuple(told) == outcome.timeline
    (body,) = lab.pair.puts
    assert body["properties"]["id"] == VM
    assert body["properties"]["metadata"] == METADATA
    assert body["init"]["method"] == "MigrationTarget"
    assert body["init"]["value"]["src_addr"] == lab.source.address
    assert list(body["init"]["value"]["replace_components"]) == ["boot-backend"]
    assert writes(lab.source) == []
    assert writes(lab.destination) == [("PUT", "/instance")]


def test_a_second_run_finds_the_instance_there_and_asks_for_nothing(lab: Lab) -> None:
    lab.run()
    lab.destination.requests.clear()
    again = lab.run()
    assert again.verdict.code is Code.ALREADY_THERE
    assert not again.changed
    assert writes(lab.destination) == []


def test_the_same_move_has_the_same_id_and_another_generation_another(lab: Lab) -> None:
    assert lab.move().migration_id == lab.move().migration_id
    assert lab.move().migration_id != lab.move(generation=3).migration_id
    assert lab.move(migration_id=FOREIGN).migration_id == FOREIGN


def test_finish_on_both_ends_and_a_destination_that_fails_is_said_to_be_nobody(lab: Lab) -> None:
    lab.pair.script = FAILS_AFTER_FINISH
    outcome = lab.run()
    assert outcome.verdict.code is Code.NOBODY_RUNS
    assert outcome.verdict.failure_code == "nobody_runs"
    assert "NOBODY RUNS vm0" in outcome.verdict.sentence
    assert "generation 3" in outcome.verdict.sentence
    assert outcome.changed


def test_a_destination_that_is_killed_while_memory_is_copied_leaves_the_instance_at_its_source(lab: Lab) -> None:
    lab.pair.script = (*SUCCESS[:6], ("s", {"state": "Running", "out": "Error"}))
    lab.pair.before_step[6] = lab.destination.kill
    outcome = lab.run()
    assert outcome.verdict.code is Code.FAILED_ON_SOURCE
    assert outcome.verdict.runs_on is not None
    assert outcome.verdict.runs_on.name == "alpha"
    assert "generation 2 is spent" in outcome.verdict.sentence
    assert outcome.pause is not None


def test_a_destination_that_dies_before_the_negotiation_makes_the_source_suspect(lab: Lab) -> None:
    def die(_server: FakeServer, body: dict[str, Any]) -> tuple[int, Any]:
        lab.source.publish("Running", out="Error", id=body["init"]["value"]["migration_id"])
        threading.Thread(target=lab.destination.kill).start()
        time.sleep(0.2)
        return 500, {"request_id": "x", "message": "Internal Server Error"}

    lab.destination.on_put = die
    outcome = lab.run()
    assert outcome.verdict.code is Code.FAILED_AND_SOURCE_STUCK
    assert "stop and start the instance on alpha" in outcome.verdict.sentence


def test_a_source_that_refuses_since_an_earlier_failure_is_named_as_stuck(lab: Lab) -> None:
    lab.source.publish(out="Error", id=FOREIGN)

    def refuse(server: FakeServer, body: dict[str, Any]) -> tuple[int, Any]:
        server.holds(VM, "Failed", {})
        server.migration_in = {"id": body["init"]["value"]["migration_id"], "state": "Sync"}
        return 500, {"request_id": "x", "error_code": "Internal", "message": "Internal Server Error"}

    lab.destination.on_put = refuse
    outcome = lab.run()
    assert outcome.verdict.code is Code.FAILED_AND_SOURCE_STUCK
    assert FOREIGN in outcome.verdict.sentence
    assert any("failed before" in warning for warning in outcome.warnings)


def test_a_source_that_is_killed_in_the_middle_leaves_nobody(lab: Lab) -> None:
    lab.pair.script = (*SUCCESS[:6], ("d", {"state": "Failed", "into": "Error"}))
    lab.pair.before_step[6] = lab.source.kill
    outcome = lab.run()
    assert outcome.verdict.code is Code.NOBODY_RUNS
    assert "alpha has no server process any more" in outcome.verdict.sentence


def test_a_source_that_is_killed_after_it_handed_over_is_noted_and_the_move_has_succeeded(lab: Lab) -> None:
    lab.pair.script = (*UNTIL_FINISH, ("d", {"state": "Running"}))
    lab.pair.before_step[15] = lab.source.kill
    outcome = lab.run()
    assert outcome.verdict.code is Code.SUCCEEDED
    assert "the server process of alpha is gone" in outcome.verdict.sentence


def test_a_source_that_goes_deaf_does_not_hide_that_the_destination_runs(lab: Lab) -> None:
    lab.pair.script = (*UNTIL_FINISH, ("d", {"state": "Running"}))
    lab.pair.before_step[15] = lambda: setattr(lab.source, "hangs", True)
    outcome = lab.run()
    assert outcome.verdict.code is Code.SUCCEEDED
    assert "alpha has gone deaf" in outcome.verdict.sentence


def test_a_destination_without_its_disks_is_waited_for_and_the_missing_downstairs_is_named(lab: Lab) -> None:
    lab.pair.script = NEVER_GETS_ITS_DISKS
    lab.destination.targets_state = {
        TARGETS[0]: {"type": "connecting", "state": "wait_quorum", "mode": "new"},
        TARGETS[1]: {"type": "connecting", "state": "wait_quorum", "mode": "new"},
        TARGETS[2]: {"type": "connecting", "state": "wait_connect", "mode": "new"},
    }
    outcome = lab.run(timeout=1.5)
    assert outcome.verdict.code is Code.WAITING_FOR_DISKS
    assert "127.0.0.1:3830 is connecting" in outcome.verdict.sentence
    assert outcome.total < 3


def test_a_destination_that_gets_its_disks_in_time_succeeds(lab: Lab) -> None:
    def come_back() -> None:
        lab.destination.upstairs_state = "active"
        lab.destination.publish("Running")

    lab.pair.script = NEVER_GETS_ITS_DISKS
    threading.Timer(1.2, come_back).start()
    assert lab.run().verdict.code is Code.SUCCEEDED


def test_at_the_deadline_waiting_ends_and_the_migration_is_left_alone(lab: Lab) -> None:
    lab.pair.script = SUCCESS[:4]
    outcome = lab.run(timeout=1.0)
    assert outcome.verdict.code is Code.TIMED_OUT
    assert outcome.verdict.failure_code == "timed_out"
    assert "the migration itself goes on" in outcome.verdict.sentence
    assert outcome.total < 2.5
    assert writes(lab.source) == []


def test_a_migration_of_ours_that_an_earlier_run_began_is_adopted_and_nothing_is_asked_again(lab: Lab) -> None:
    move = lab.move()
    lab.destination.holds(VM, "Migrating", {"boot": request_for(2)})
    lab.destination.publish(into="Sync", id=move.migration_id)
    lab.source.publish("Migrating", out="Sync", id=move.migration_id)
    lab.pair.migration_id = move.migration_id
    threading.Timer(0.2, lab.pair.play).start()
    outcome = Mover(move).run()
    assert outcome.verdict.code is Code.ADOPTED
    assert outcome.verdict.is_good
    assert outcome.changed
    assert writes(lab.destination) == []


def test_a_migration_of_somebody_else_is_refused_and_named(lab: Lab) -> None:
    lab.source.publish("Migrating", out="Pause", id=FOREIGN)
    lab.destination.holds(VM, "Migrating", {"boot": request_for(2)})
    lab.destination.publish(into="Pause", id=FOREIGN)
    outcome = lab.run()
    assert outcome.verdict.code is Code.IN_PROGRESS_ELSEWHERE
    assert FOREIGN in outcome.verdict.sentence
    assert not outcome.changed
    assert writes(lab.destination) == []


def test_of_two_controllers_one_moves_it_and_the_other_says_who_does(lab: Lab) -> None:
    def taken(server: FakeServer, _body: dict[str, Any]) -> tuple[int, Any]:
        lab.source.publish("Migrating", out="RamPush", id=FOREIGN)
        server.holds(VM, "Migrating", {"boot": request_for(5)})
        server.publish(into="RamPush", id=FOREIGN)
        return 409, {"request_id": "x", "error_code": "AlreadyInitialized", "message": "instance already initialized"}

    lab.destination.on_put = taken
    outcome = lab.run(timeout=10.0)
    assert outcome.verdict.code is Code.IN_PROGRESS_ELSEWHERE
    assert outcome.verdict.failure_code == "in_progress_elsewhere"
    assert FOREIGN in outcome.verdict.sentence
    assert not outcome.changed
    assert outcome.total < 5


def test_a_source_that_is_just_letting_go_is_waited_for(lab: Lab) -> None:
    lab.destination.holds(VM, "Running", {"boot": request_for(2)})
    lab.source.publish("Stopping")
    threading.Timer(0.4, lab.source.publish, ["Destroyed"]).start()
    outcome = lab.run()
    assert outcome.verdict.code is Code.ALREADY_THERE
    assert not outcome.changed


def test_two_copies_that_are_seen_only_for_a_moment_are_not_shouted_about(lab: Lab) -> None:
    lab.destination.holds(VM, "Running", {"boot": request_for(2)})
    threading.Timer(0.1, lab.source.publish, ["Destroyed"]).start()
    assert lab.run().verdict.code is Code.ALREADY_THERE
    lab.source.holds(VM, "Running", {"boot": request_for(1)})
    shouted = lab.run()
    assert shouted.verdict.code is Code.SPLIT_BRAIN
    assert not shouted.changed


def test_a_destination_that_runs_without_its_disks_is_not_called_there(lab: Lab) -> None:
    lab.destination.holds(VM, "Running", {"boot": request_for(2)})
    lab.destination.upstairs_state = "go_active"
    lab.source.publish("Destroyed")
    outcome = lab.run(timeout=1.0)
    assert outcome.verdict.code is Code.WAITING_FOR_DISKS
    assert not outcome.follows


def test_a_source_frozen_before_the_request_does_not_hang_us(lab: Lab) -> None:
    lab.source.hangs = True
    outcome = lab.run(timeout=2.0)
    assert outcome.verdict.code is Code.UNKNOWN
    assert writes(lab.destination) == []


def test_a_request_that_never_is_answered_ends_at_the_deadline(lab: Lab) -> None:
    def swallow(server: FakeServer, body: dict[str, Any]) -> tuple[int, Any]:
        server.migration_in = {"id": body["init"]["value"]["migration_id"], "state": "Sync"}
        time.sleep(3)
        return 500, {"request_id": "x", "message": "Internal Server Error"}

    lab.destination.on_put = swallow
    outcome = lab.run(timeout=1.0)
    assert outcome.verdict.code is Code.TIMED_OUT
    assert outcome.total < 2.5


def test_a_destination_that_refuses_the_request_changes_nothing(lab: Lab) -> None:
    lab.destination.on_put = None
    outcome = lab.run()
    assert outcome.verdict.code is Code.FAILED_ON_SOURCE
    assert not outcome.changed
    assert "already initialized" in outcome.verdict.sentence


def test_an_old_instance_at_the_destination_is_no_obstacle_once_it_is_destroyed(lab: Lab) -> None:
    lab.destination.holds(OTHER_VM, "Destroyed", {})
    assert lab.run().verdict.code is Code.SUCCEEDED


def test_back_and_forth_each_move_succeeds(lab: Lab) -> None:
    assert lab.run().verdict.code is Code.SUCCEEDED
    back = Lab(lab.destination, lab.source, Pair(lab.destination, lab.source))
    move = replace(back.move(generation=3), source=lab.move().destination, destination=lab.move().source)
    outcome = Mover(move).run()
    assert outcome.verdict.code is Code.SUCCEEDED
    assert "vm0 runs on alpha at generation 3" in outcome.verdict.sentence


# --- refusals: nothing may be asked of anybody ----------------------------------------------------------------------


def refused(lab: Lab, **more: Any) -> Outcome:
    outcome = lab.run(**more)
    assert outcome.verdict.code is Code.NOT_STARTED, outcome.verdict.sentence
    assert not outcome.changed
    assert lab.pair.puts == []
    assert writes(lab.source) == []
    return outcome


def disks(*entries: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": name, "volume_construction_request": request} for name, request in entries]


@pytest.mark.parametrize(
    ("code", "given"),
    [
        ("generation_too_low", disks(("boot", request_for(1)))),
        ("missing_replacement", []),
        ("unknown_replacement", disks(("nosuch", request_for(2)), ("boot", request_for(2)))),
        ("volume_differs", disks(("boot", request_for(2, extent_count=10)))),
        ("volume_differs", disks(("boot", request_for(2, block_size=4096)))),
        ("volume_differs", disks(("boot", request_for(2, volume=FOREIGN)))),
        ("volume_differs", disks(("boot", request_for(2, targets=[*TARGETS[:2], "127.0.0.1:3840"])))),
        ("not_started", disks(("boot", request_for(2)), ("boot-backend", request_for(2)))),
    ],
)
def test_what_would_lose_the_machine_is_refused_before_anybody_is_asked(lab: Lab, code: str, given: Any) -> None:
    outcome = refused(lab, disks=given)
    assert outcome.verdict.failure_code == code
    assert "nothing was changed" in outcome.verdict.sentence
    assert "vm0 runs on alpha at generation 1" in outcome.verdict.sentence


def test_another_key_is_refused_without_being_shown(lab: Lab) -> None:
    def sealed(generation: int, key: str) -> dict[str, Any]:
        request = request_for(generation)
        request["sub_volumes"][0]["opts"]["key"] = key
        return request

    ours, theirs = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
    lab.source.holds(VM, "Running", {"boot": sealed(1, theirs)})
    outcome = refused(lab, disks=disks(("boot", sealed(2, ours))))
    assert outcome.verdict.failure_code == "volume_differs"
    assert "sub_volumes[0].opts.key is one on alpha and another one in the new volume" in outcome.verdict.sentence
    assert ours not in str(outcome)
    assert theirs not in str(outcome)
    assert lab.run(disks=disks(("boot", sealed(2, theirs)))).verdict.code is Code.SUCCEEDED


@pytest.mark.parametrize(
    ("theirs", "ours", "words"),
    [
        (request_for(1, FOREIGN), None, f"read_only_parent is volume {FOREIGN} on alpha and none in the new"),
        (None, request_for(1, FOREIGN), f"read_only_parent is none on alpha and volume {FOREIGN} in the new"),
        (
            request_for(1, FOREIGN),
            request_for(1, FOREIGN, extent_count=10),
            "read_only_parent.sub_volumes[0].extent_count is 20 on alpha and 10 in the new",
        ),
    ],
)
def test_another_parent_is_refused(lab: Lab, theirs: Any, ours: Any, words: str) -> None:
    lab.source.holds(VM, "Running", {"boot": request_for(1) | {"read_only_parent": theirs}})
    outcome = refused(lab, disks=disks(("boot", request_for(2) | {"read_only_parent": ours})))
    assert outcome.verdict.failure_code == "volume_differs"
    assert words in outcome.verdict.sentence
    same = disks(("boot", request_for(2) | {"read_only_parent": theirs}))
    assert lab.run(disks=same).verdict.code is Code.SUCCEEDED


def test_the_order_of_the_targets_may_change(lab: Lab) -> None:
    assert lab.run(disks=disks(("boot", request_for(2, targets=TARGETS[::-1])))).verdict.code is Code.SUCCEEDED


def test_a_replica_that_is_not_in_use_is_refused_by_name(lab: Lab) -> None:
    lab.source.targets_state = {TARGETS[1]: {"type": "connecting", "state": "wait_connect", "mode": "offline"}}
    outcome = refused(lab)
    assert outcome.verdict.failure_code == "replica_missing"
    assert TARGETS[1] in outcome.verdict.sentence


def test_a_disk_that_is_fenced_is_refused(lab: Lab) -> None:
    lab.source.upstairs_state = "disabled"
    assert refused(lab).verdict.failure_code == "disk_not_active"


def test_disks_that_cannot_be_read_are_refused(lab: Lab) -> None:
    lab.source.disk_status_answer = (500, {"request_id": "x", "message": "Internal Server Error"})
    assert refused(lab).verdict.failure_code == "disks_unreadable"


def test_a_live_number_above_that_of_the_spec_is_a_floor_too(lab: Lab) -> None:
    region = request_for(9)["sub_volumes"][0]
    upstairs = {
        "state": "active",
        "block_size": 512,
        "upstairs_id": region["opts"]["id"],
        "session_id": FOREIGN,
        "generation": 9,
        "read_only": False,
        "encrypted": False,
        "reconcile_in_progress": False,
        "live_repair_in_progress": False,
        "targets": [],
    }
    volume = {"sub_volumes": [{"upstairs": upstairs}], "read_only_parent": None}
    lab.source.disk_status_answer = (200, {"volume_info": {"volume": volume}})
    outcome = refused(lab)
    assert outcome.verdict.failure_code == "generation_too_low"
    assert outcome.refusal is not None
    assert outcome.refusal.details == {"disk": "boot", "asked": 2, "in_use": 9}


def test_a_device_that_cannot_move_is_refused(lab: Lab) -> None:
    path = {"bus": 0, "device": 9, "function": 0}
    lab.source.extra_components["bridge"] = {
        "type": "pci_pci_bridge",
        "component": {"downstream_bus": 1, "pci_path": path},
    }
    assert refused(lab).verdict.failure_code == "unmovable_device"


def test_an_nvme_disk_is_warned_about(lab: Lab) -> None:
    lab.source.device = "nvme_disk"
    outcome = Mover(lab.move()).plan()
    assert any("nvme" in warning for warning in outcome.warnings)


def test_a_file_backed_disk_is_warned_about(lab: Lab) -> None:
    path = {"bus": 0, "device": 20, "function": 0}
    lab.source.extra_components["cd"] = {
        "type": "virtio_disk",
        "component": {"backend_id": "cd-backend", "pci_path": path},
    }
    lab.source.extra_components["cd-backend"] = {
        "type": "file_storage_backend",
        "component": {"path": "/cd.iso", "readonly": True, "block_size": 512, "workers": None},
    }
    outcome = Mover(lab.move()).plan()
    assert any("the same path" in warning for warning in outcome.warnings)


def test_a_destination_that_holds_another_instance_is_refused(lab: Lab) -> None:
    lab.destination.holds(OTHER_VM, "Running", {}, name="vm9")
    outcome = refused(lab)
    assert outcome.verdict.failure_code == "destination_occupied"
    assert "vm9" in outcome.verdict.sentence


def test_a_destination_with_a_created_copy_is_refused(lab: Lab) -> None:
    lab.destination.holds(VM, "Creating", {})
    assert refused(lab).verdict.failure_code == "destination_occupied"


@pytest.mark.parametrize("how", ["gone", "deaf"])
def test_a_destination_that_cannot_be_asked_is_refused(lab: Lab, how: str) -> None:
    if how == "gone":
        lab.destination.kill()
    else:
        lab.destination.hangs = True
    assert refused(lab).verdict.failure_code == "destination_unreachable"


def test_a_source_that_does_not_run_the_instance_is_refused(lab: Lab) -> None:
    lab.source.publish("Creating")
    outcome = refused(lab)
    assert outcome.verdict.reason is Reason.SOURCE_NOT_RUNNING


def test_servers_of_different_ages_are_refused(lab: Lab) -> None:
    old = FakeServer("127.0.2.3", dialect="2023-01")
    try:
        outcome = refused(lab, destination={"name": "old", "address": old.address})
        assert outcome.verdict.failure_code == "dialects_differ"
    finally:
        old.kill()


def test_one_host_for_both_ends_is_refused_because_the_id_is_kept(lab: Lab) -> None:
    neighbour = FakeServer("127.0.2.1")
    try:
        assert refused(lab, destination={"address": neighbour.address}).verdict.failure_code == "same_host"
    finally:
        neighbour.kill()


def test_a_loopback_source_is_refused_for_a_destination_elsewhere(lab: Lab) -> None:
    from ansible_collections.apiary.propolis.plugins.module_utils.propolis.migration_plan import Refused, check_ends
    from ansible_collections.apiary.propolis.plugins.module_utils.propolis.observation import (
        Reach,
        ServerName,
        Sighting,
    )

    move = replace(lab.move(), destination=ServerName("beta", "172.20.3.71:8000"))
    source = Sighting(move.source, Reach.ANSWERS)
    with pytest.raises(Refused, match="means the destination itself"):
        check_ends(move, source, Sighting(move.destination, Reach.ANSWERS))


def test_a_source_that_does_not_tell_its_spec_is_refused(lab: Lab) -> None:
    waiting = {
        "properties": lab.source._properties(),
        "state": "Running",
        "spec": {"type": "WaitingForMigrationSource"},
    }
    lab.source._spec = lambda _body: (200, waiting)  # type: ignore[method-assign]
    assert "does not tell the spec" in refused(lab).verdict.sentence


def test_a_volume_of_another_shape_is_refused(lab: Lab) -> None:
    doubled = request_for(2)
    doubled["sub_volumes"] *= 2
    assert (
        "sub_volumes is a list of 1 on alpha and a list of 2 in"
        in refused(lab, disks=disks(("boot", doubled))).verdict.sentence
    )


@pytest.mark.parametrize("host", ["localhost", "0.0.0.0"])
def test_a_source_by_name_or_by_wildcard_is_refused(lab: Lab, host: str) -> None:
    server = FakeServer(host)
    server.holds(VM, "Running", {"boot": request_for(1)})
    try:
        outcome = refused(lab, source={"name": "alpha", "address": server.address})
        assert outcome.verdict.failure_code == "bad_source_address"
    finally:
        server.kill()


def test_one_server_as_both_ends_is_there_already_or_refused(lab: Lab) -> None:
    same = {"name": "alpha", "address": lab.source.address}
    assert lab.run(destination=same).verdict.code is Code.ALREADY_THERE
    lab.source.publish("Destroyed")
    outcome = refused(lab, destination=same)
    assert outcome.verdict.failure_code == "same_server"


def test_a_third_server_that_runs_it_too_stops_everything(lab: Lab) -> None:
    third = FakeServer("127.0.2.3")
    third.holds(VM, "Running", {"boot": request_for(4)})
    try:
        outcome = lab.run(servers=[{"name": "gamma", "address": third.address}])
        assert outcome.verdict.code is Code.SPLIT_BRAIN
        assert "gamma" in outcome.verdict.sentence
        assert lab.pair.puts == []
    finally:
        third.kill()


def test_the_same_migration_that_failed_before_is_not_tried_again_with_the_spent_number(lab: Lab) -> None:
    lab.source.publish(out="Error", id=lab.move().migration_id)
    outcome = lab.run()
    assert outcome.verdict.code is Code.FAILED_ON_SOURCE
    assert lab.pair.puts == []


def test_a_plan_changes_nothing_and_says_what_would_be_done(lab: Lab) -> None:
    outcome = Mover(lab.move()).plan()
    assert outcome.plan is not None
    assert outcome.plan.slowest_seconds == 90
    assert outcome.verdict.code is Code.NOT_STARTED
    assert not outcome.changed
    assert writes(lab.destination) == writes(lab.source) == []


@pytest.mark.parametrize("version", ["1.0.0", "4.0.0"])
def test_servers_below_5_0_0_tell_generations_by_their_spec_only_and_can_be_moved_between(version: str) -> None:
    old = make_lab(version)
    try:
        assert old.run().verdict.code is Code.SUCCEEDED
    finally:
        old.source.kill()
        old.destination.kill()


# --- servers of January 2023 -----------------------------------------------------------------------------------------

SEED_MOVE = (
    ("s", {"state": "Migrating", "out": "Sync"}),
    ("d", {"into": "RamPush"}),
    ("s", {"out": "Pause"}),
    ("s", {"out": "RamPush"}),
    ("d", {"into": "Device"}),
    ("s", {"out": "Device"}),
    ("d", {"into": "Finish"}),
    ("s", {"out": "Finish"}),
)


def end_source(lab: Lab) -> None:
    """After Finish a source of 2023 drops its machine and answers 500 to everything."""
    lab.source.state = None
    lab.source.migration_out = None


def seed_states(lab: Lab) -> list[str]:
    told: list[str] = []

    def at_destination(server: FakeServer, change: str) -> tuple[int, Any]:
        told.append(f"destination {change}")
        server.publish("Running")
        return 204, None

    def at_source(_server: FakeServer, change: str) -> tuple[int, Any]:
        told.append(f"source {change}")
        return 204, None

    lab.destination.on_state, lab.source.on_state = at_destination, at_source
    return told


def test_2023_a_source_is_marked_and_the_destination_told_to_run_after_finish(seed: Lab) -> None:
    told = seed_states(seed)
    seed.pair.script = (*SEED_MOVE, ("d", {}))
    seed.pair.before_step[8] = lambda: end_source(seed)
    outcome = seed.run()
    assert outcome.verdict.code is Code.SUCCEEDED, outcome.verdict.sentence
    assert told == ["source MigrateStart", "destination Run"]
    (body,) = seed.pair.puts
    assert body["migrate"]["src_addr"] == seed.source.address
    assert body["disks"][0]["volume_construction_request"]["sub_volumes"][0]["gen"] == 2
    assert body["disks"][0]["slot"] == 0


def test_2023_a_source_that_may_not_be_marked_changes_nothing(seed: Lab) -> None:
    seed.source.on_state = lambda _server, _change: (
        400,
        {"request_id": "x", "message": "Instance operation failed: no"},
    )
    outcome = seed.run()
    assert outcome.verdict.failure_code == "source_refuses"
    assert seed.pair.puts == []
    assert not outcome.changed


def test_2023_a_failure_leaves_both_ends_migrating_and_is_recognised(seed: Lab) -> None:
    seed_states(seed)
    seed.pair.script = (*SEED_MOVE[:4], ("s", {"out": "Error"}), ("d", {"into": "Error"}))
    outcome = seed.run()
    assert outcome.verdict.code is Code.FAILED_ON_SOURCE


def test_2023_an_adopted_migration_is_run_at_its_end_too(seed: Lab) -> None:
    told = seed_states(seed)
    move = seed.move()
    end_source(seed)
    seed.destination.holds(VM, "Migrating", {"boot": request_for(2)})
    seed.destination.publish(into="Finish", id=move.migration_id)
    outcome = Mover(move).run()
    assert outcome.verdict.code is Code.ADOPTED
    assert told == ["destination Run"]


def test_2023_a_foreign_migration_is_refused(seed: Lab) -> None:
    seed.source.publish("Migrating", out="Pause", id=FOREIGN)
    seed.destination.holds(VM, "Migrating", {"boot": request_for(2)})
    seed.destination.publish(into="Pause", id=FOREIGN)
    assert seed.run().verdict.code is Code.IN_PROGRESS_ELSEWHERE


def test_2023_a_run_that_is_refused_at_first_is_told_again(seed: Lab) -> None:
    told: list[str] = []

    def reluctant(server: FakeServer, change: str) -> tuple[int, Any]:
        told.append(change)
        if len(told) == 1:
            return 400, {"request_id": "x", "message": "Instance operation failed: A migration is in progress"}
        server.publish("Running")
        return 204, None

    seed.source.on_state = lambda _server, _change: (204, None)
    seed.destination.on_state = reluctant
    seed.pair.script = (*SEED_MOVE, ("d", {}))
    seed.pair.before_step[8] = lambda: end_source(seed)
    assert seed.run(timeout=8.0).verdict.code is Code.SUCCEEDED
    assert told[:2] == ["Run", "Run"]


def test_the_ends_of_the_source_are_shown_when_it_lets_go_late(lab: Lab) -> None:
    lab.pair.script = (*UNTIL_FINISH, ("d", {"state": "Running"}), ("s", {}), ("s", {}), *SOURCE_ENDS)
    outcome = lab.run()
    assert outcome.verdict.code is Code.SUCCEEDED
    assert phases(outcome, "source")[-1] in ("Stopping", "Destroyed")
