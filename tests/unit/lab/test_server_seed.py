# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's server of January 2023: disk requests, configuration file, MigrateStart, an explicit Run, its errors."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from propolis_lab.guest import scripted
from propolis_lab.server.environment import Environment
from propolis_lab.server.faults import Faults
from propolis_lab.server.history import History
from propolis_lab.server.log import Log
from propolis_lab.server.seed_config import ConfigError, SeedConfig, read_config
from propolis_lab.server.seed_serve import seed
from propolis_lab.server.serve import Listener, bound_socket
from server_fakes import FAST, Client, Storage, eventually, in_a_loop, vcr

ZERO = str(uuid.UUID(int=0))


@pytest.fixture(autouse=True)
def _a_fast_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripted, "TICK_SECONDS", 0.05)


class SeedClient(Client):
    """Requests without a version header; `panics` are the reasons for which the process would have ended."""

    panics: list[str]

    async def call(self, method: str, path: str, body: Any = None, *, version: str | None = None, **more: Any) -> Any:
        return await super().call(method, path, body, version=version, **more)

    async def state(self) -> str:
        return str((await self.call("GET", "/instance")).body["instance"]["state"])


@asynccontextmanager
async def seed_server(
    folder: Path, storage: Storage, *, faults: dict[str, Any] | None = None, **config: Any
) -> AsyncIterator[SeedClient]:
    bound = bound_socket("127.0.0.1", 0)
    port = bound.getsockname()[1]
    bootrom = folder / "bootrom"
    bootrom.write_bytes(bytes(4096))
    log = io.StringIO()
    history = folder / f"history-{port}"
    environment = Environment(
        listen=("127.0.0.1", port),
        bootrom=bootrom,
        log=Log(log, text=True),
        history=History(history, f"127.0.0.1:{port}"),
        faults=Faults(json.dumps({**FAST, **(faults or {})})),
        make_volume=storage.make,
        latest_api=None,
    )
    panics: list[str] = []
    listener = Listener(environment, seed(environment, SeedConfig(bootrom, **config), panics.append))
    await listener.open(bound)
    serving = asyncio.create_task(listener.serve())
    try:
        async with aiohttp.ClientSession() as session:
            client = SeedClient(session, f"127.0.0.1:{port}", log, history)
            client.panics = panics
            yield client
    finally:
        serving.cancel()
        environment.history.close()


def properties(**changes: Any) -> dict[str, Any]:
    base = {"id": str(uuid.uuid4()), "name": "vm0", "description": "d", "image_id": ZERO, "bootrom_id": ZERO}
    return {**base, "memory": 64, "vcpus": 1, **changes}


def disk(generation: int = 1, **changes: Any) -> dict[str, Any]:
    request = {"name": "helios", "slot": 1, "read_only": False, "device": "virtio"}
    return {**request, "volume_construction_request": json.loads(vcr(generation)), **changes}


def body(generation: int = 1, **changes: Any) -> dict[str, Any]:
    return {"properties": properties(), "disks": [disk(generation)], **changes}


async def running(one: SeedClient) -> str:
    request = body()
    assert (await one.call("PUT", "/instance", request)).status == 201
    assert (await one.put_state("Run")).status == 204
    await one.until("Running")
    return str(request["properties"]["id"])


def arriving(source: SeedClient, generation: int = 2, **changes: Any) -> tuple[str, dict[str, Any]]:
    migration = str(uuid.uuid4())
    migrate = {"migration_id": migration, "src_addr": source.address, "src_uuid": ZERO}
    return migration, body(generation, migrate=migrate, **changes)


async def phase(one: SeedClient, migration: str) -> Any:
    return await one.call("GET", "/instance/migrate/status", {"migration_id": migration})


async def ended(one: SeedClient, migration: str) -> str:
    async with asyncio.timeout(10):
        while True:
            reply = await phase(one, migration)
            if reply.status != 200 or reply.body["state"] in ("Finish", "Error"):
                return str(reply.body.get("state", reply.status))
            await asyncio.sleep(0.01)


@in_a_loop
async def test_without_an_instance_the_answer_is_an_internal_error(tmp_path: Path) -> None:
    async with seed_server(tmp_path, Storage()) as one:
        for method, path in (("GET", "/instance"), ("GET", "/instance/spec"), ("POST", "/instance/nmi")):
            reply = await one.call(method, path)
            assert (reply.status, reply.body["error_code"]) == (500, "Internal"), path
            assert reply.body["message"] == "Internal Server Error"


