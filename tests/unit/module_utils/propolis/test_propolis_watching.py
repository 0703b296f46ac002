# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of known dialect: reading it, watching it by long poll, and asking many at once."""

from __future__ import annotations

import json
import socket
import threading
import time

import propolis_samples as samples
import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.errors import ApiError, NoAnswer, NoInstance
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.instance import (
    Change,
    MigrationStatus,
    Phase,
    Side,
    State,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.server import Server
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_description import Description
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.survey import Place, survey
from client_fakes import FakePropolis, Reply, http_server, raw_server, refusal, silence

DESCRIPTION = Description.from_json({"cpus": 4, "memory_mib": 1024, "disks": [samples.disk_request()]})


def running(api: str = "5.0.0") -> FakePropolis:
    fake = FakePropolis(api)
    fake.hold(samples.INSTANCE_ID, "vm0", "Creating", "Starting", "Running")
    fake.spec = samples.seed_spec() if fake.is_seed else {"type": "Present", "value": samples.instance_spec()}
    fake.disk_status = samples.volume_info() if api == "5.0.0" else {"active": True}
    return fake


@pytest.mark.parametrize("api", ["5.0.0", "2023-01"])
def test_an_empty_server_holds_nothing(api: str) -> None:
    with FakePropolis(api).serve() as address:
        server = Server.open(address, timeout=5)
        assert (server.instance(), server.spec(), server.spec_document(), server.disk_sessions()) == (None,) * 3 + ([],)
        assert server.migration_status(samples.MIGRATION_ID, Side.IN) is None
        with pytest.raises(NoInstance):
            server.change_state(Change.RUN)


@pytest.mark.parametrize("api", ["5.0.0", "1.0.0", "2023-01"])
def test_a_running_instance_is_read_with_its_disks(api: str) -> None:
    fake = running(api)
    if api == "1.0.0":
        fake.spec["value"] = {"version": "V0", "spec": samples.without(samples.instance_spec(), "smbios")}
    with fake.serve() as address:
        server = Server.open(address, timeout=5)
        instance = server.instance()
        disks = server.disk_sessions()
    assert instance is not None
    assert (instance.id, instance.state) == (samples.INSTANCE_ID, State.RUNNING)
    assert [(disk.name, disk.generation, disk.active) for disk in disks] == [
        ("helios-blockdev", 1, None if api == "2023-01" else True)
    ]


def test_a_disk_whose_upstairs_is_just_going_away_is_known_from_the_spec_alone() -> None:
    fake = running()
    fake.instead["GET", "/instance/disk/helios-blockdev-backend/status"] = refusal(400, "no longer active")
    with fake.serve() as address:
        assert Server.open(address, timeout=5).disk_sessions()[0].active is None
        fake.instead["GET", "/instance/disk/helios-blockdev-backend/status"] = refusal(500, "Internal Server Error")
        with pytest.raises(ApiError):
            Server.open(address, timeout=5).disk_sessions()


def test_an_instance_that_is_over_has_no_disks() -> None:
    fake = running()
    fake.publish("Destroyed")
    with fake.serve() as address:
        assert Server.open(address, timeout=5).disk_sessions() == []


def test_a_spec_is_shown_without_its_keys_unless_they_are_asked_for() -> None:
    fake = running()
    keyed = samples.vcr()
    keyed["sub_volumes"][0]["opts"]["key"] = samples.KEY
    fake.spec["value"]["components"]["helios-blockdev-backend"]["component"]["request_json"] = json.dumps(keyed)
    with fake.serve() as address:
        server = Server.open(address, timeout=5)
        assert samples.KEY not in json.dumps(server.spec_document())
        assert samples.KEY in json.dumps(server.spec_document(redacted=False))


def test_the_migration_status_of_2023_needs_an_id_and_a_side() -> None:
    fake = running("2023-01")
    fake.migration = {"state": "Pause"}
    with fake.serve() as address:
        server = Server.open(address, timeout=5)
        assert server.migration_status() is None
        found = server.migration_status(samples.MIGRATION_ID, Side.OUT)
        assert found is not None
        assert found.outgoing is not None
        assert found.outgoing.phase is Phase.PAUSE
        text = "migration failed: no migration is currently in progress"
        fake.instead["GET", "/instance/migrate/status"] = refusal(400, text)
        assert server.migration_status(samples.MIGRATION_ID, Side.OUT) == MigrationStatus()


def test_the_console_is_addressed_with_the_version_that_the_server_wants() -> None:
    server = Server.open("10.0.0.1:8000", api="3.0.0")
    assert server.console_url() == "ws://10.0.0.1:8000/instance/serial"
    assert server.console_url(from_start=0) == "ws://10.0.0.1:8000/instance/serial?from_start=0"
    assert server.console_url(most_recent=64) == "ws://10.0.0.1:8000/instance/serial?most_recent=64"
    assert server.console_headers() == {"api-version": "3.0.0"}
    assert Server.open("10.0.0.1:8000", api="2023-01").console_headers() == {}
    assert str(Server.open("10.0.0.1:8000", name="beta", api="3.0.0")) == "server beta (10.0.0.1:8000)"


class TestWatching:
    def test_each_publication_is_seen_as_soon_as_it_is_made(self) -> None:
        fake = running()
        with fake.serve() as address:
            server = Server.open(address, timeout=5)
            seen = []
            for one in server.watch(time.monotonic() + 5):
                seen.append((one.generation, one.state))
                if one.state.is_final:
                    break
                later = {State.RUNNING: ["Stopping"], State.STOPPING: ["Stopped", "Destroyed"]}[one.state]
                threading.Timer(0.05, fake.publish, later).start()
        assert seen[:2] == [(3, State.RUNNING), (4, State.STOPPING)]
        assert seen[-1] == (6, State.DESTROYED)

    def test_it_ends_at_the_deadline_without_an_error(self) -> None:
        with running().serve() as address:
            started = time.monotonic()
            assert len(list(Server.open(address, timeout=600).watch(started + 0.3))) == 1
            assert time.monotonic() - started > 0.25

    def test_a_silent_long_poll_is_followed_by_a_question_that_is_answered_at_once(self) -> None:
        fake = running()
        with fake.serve() as address:
            seen = list(Server.open(address, timeout=5).watch(time.monotonic() + 0.5, long_poll=0.1))
        asked = [body["gen"] for body in fake.bodies("GET", "/instance/state-monitor")]
        assert asked[:4] == [0, 4, 0, 4]
        assert {one.state for one in seen} == {State.RUNNING}

    def test_a_server_that_has_gone_deaf_is_named(self) -> None:
        with raw_server(silence) as address:
            server = Server.open(address, name="alpha", api="5.0.0", timeout=0.2)
            with pytest.raises(NoAnswer, match=r"alpha.*hangs"):
                list(server.watch(time.monotonic() + 3))

    def test_an_instance_that_has_ended_before_the_next_publication_is_said_to_be_gone(self) -> None:
        fake = running()
        fake.publish("Destroyed")
        with fake.serve() as address, pytest.raises(NoInstance):
            list(Server.open(address, timeout=5).watch(time.monotonic() + 3))


class TestSurveys:
    def test_all_servers_are_asked_and_each_odd_one_is_an_answer(self) -> None:
        page = Reply(200, b"<html>", "text/html")
        in_vain: list[socket.socket] = []

        def deaf_one(connection: socket.socket) -> None:
            in_vain.append(connection)
            silence(connection)

        with running().serve() as good, raw_server(deaf_one) as deaf, http_server(lambda said: page) as web:
            places = [Place("alpha", good), Place("beta", "127.0.0.1:9"), Place("gamma", deaf), Place("delta", web)]
            reports = [one.as_dict() for one in survey([*places, Place("x", "nonsense")], api="auto", timeout=0.5)]
        assert len(in_vain) == 1, "it costs one time and not more"
        assert [one["name"] for one in reports] == ["alpha", "beta", "gamma", "delta", "x"]
        assert [one["reachable"] for one in reports] == [True, False, False, True, True]
        codes = [one["failure"]["code"] if one["failure"] else None for one in reports]  # type: ignore[index]
        assert codes == [None, "unreachable", "timeout", "not_propolis", "bad_address"]
        alpha = reports[0]
        assert alpha["instance"] == {"id": samples.INSTANCE_ID, "name": "vm0", "state": "Running"}
        assert alpha["migration"] == {"in": None, "out": None}
        assert alpha["dialect"] == "5.0.0"
        assert alpha["disks"][0]["targets"][0] == {  # type: ignore[index]
            "address": "172.20.3.73:8810",
            "repair_address": "172.20.3.73:12810",
            "state": "active",
            "step": None,
            "mode": None,
        }
        assert json.loads(json.dumps(reports)) == reports

    def test_what_was_learnt_before_a_failure_is_kept(self) -> None:
        fake = running()
        fake.instead["GET", "/instance/spec"] = Reply(200, {"spec": 7})
        fake.migration = {"migration_in": None, "migration_out": {"id": samples.MIGRATION_ID, "state": "Error"}}
        with fake.serve() as address:
            report = survey([Place("alpha", address)], api="auto", timeout=5)[0].as_dict()
        assert report["instance"] is not None
        assert report["migration"] == {"in": None, "out": {"id": samples.MIGRATION_ID, "state": "Error"}}
        assert "expected" in str(report["error"])

    def test_a_server_without_an_instance_is_asked_no_more(self) -> None:
        fake = FakePropolis()
        with fake.serve() as address:
            report = survey([Place("alpha", address)], api="auto", timeout=5)[0].as_dict()
        assert (report["instance"], report["error"], report["disks"]) == (None, None, [])
        assert {said.path for said in fake.said} == {"/instance"}
