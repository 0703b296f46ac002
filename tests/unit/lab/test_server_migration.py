# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrations between two of the lab's servers: the order of what is published, what moves, and every way to fail."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from propolis_lab.guest import scripted
from propolis_lab.guest.heartbeat import Ring
from server_fakes import SIZE, Client, Storage, eventually, in_a_loop, migrate_body, server, spec, vcr

SOURCE_PHASES = [
    "Sync",
    "Sync",
    "RamPush",
    "Pause",
    "Pause",
    "RamPushDirty",
    "Pause",
    "Device",
    "RamPush",
    "Pause",
    "RamPushDirty",
    "Server",
    "Finish",
]
DESTINATION_PHASES = ["Sync", "RamPush", "Pause", "RamPushDirty", "Pause", "Device", "RamPull", "Server", "Finish"]
BACKEND = "disk0-backend"


@pytest.fixture(autouse=True)
def _a_fast_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guests that tick twenty times a second."""
    monkeypatch.setattr(scripted, "TICK_SECONDS", 0.05)


async def migrate(source: Client, destination: Client, generation: int | None = 2, **identity: Any) -> Any:
    replacements = {BACKEND: generation} if generation is not None else {}
    return await destination.call("PUT", "/instance", migrate_body(source.address, replacements, **identity))


async def migration_state(one: Client, direction: str) -> str | None:
    status = (await one.call("GET", "/instance/migration-status")).body[f"migration_{direction}"]
    return status["state"] if status else None


def ticks_of(console: str) -> list[int]:
    return [int(line.split()[1]) for line in console.splitlines() if line.startswith("tick ")]


def said(one: Client) -> list[str]:
    """The messages in the log of a server."""
    return [json.loads(line)["msg"] for line in one.log.getvalue().splitlines()]


def beats(*servers: Client) -> list[tuple[int, int, int]]:
    events = [event for one in servers for event in one.events("heartbeat")]
    return [(event["number"], event["tick"], event["generation"]) for event in events]


@in_a_loop
async def test_both_ends_publish_what_two_real_servers_publish(tmp_path: Path) -> None:
    storage = Storage()
    async with server(tmp_path, storage) as alpha, server(tmp_path, storage) as beta:
        await alpha.run()
        moved = await migrate(alpha, beta)
        assert moved.status == 201
        assert uuid.UUID(moved.body["migrate"]["migration_id"])
        await beta.until("Running")
        await alpha.until("Destroyed")
        gone = [row[1:] for row in alpha.published()[3:]]
        assert gone == [
            *(("Migrating", None, phase) for phase in SOURCE_PHASES),
            ("Stopping", None, "Finish"),
            ("Destroyed", None, "Finish"),
        ]
        come = [row[1:] for row in beta.published()]
        assert come == [
            ("Migrating", None, None),
            *(("Migrating", phase, None) for phase in DESTINATION_PHASES),
            ("Running", "Finish", None),
        ]
        assert [row[0] for row in beta.published()] == list(range(1, 12))


@in_a_loop
async def test_the_guest_goes_on_without_a_hole_and_without_a_double(tmp_path: Path) -> None:
    storage = Storage()
    async with server(tmp_path, storage) as alpha, server(tmp_path, storage, host="127.0.0.2") as beta:
        instance = uuid.uuid4()
        await alpha.run(instance=instance)
        await alpha.console_until("tick 2")
        assert (await migrate(alpha, beta, instance=instance)).status == 201
        await beta.until("Running")
        carried = ticks_of(await beta.console_until("tick 2"))[-1]
        text = await beta.console_until(f"tick {carried + 2}")
        counted = ticks_of(text)
        assert counted == list(range(1, len(counted) + 1))
        assert text.count("Lab BIOS") == 1
        written = beats(alpha, beta)
        assert [number for number, _tick, _generation in written] == list(range(1, len(written) + 1))
        ticks = [tick for _number, tick, _generation in written]
        assert ticks == sorted(set(ticks))
        assert {generation for _number, _tick, generation in beats(alpha)} == {1}
        assert {generation for _number, _tick, generation in beats(beta)} == {2}
        last = Ring(SIZE, 512).last(bytes(storage.content[SIZE - 65536 :]))
        assert last is not None
        assert (last.number, last.instance) == (written[-1][0], instance)


@in_a_loop
async def test_the_console_tells_its_clients_where_to_go_on(tmp_path: Path) -> None:
    storage = Storage()
    async with server(tmp_path, storage) as alpha, server(tmp_path, storage) as beta:
        await alpha.run()
        before = await alpha.console_until("tick 1")
        console = await alpha.websocket("/instance/serial")
        assert (await migrate(alpha, beta)).status == 201
        await beta.until("Running")
        frames = [message async for message in console]
        moved = json.loads(frames[-1].data)["Migrating"]
        assert moved["destination"] == beta.address
        assert console.close_code == 1006
        history = await beta.console_until("tick 2")
        assert history.startswith(before)
        assert moved["from_start"] <= len(history)


@in_a_loop
async def test_a_machine_can_move_back_to_the_server_that_it_came_from(tmp_path: Path) -> None:
    storage = Storage()
    async with server(tmp_path, storage) as alpha, server(tmp_path, storage) as beta:
        await alpha.run()
        assert (await migrate(alpha, beta, 2)).status == 201
        await beta.until("Running")
        await alpha.until("Destroyed")
        assert (await migrate(beta, alpha, 3)).status == 201
        await alpha.until("Running")
        await beta.until("Destroyed")
        assert await migration_state(beta, "in") == "Finish"
        assert await migration_state(beta, "out") == "Finish"


@in_a_loop
async def test_the_spec_is_inherited_and_only_the_replacement_differs(tmp_path: Path) -> None:
    storage = Storage()
    async with server(tmp_path, storage) as alpha, server(tmp_path, storage) as beta:
        await alpha.run()
        before = (await alpha.call("GET", "/instance/spec")).body["spec"]["value"]
        assert (await migrate(alpha, beta)).status == 201
        after = (await beta.call("GET", "/instance/spec")).body["spec"]["value"]
        assert after["components"][BACKEND]["component"]["request_json"] == vcr(2)
        before["components"][BACKEND] = after["components"][BACKEND]
        assert after == before
        await beta.until("Running")


@pytest.mark.parametrize("generation", [1, None])
@in_a_loop
async def test_with_a_used_generation_both_say_finish_and_the_machine_is_lost(tmp_path: Path, generation: int) -> None:
    storage = Storage()
    async with server(tmp_path, storage) as alpha, server(tmp_path, storage) as beta:
        await alpha.run()
        await alpha.console_until("tick 1")
        await eventually(lambda: storage.stored_generation > 0)
        assert (await migrate(alpha, beta, generation)).status == 201
        await beta.until("Failed")
        await alpha.until("Destroyed")
        assert await migration_state(beta, "in") == "Finish"
        assert await migration_state(alpha, "out") == "Finish"


@in_a_loop
async def test_with_a_missing_downstairs_the_destination_waits_and_then_runs(tmp_path: Path) -> None:
    storage = Storage()
    async with server(tmp_path, storage) as alpha, server(tmp_path, storage) as beta:
        await alpha.run()
        storage.reachable.clear()
        assert (await migrate(alpha, beta)).status == 201
        await alpha.until("Destroyed")
        assert await migration_state(beta, "in") == "Finish"
        assert (await beta.call("GET", "/instance")).body["instance"]["state"] == "Migrating"
        storage.reachable.set()
        await beta.until("Running")


@pytest.mark.parametrize(
    ("parts", "log"),
    [
        ({"nosuch": "CrucibleStorageBackend"}, "replacement component nosuch not in source spec"),
        ({"disk0": "CrucibleStorageBackend"}, "component disk0 is not a crucible backend in the source spec"),
        ({BACKEND: "VirtioNetworkBackend"}, "component disk0-backend is not a viona backend in the source spec"),
    ],
)
@in_a_loop
async def test_replacements_that_do_not_fit_leave_the_source_running(
    tmp_path: Path, parts: dict[str, str], log: str
) -> None:
    storage = Storage()
    async with server(tmp_path, storage) as alpha, server(tmp_path, storage) as beta:
        await alpha.run()
        body = migrate_body(alpha.address, {})
        for name, kind in parts.items():
            fields = {"vnic_name": "v"} if kind.startswith("Virtio") else {"request_json": vcr(2), "readonly": False}
            body["init"]["value"]["replace_components"][name] = {"component": kind, "spec": fields}
        refused = await beta.call("PUT", "/instance", body)
        assert (refused.status, refused.body["error_code"]) == (500, "Internal")
        assert [row[1:3] for row in beta.published()] == [
            ("Migrating", None),
            ("Migrating", "Sync"),
            ("Migrating", "Error"),
            ("Failed", "Error"),
        ]
        await alpha.monitor(7)
        assert [row[1::2] for row in alpha.published()[3:]] == [
            ("Migrating", "Sync"),
            ("Migrating", "Sync"),
            ("Migrating", "Error"),
            ("Running", "Error"),
        ]
        assert log in beta.log.getvalue()
        assert (await migrate(alpha, beta)).status == 201
        await beta.until("Running")


@in_a_loop
async def test_a_replacement_that_cannot_be_built_leaves_the_source_running(tmp_path: Path) -> None:
    storage = Storage()
    async with server(tmp_path, storage) as alpha, server(tmp_path, storage) as beta:
        await alpha.run()
        body = migrate_body(alpha.address, {BACKEND: 2})
        body["init"]["value"]["replace_components"][BACKEND]["spec"]["request_json"] = "{nope"
        assert (await beta.call("PUT", "/instance", body)).status == 500
        assert [row[1:3] for row in beta.published()[1:]] == [("Migrating", "Sync"), ("Failed", "Sync")]
        await alpha.monitor(8)
        assert [row[3] for row in alpha.published()[3:]] == ["Sync", "Sync", "RamPush", "Error", "Error"]


@in_a_loop
async def test_the_same_id_on_the_same_host_is_refused_and_on_another_host_is_not(tmp_path: Path) -> None:
    storage = Storage()
    instance = uuid.uuid4()
    async with (
        server(tmp_path, storage) as alpha,
        server(tmp_path, storage) as same_host,
        server(tmp_path, storage, host="127.0.0.2") as other_host,
    ):
        await alpha.run(instance=instance)
        assert (await migrate(alpha, same_host, 2, instance=instance)).status == 500
        assert "failed to create kernel vmm builder" in same_host.log.getvalue()
        assert [row[1:3] for row in same_host.published()[1:]] == [("Migrating", "Sync"), ("Failed", "Sync")]
        await alpha.monitor(8)
        assert (await migrate(alpha, other_host, 2, instance=instance)).status == 201
        await other_host.until("Running")


@in_a_loop
async def test_a_source_that_is_not_there_or_not_running_fails_the_destination_at_once(tmp_path: Path) -> None:
    storage = Storage()
    async with server(tmp_path, storage) as alpha, server(tmp_path, storage) as beta:
        nobody = migrate_body("127.0.0.1:1", {})
        assert (await beta.call("PUT", "/instance", nobody)).status == 500
        assert [row[1:3] for row in beta.published()] == [
            ("Migrating", None),
            ("Migrating", "Sync"),
            ("Failed", "Sync"),
        ]
        assert (await migrate(alpha, beta)).status == 500
        await alpha.ensure()
        assert (await migrate(alpha, beta)).status == 500
        assert "ForbiddenStateChange(InstanceNotActive)" in alpha.log.getvalue()
        assert (await beta.call("GET", "/instance/spec")).body["spec"] == {"type": "WaitingForMigrationSource"}
        assert (await alpha.put_state("Run")).status == 204
        await alpha.until("Running")
        assert (await migrate(beta, beta)).status == 500


@in_a_loop
async def test_a_second_destination_is_refused_while_the_first_goes_on(tmp_path: Path) -> None:
    storage = Storage()
    slow = {"steps": [{"phase": "Device", "action": "stall", "seconds": 0.3}]}
    async with (
        server(tmp_path, storage) as alpha,
        server(tmp_path, storage, faults=slow) as beta,
        server(tmp_path, storage) as gamma,
    ):
        await alpha.run()
        assert (await migrate(alpha, beta)).status == 201
        assert (await migrate(alpha, gamma, 3)).status == 500
        await beta.until("Running")
        await alpha.until("Destroyed")


@pytest.mark.parametrize("side", ["source", "destination"])
@pytest.mark.parametrize("phase", ["RamPush", "RamPushDirty", "Device", "RamPull", "Server", "Finish"])
@in_a_loop
async def test_an_error_before_finish_leaves_the_source_running_and_able_to_migrate(
    tmp_path: Path, side: str, phase: str
) -> None:
    storage = Storage()
    fault = {"steps": [{"side": side, "phase": phase, "action": "error", "times": 1}]}
    async with (
        server(tmp_path, storage, faults=fault) as alpha,
        server(tmp_path, storage, faults=fault) as beta,
        server(tmp_path, storage) as gamma,
    ):
        await alpha.run()
        await alpha.console_until("tick 1")
        assert (await migrate(alpha, beta)).status == 201
        await beta.until("Failed")
        assert await migration_state(beta, "in") == "Error"
        await eventually(lambda: alpha.published()[-1][3] == "Error")
        await alpha.until("Running")
        assert [row[1] for row in beta.published()][-3:] == ["Migrating", "Failed", "Failed"]
        assert (await migrate(alpha, gamma, 3)).status == 201
        await gamma.until("Running")
        text = await gamma.console_until("tick 3")
        assert ticks_of(text) == list(range(1, len(ticks_of(text)) + 1))


async def speak_first(one: Client, frames: list[str]) -> None:
    """Open the migration websocket, say something, and go away without a farewell."""
    socket = await one.websocket(f"/instance/migrate/{uuid.uuid4()}/start")
    for frame in frames:
        await socket.send_str(frame)
        await socket.receive()
    connection = socket._response.connection
    assert connection is not None
    assert connection.transport is not None
    connection.transport.abort()


@in_a_loop
async def test_a_peer_lost_before_the_negotiation_leaves_a_source_that_refuses_for_ever(tmp_path: Path) -> None:
    storage = Storage()
    async with server(tmp_path, storage) as alpha, server(tmp_path, storage) as beta:
        await alpha.run()
        await speak_first(alpha, [])
        await alpha.monitor(4)
        assert alpha.published()[-1][1:] == ("Running", None, "Error")
        for _again in range(2):
            assert (await migrate(alpha, beta)).status == 500
        assert "ForbiddenStateChange(AlreadyMigrationSource)" in alpha.log.getvalue()
        gone = 'handshake: Some(Err(Io(Os { code: 104, kind: ConnectionReset, message: "Connection reset by peer" })))'
        assert f"destination side did not begin migration version {gone}" in said(alpha)
        refused = "Some(Err(Protocol(ResetWithoutClosingHandshake)))"
        assert f"source instance failed to negotiate protocol version: {refused}" in said(beta)
        reboot = await alpha.put_state("Reboot")
        reason = "instance state change not allowed: Operation cannot be performed on a migration source"
        assert (reboot.status, reboot.body["error_code"]) == (403, reason)
        assert (await alpha.put_state("Run")).status == 204
        await alpha.put_state("Stop")
        await alpha.until("Destroyed")


@in_a_loop
async def test_a_peer_lost_after_the_negotiation_does_no_harm(tmp_path: Path) -> None:
    storage = Storage()
    async with server(tmp_path, storage) as alpha, server(tmp_path, storage) as beta:
        await alpha.run()
        await speak_first(alpha, ["propolis-migrate-ron/0"])
        await alpha.monitor(6)
        assert [row[1:] for row in alpha.published()[-2:]] == [("Migrating", None, "Error"), ("Running", None, "Error")]
        assert "migration out failed, resuming" in said(alpha)
        assert (await migrate(alpha, beta)).status == 201
        await beta.until("Running")


@in_a_loop
async def test_a_replacement_of_a_target_during_a_migration_makes_the_source_deaf(tmp_path: Path) -> None:
    storage = Storage()
    slow = {"steps": [{"phase": "RamPush", "side": "source", "action": "stall", "seconds": 0.3}]}
    async with server(tmp_path, storage, faults=slow) as alpha, server(tmp_path, storage) as beta:
        await alpha.run()
        assert (await migrate(alpha, beta)).status == 201
        replacing = asyncio.create_task(alpha.call("PUT", f"/instance/disk/{BACKEND}/vcr", {"vcr_json": vcr(9)}))
        await beta.until("Running")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await alpha.call("GET", "/instance")
        assert not replacing.done()
        replacing.cancel()


@in_a_loop
async def test_a_stop_to_either_end_stops_the_machine_where_it_arrives(tmp_path: Path) -> None:
    storage = Storage()
    slow = {"steps": [{"phase": "Device", "side": "destination", "action": "stall", "seconds": 0.3}]}
    async with server(tmp_path, storage) as alpha, server(tmp_path, storage, faults=slow) as beta:
        await alpha.run()
        assert (await migrate(alpha, beta)).status == 201
        prefix = "instance state change not allowed: "
        assert (await alpha.put_state("Stop")).status == 204
        reboot, run = await alpha.put_state("Reboot"), await alpha.put_state("Run")
        assert reboot.body["error_code"] == prefix + "Operation cannot be performed on a migration source"
        assert run.body["error_code"] == prefix + "Instance is preparing to stop"
        assert (await beta.put_state("Run")).status == 204
        assert (await beta.put_state("Reboot")).body["error_code"] == prefix + "Instance is currently starting"
        assert (await beta.put_state("Stop")).status == 204
        await alpha.until("Destroyed")
        await beta.until("Destroyed")
        assert await migration_state(beta, "in") == "Finish"


@in_a_loop
async def test_with_io_that_hangs_the_source_stays_in_pause_and_its_instance_cannot_be_asked(tmp_path: Path) -> None:
    storage = Storage()
    async with server(tmp_path, storage) as alpha, server(tmp_path, storage) as beta:
        await alpha.run()
        await alpha.console_until("tick 1")
        storage.answers.clear()
        await alpha.console_until("tick 3")
        assert (await migrate(alpha, beta)).status == 201
        await eventually(lambda: alpha.published()[-1][3] == "Pause")
        assert await migration_state(alpha, "out") == "Pause"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await alpha.call("GET", "/instance")
        storage.answers.set()
        await beta.until("Running")
        written = beats(alpha, beta)
        assert [number for number, _tick, _generation in written] == list(range(1, len(written) + 1))


@in_a_loop
async def test_an_nvme_disk_stalls_after_a_move_and_a_virtio_disk_does_not(tmp_path: Path) -> None:
    storage = Storage()
    async with (
        server(tmp_path, storage) as alpha,
        server(tmp_path, storage, faults={"nvme_stall_seconds": 0.4}) as beta,
    ):
        await alpha.run(spec(device="nvme_disk"))
        await alpha.console_until("tick 1")
        assert (await migrate(alpha, beta)).status == 201
        await beta.until("Running")
        status = (await beta.call("GET", f"/instance/disk/{BACKEND}/status")).body["volume_info"]
        assert status["volume"]["sub_volumes"][0]["upstairs"]["state"] == "active"
        text = await beta.console_until("controller reset")
        assert "tick 3" in text
        await eventually(lambda: bool(beats(beta)))
        numbers = [number for number, _tick, _generation in beats(alpha, beta)]
        assert numbers == list(range(1, len(numbers) + 1))
        reset = next(line for line in beta.events("heartbeat"))
        resumed = next(line for line in beta.events("guest") if line["what"] == "resume")
        assert reset["monotonic"] - resumed["monotonic"] > 0.35


@in_a_loop
async def test_the_pause_is_short_beside_the_whole_migration_at_the_real_pace(tmp_path: Path) -> None:
    storage = Storage()
    pace = {"phase_seconds": {}, "ram_bytes_per_second": 3.7e9}
    big = spec()
    big["board"]["memory_mb"] = 512
    async with server(tmp_path, storage, faults=pace) as alpha, server(tmp_path, storage, faults=pace) as beta:
        await alpha.run(big)
        assert (await migrate(alpha, beta)).status == 201
        await beta.until("Running")
        paused = next(line for line in alpha.events("guest") if line["what"] == "pause")
        resumed = next(line for line in beta.events("guest") if line["what"] == "resume")
        began = next(line for line in alpha.events("migration"))
        pause = resumed["monotonic"] - paused["monotonic"]
        whole = resumed["monotonic"] - began["monotonic"]
        assert 0.1 < pause < whole
        assert whole > 0.3