@in_a_loop
async def test_paths_of_later_days_are_not_there(tmp_path: Path) -> None:
    async with seed_server(tmp_path, Storage()) as one:
        for path in ("/instance/migration-status", "/instance/disk/helios/status"):
            assert (await one.call("GET", path)).status == 404


@in_a_loop
async def test_an_instance_is_made_of_disk_requests_and_the_put_may_be_repeated(tmp_path: Path) -> None:
    async with seed_server(tmp_path, Storage()) as one:
        request = body()
        for _again in range(2):
            reply = await one.call("PUT", "/instance", request)
            assert (reply.status, reply.body) == (201, {"migrate": None})
        assert (await one.call("PUT", "/instance", body())).status == 500
        shown = (await one.call("GET", "/instance")).body["instance"]
        assert shown == {"properties": request["properties"], "state": "Creating", "disks": [], "nics": []}
        assert (await one.monitor(0)).body == {"gen": 0, "state": "Creating"}


@in_a_loop
async def test_the_spec_names_devices_as_they_were_named_then(tmp_path: Path) -> None:
    async with seed_server(tmp_path, Storage()) as one:
        request = body(nics=[{"name": "vnic_prop0", "slot": 0}])
        request["cloud_init_bytes"] = base64.b64encode(bytes(512)).decode()
        assert (await one.call("PUT", "/instance", request)).status == 201
        spec = (await one.call("GET", "/instance/spec")).body["spec"]
        assert spec["devices"]["storage_devices"] == {
            "helios": {"kind": "virtio", "backend_name": "helios", "pci_path": {"bus": 0, "device": 17, "function": 0}},
            "cloud-init": {
                "kind": "virtio",
                "backend_name": "cloud-init",
                "pci_path": {"bus": 0, "device": 24, "function": 0},
            },
        }
        assert list(spec["devices"]["network_devices"]) == ["vnic-0.8.0"]
        assert spec["backends"]["network_backends"]["vnic-0.8.0-backend"] == {
            "kind": {"virtio": {"vnic_name": "vnic_prop0"}}
        }
        volume = spec["backends"]["storage_backends"]["helios"]["kind"]["crucible"]["req"]
        assert volume["sub_volumes"][0]["opts"]["cert_pem"] is None
        assert volume["sub_volumes"][0]["gen"] == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"slot": 8}, "failed to generate instance spec from request: "),
        ({"device": "floppy"}, "failed to generate instance spec from request: "),
        ({"slot": "one"}, 'disks[0].slot: invalid type: string "one", expected u8'),
    ],
)
@in_a_loop
async def test_bad_disk_requests_are_refused(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    async with seed_server(tmp_path, Storage()) as one:
        reply = await one.call("PUT", "/instance", {"properties": properties(), "disks": [disk(**change)]})
        assert reply.status == 400
        assert expected in reply.body["message"]


@in_a_loop
async def test_a_volume_without_a_generation_is_refused(tmp_path: Path) -> None:
    async with seed_server(tmp_path, Storage()) as one:
        request = body()
        del request["disks"][0]["volume_construction_request"]["sub_volumes"][0]["gen"]
        reply = await one.call("PUT", "/instance", request)
        assert reply.status == 400
        assert "missing field `gen`" in reply.body["message"]


@in_a_loop
async def test_run_stop_and_make_again(tmp_path: Path) -> None:
    async with seed_server(tmp_path, Storage()) as one:
        await running(one)
        assert (await one.put_state("Reboot")).status == 204
        assert (await one.put_state("Stop")).status == 204
        await one.until("Destroyed")
        states = [row[1] for row in one.published()]
        assert states[:3] == ["Creating", "Starting", "Running"]
        assert states[-3:] == ["Stopping", "Stopped", "Destroyed"]
        assert (await one.put_state("Run")).status == 500
        assert (await one.monitor(99)).status == 503
        assert await one.state() == "Destroyed"
        assert (await one.call("PUT", "/instance", body())).status == 201


@in_a_loop
async def test_what_is_not_allowed_now_is_a_bad_request(tmp_path: Path) -> None:
    async with seed_server(tmp_path, Storage()) as one:
        await one.call("PUT", "/instance", body())
        for wanted in ("Reboot", "MigrateStart"):
            reply = await one.put_state(wanted)
            assert reply.status == 400
            assert reply.body["message"] == "Instance operation failed: Operation requires an active instance"
        unknown = await one.call("GET", "/instance/migrate/status", {"migration_id": ZERO})
        assert unknown.body["message"] == "migration failed: no migration is currently in progress"


@in_a_loop
async def test_a_marked_instance_moves_and_runs_only_when_told_to(tmp_path: Path) -> None:
    storage = Storage()
    async with seed_server(tmp_path, storage) as alpha, seed_server(tmp_path, storage) as beta:
        await running(alpha)
        await eventually(lambda: len(alpha.events("heartbeat")) >= 2)
        assert (await alpha.put_state("MigrateStart")).status == 204
        migration, request = arriving(alpha)
        moved = await beta.call("PUT", "/instance", request)
        assert (moved.status, moved.body) == (201, {"migrate": {"migration_id": migration}})
        assert await ended(beta, migration) == "Finish"
        await alpha.until("Destroyed")
        assert (await phase(alpha, migration)).status == 500
        assert await beta.state() == "Migrating"
        assert (await phase(beta, ZERO)).body["message"] == "migration failed: unexpected Uuid"
        assert (await beta.put_state("Run")).status == 204
        await beta.until("Running")
        await eventually(lambda: len(beta.events("heartbeat")) >= 2)
        numbers = [line["number"] for one in (alpha, beta) for line in one.events("heartbeat")]
        assert numbers == list(range(1, len(numbers) + 1))
        phases = [[line["phase"] for line in one.events("migration") if line["at"] == "begin"] for one in (alpha, beta)]
        assert phases == [
            ["Sync", "Pause", "RamPush", "Device", "Arch", "RamPull", "Finish"],
            ["Sync", "RamPush", "Device", "Arch", "RamPull", "Finish"],
        ]
        order = [line["what"] for line in (*alpha.events("guest"), *beta.events("guest"))]
        assert order == ["begin", "pause", "resume"]


@in_a_loop
async def test_a_source_that_is_not_marked_leaves_a_destination_that_would_boot(tmp_path: Path) -> None:
    storage = Storage()
    async with seed_server(tmp_path, storage) as alpha, seed_server(tmp_path, storage) as beta:
        await running(alpha)
        _migration, request = arriving(alpha)
        assert (await beta.call("PUT", "/instance", request)).status == 500
        assert await beta.state() == "Creating"
        assert await alpha.state() == "Running"
        assert (await beta.put_state("Run")).status == 204
        await beta.until("Running", "Starting")


@pytest.mark.parametrize("change", [{"disks": [disk(2, name="other")]}, {"properties": properties(vcpus=2)}])
@in_a_loop
async def test_servers_whose_specs_differ_do_not_migrate(tmp_path: Path, change: dict[str, Any]) -> None:
    storage = Storage()
    async with seed_server(tmp_path, storage) as alpha, seed_server(tmp_path, storage) as beta:
        await running(alpha)
        await alpha.put_state("MigrateStart")
        migration, request = arriving(alpha, **change)
        assert (await beta.call("PUT", "/instance", request)).status == 201
        assert await ended(beta, migration) == "Error"
        assert await ended(alpha, migration) == "Error"
        refused = await beta.put_state("Run")
        text = "Instance operation failed: The most recent attempt to migrate into this instance failed"
        assert (refused.status, refused.body["message"]) == (400, text)
        assert await alpha.state() == await beta.state() == "Migrating"
        ticks = len(alpha.events("heartbeat"))
        await eventually(lambda: len(alpha.events("heartbeat")) > ticks)


@in_a_loop
async def test_an_error_in_the_middle_lets_the_source_go_on_though_it_says_migrating(tmp_path: Path) -> None:
    storage = Storage()
    fault = {"steps": [{"side": "destination", "phase": "Device", "action": "error"}]}
    async with seed_server(tmp_path, storage) as alpha, seed_server(tmp_path, storage, faults=fault) as beta:
        await running(alpha)
        await eventually(lambda: bool(alpha.events("heartbeat")))
        await alpha.put_state("MigrateStart")
        migration, request = arriving(alpha)
        assert (await beta.call("PUT", "/instance", request)).status == 201
        assert await ended(alpha, migration) == "Error"
        assert await alpha.state() == "Migrating"
        assert [line["what"] for line in alpha.events("guest")] == ["begin", "pause", "resume"]


@in_a_loop
async def test_a_stop_during_a_migration_comes_after_it(tmp_path: Path) -> None:
    storage = Storage()
    slow = {"steps": [{"side": "source", "phase": "RamPush", "action": "stall", "seconds": 0.2}]}
    async with seed_server(tmp_path, storage, faults=slow) as alpha, seed_server(tmp_path, storage) as beta:
        await running(alpha)
        await alpha.put_state("MigrateStart")
        migration, request = arriving(alpha)
        assert (await beta.call("PUT", "/instance", request)).status == 201
        assert (await alpha.put_state("Stop")).status == 204
        assert (await beta.put_state("Run")).status == 400
        assert await ended(beta, migration) == "Finish"
        await alpha.until("Destroyed")
        assert (await beta.put_state("Run")).status == 204
        await beta.until("Running")


@in_a_loop
async def test_a_disk_that_cannot_be_activated_ends_the_process(tmp_path: Path) -> None:
    async with seed_server(tmp_path, Storage(stored_generation=7)) as one:
        await one.call("PUT", "/instance", body(7))
        await one.put_state("Run")
        await eventually(lambda: bool(one.panics))
        assert "requested 7, found 8" in one.panics[0]


@in_a_loop
async def test_snapshots_go_by_the_id_of_the_volume(tmp_path: Path) -> None:
    async with seed_server(tmp_path, Storage()) as one:
        await running(one)
        volume = json.loads(vcr(1))["id"]
        assert (await one.call("POST", f"/instance/disk/{volume}/snapshot/{ZERO}")).status == 200
        assert (await one.call("POST", f"/instance/disk/{ZERO}/snapshot/{ZERO}")).status == 404


@in_a_loop
async def test_the_console_works_and_ends_with_the_machine(tmp_path: Path) -> None:
    async with seed_server(tmp_path, Storage()) as one:
        await running(one)
        await eventually(lambda: bool(one.events("heartbeat")))
        async with one.session.ws_connect(f"ws://{one.address}/instance/serial?from_start=0") as console:
            assert b"Lab BIOS" in (await console.receive()).data
            await one.put_state("Stop")
            frames = [frame async for frame in console]
            assert console.close_code == 1001
            assert all(frame.type is aiohttp.WSMsgType.BINARY for frame in frames)


def test_the_configuration_file_gives_boot_rom_chipset_and_devices(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        'bootrom = "/rom"\n[chipset]\nenable-pcie = true\n'
        '[block_dev.image]\ntype = "file"\npath = "/disk"\nreadonly = true\n'
        '[dev.block0]\ndriver = "pci-nvme"\nblock_dev = "image"\npci-path = "0.4.0"\n'
        '[dev.net0]\ndriver = "pci-virtio-viona"\nvnic = "v0"\npci-path = "0.5.0"\n'
        '[[pci_bridge]]\npci-path = "0.9.0"\ndownstream-bus = 1\n'
    )
    config = read_config(path)
    assert (config.bootrom, config.enable_pcie) == (Path("/rom"), True)
    assert (config.disks[0].kind, config.disks[0].path, config.disks[0].readonly) == ("nvme", "/disk", True)
    assert config.nics[0].vnic == "v0"
    assert config.bridges[0].downstream_bus == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "missing field `bootrom`"),
        ("bootrom = ", "config.toml"),
        ('bootrom = "r"\n[dev.x]\ndriver = "pc-speaker"\n', "unrecognized device type 'pc-speaker'"),
        ('bootrom = "r"\n[dev.x]\ndriver = "pci-nvme"\nblock_dev = "y"\npci-path = "0.4.0"\n', "no block_dev.y"),
        ('bootrom = "r"\n[dev.x]\ndriver = "pci-virtio-viona"\nvnic = "v"\npci-path = "0.99.0"\n', "out of range"),
    ],
)
def test_what_is_wrong_with_a_configuration_file_is_said(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=expected):
        read_config(path)


def test_a_missing_configuration_file_is_named_by_its_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No such file or directory \(os error 2\)"):
        read_config(tmp_path / "nothing")
