# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's servers on the lab's upstairs and real downstairs programs: generations, takeovers and missing replicas."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lab_programs
import pytest
from propolis_lab.guest import scripted
from propolis_lab.guest.heartbeat import RING_BYTES, Ring
from propolis_lab.region import Region as StoredRegion
from propolis_lab.region import context_of
from propolis_lab.server.disks import Volume
from propolis_lab.server.log import Log
from propolis_lab.server.volumes import volume_maker
from recordings.http_compare import without_repeats
from server_fakes import Client, Storage, eventually, in_a_loop, properties, server, spec

LIMIT = 20.0
"""Seconds in which a command ends."""
BLOCKS_PER_EXTENT, EXTENTS, BLOCK = 100, 20, 512
SIZE = BLOCKS_PER_EXTENT * EXTENTS * BLOCK
BACKEND = "disk0-backend"
STATUS = f"/instance/disk/{BACKEND}/status"


@pytest.fixture(autouse=True)
def _a_fast_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripted, "TICK_SECONDS", 0.05)


class Crucible(Storage):
    """Volumes of the lab's own upstairs in place of imaginary ones."""

    def make(self, request_json: str, log: Log) -> Volume:  # type: ignore[override]
        return volume_maker(13)(request_json, log)


@dataclass
class Region:
    """One region with its downstairs process."""

    folder: Path
    port: int
    process: lab_programs.Program | None = None

    def create(self) -> None:
        words = ["create", "-d", str(self.folder), "-u", str(uuid.uuid4()), "--block-size", str(BLOCK)]
        words += ["--extent-size", str(BLOCKS_PER_EXTENT), "--extent-count", str(EXTENTS)]
        assert self._downstairs(*words).wait(LIMIT) == 0

    def start(self) -> None:
        self.process = self._downstairs("run", "-d", str(self.folder), "-p", str(self.port), "-a", "127.0.0.1")

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def wait(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert time.monotonic() < deadline, f"no downstairs on {self.port}"
                time.sleep(0.02)

    def content(self) -> bytes:
        """All blocks, by the program's own export; the process must not run."""
        image = self.folder.with_suffix(".image")
        words = ["export", "-d", str(self.folder), "--export-path", str(image)]
        assert self._downstairs(*words).wait(LIMIT) == 0
        return image.read_bytes()

    def _downstairs(self, *words: str) -> lab_programs.Program:
        here, log = self.folder.parent, self.folder.with_suffix(".log")
        words = ("propolis_lab.downstairs", *words)
        return lab_programs.start(*words, directory=here, environment=os.environ, output=log)


def free_ports(count: int) -> list[int]:
    """Ports that are free, and whose repair ports 4000 above are free too."""
    found: list[int] = []
    for port in range(20000 + os.getpid() % 20000, 61000):
        try:
            for wanted in (port, port + 4000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", wanted))
        except OSError:
            continue
        found.append(port)
        if len(found) == count:
            break
    return found


@pytest.fixture
def regions(tmp_path: Path) -> Iterator[list[Region]]:
    made = [Region(tmp_path / f"region{index}", port) for index, port in enumerate(free_ports(3))]
    for region in made:
        region.create()
        region.start()
    for region in made:
        region.wait()
    yield made
    for region in made:
        region.kill()


@dataclass
class Volumes:
    """Requests for the one volume over the regions."""

    regions: list[Region]
    id: str

    def request(self, generation: int) -> str:
        targets = [f"127.0.0.1:{region.port}" for region in self.regions]
        opts = {"id": self.id, "target": targets, "lossy": False, "read_only": False}
        region = {
            "type": "region",
            "block_size": BLOCK,
            "blocks_per_extent": BLOCKS_PER_EXTENT,
            "extent_count": EXTENTS,
            "opts": opts,
            "gen": generation,
        }
        volume = {"type": "volume", "id": self.id, "block_size": BLOCK, "sub_volumes": [region]}
        return json.dumps({**volume, "read_only_parent": None})

    def spec(self, generation: int) -> dict[str, Any]:
        backend = {"request_json": self.request(generation), "readonly": False}
        return spec(**{BACKEND: {"type": "crucible_storage_backend", "component": backend}})

    def migration(self, source: Client, generation: int) -> dict[str, Any]:
        backend = {"request_json": self.request(generation), "readonly": False}
        parts = {BACKEND: {"component": "CrucibleStorageBackend", "spec": backend}}
        value = {"migration_id": str(uuid.uuid4()), "src_addr": source.address, "replace_components": parts}
        return {"properties": properties(), "init": {"method": "MigrationTarget", "value": value}}


@asynccontextmanager
async def two(folder: Path, regions: list[Region]) -> AsyncIterator[tuple[Client, Client, Volumes]]:
    async with server(folder, Crucible()) as alpha, server(folder, Crucible()) as beta:
        yield alpha, beta, Volumes(regions, str(uuid.uuid4()))


async def upstairs(one: Client) -> dict[str, Any]:
    body = (await one.call("GET", STATUS)).body
    found: dict[str, Any] = body["volume_info"]["volume"]["sub_volumes"][0]["upstairs"]
    return found


def beats(*servers: Client) -> list[int]:
    return [line["number"] for one in servers for line in one.events("heartbeat")]


@in_a_loop
async def test_a_move_loses_no_heartbeat_on_any_replica(tmp_path: Path, regions: list[Region]) -> None:
    async with two(tmp_path, regions) as (alpha, beta, volumes):
        await alpha.run(volumes.spec(1))
        await eventually(lambda: len(beats(alpha)) >= 3)
        assert (await beta.call("PUT", "/instance", volumes.migration(alpha, 2))).status == 201
        await beta.until("Running")
        await alpha.until("Destroyed")
        now = await upstairs(beta)
        assert (now["state"], now["generation"]) == ("active", 2)
        await eventually(lambda: len(beats(beta)) >= 3)
        await beta.put_state("Stop")
        await beta.until("Destroyed")
        numbers = beats(alpha, beta)
        assert numbers == list(range(1, len(numbers) + 1))
    for region in regions:
        region.kill()
    last = [Ring(SIZE, BLOCK).last(region.content()[SIZE - RING_BYTES :]) for region in regions]
    assert all(record is not None and record.number >= numbers[-1] for record in last)


@in_a_loop
async def test_a_used_generation_loses_the_machine_after_finish(tmp_path: Path, regions: list[Region]) -> None:
    async with two(tmp_path, regions) as (alpha, beta, volumes):
        await alpha.run(volumes.spec(5))
        await eventually(lambda: len(beats(alpha)) >= 2)
        assert (await beta.call("PUT", "/instance", volumes.migration(alpha, 5))).status == 201
        await beta.until("Failed", seconds=20)
        await alpha.until("Destroyed")
        assert "Generation number is too low: requested 5, found 6" in beta.log.getvalue()
        assert (await beta.call("GET", "/instance/migration-status")).body["migration_in"]["state"] == "Finish"


@in_a_loop
async def test_a_higher_generation_takes_over_and_the_old_server_stays_running(
    tmp_path: Path, regions: list[Region]
) -> None:
    async with two(tmp_path, regions) as (alpha, beta, volumes):
        await alpha.run(volumes.spec(1))
        await eventually(lambda: len(beats(alpha)) >= 1)
        await beta.run(volumes.spec(2))
        assert (await upstairs(beta))["state"] == "active"
        async with asyncio.timeout(10):
            state = (await upstairs(alpha))["state"]
            while state == "active":
                await asyncio.sleep(0.02)
                state = (await upstairs(alpha))["state"]
        assert state == "disabled"
        assert "disk error 0x4" in await alpha.console_until("I/O error")
        assert (await alpha.call("GET", "/instance")).body["instance"]["state"] == "Running"
        await alpha.put_state("Stop")
        await alpha.until("Destroyed")


@in_a_loop
async def test_every_state_of_a_disk_is_in_the_history_in_its_order(tmp_path: Path, regions: list[Region]) -> None:
    async with two(tmp_path, regions) as (alpha, _beta, volumes):
        await alpha.run(volumes.spec(1))
        regions[1].kill()
        await eventually(lambda: _shown(alpha)[-1][1] == "offline")
        shown = without_repeats(_shown(alpha))
        assert shown[:2] == [("initializing", "new"), ("go_active", "new")]
        assert shown[-2:] == [("active", None), ("active", "offline")]
        assert (await upstairs(alpha))["targets"][1]["state"]["mode"] == "offline"


@in_a_loop
async def test_a_disk_whose_replicas_differ_says_that_they_are_reconciled_before_it_is_active(
    tmp_path: Path, regions: list[Region]
) -> None:
    regions[2].kill()
    with_dirt = StoredRegion.open(regions[2].folder)
    with_dirt.write(0, [context_of(bytes(BLOCK))], bytes(BLOCK))
    with_dirt.close()
    regions[2].start()
    await asyncio.to_thread(regions[2].wait)
    async with two(tmp_path, regions) as (alpha, _beta, volumes):
        await alpha.run(volumes.spec(1))
        lines = [line["info"]["volume"]["sub_volumes"][0]["upstairs"] for line in alpha.events("volume")]
    busy = [line for line in lines if line["reconcile_in_progress"]]
    assert busy
    assert {line["state"] for line in busy} == {"go_active"}
    assert all(target["state"]["state"] == "reconcile" for line in busy for target in line["targets"])
    assert [line["state"] for line in lines[lines.index(busy[-1]) + 1 :]][:1] == ["active"]


def _shown(one: Client) -> list[tuple[str, str | None]]:
    """State of the session, and mode of the second target unless it is active, of each line about the disk."""
    lines = [line["info"]["volume"]["sub_volumes"][0]["upstairs"] for line in one.events("volume")]
    return [(line["state"], line["targets"][1]["state"].get("mode")) for line in lines]


@in_a_loop
async def test_a_missing_replica_keeps_the_instance_starting_until_it_is_back(
    tmp_path: Path, regions: list[Region]
) -> None:
    regions[2].kill()
    async with two(tmp_path, regions) as (alpha, beta, volumes):
        await alpha.ensure(volumes.spec(1))
        await alpha.put_state("Run")
        await alpha.until("Starting")
        await beta.ensure(volumes.spec(1))
        await alpha.put_state("Stop")
        await alpha.until("Destroyed")
        assert [row[1] for row in alpha.published()] == ["Creating", "Starting", "Stopped", "Destroyed"]
        await beta.put_state("Run")
        await beta.until("Starting")
        regions[2].start()
        await asyncio.to_thread(regions[2].wait)
        await beta.until("Running", seconds=20)


@in_a_loop
async def test_another_geometry_than_the_regions_fails_the_start(tmp_path: Path, regions: list[Region]) -> None:
    async with two(tmp_path, regions) as (alpha, _beta, volumes):
        wrong = volumes.request(1).replace(f'"extent_count": {EXTENTS}', f'"extent_count": {EXTENTS // 2}')
        backend = {"type": "crucible_storage_backend", "component": {"request_json": wrong, "readonly": False}}
        await alpha.ensure(spec(**{BACKEND: backend}))
        await alpha.put_state("Run")
        await alpha.until("Failed")
        assert "block backend start() returned an error" in alpha.log.getvalue()
