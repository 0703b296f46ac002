# SPDX-License-Identifier: GPL-3.0-or-later
"""Things with which the tests of the lab's server run it in one process: a volume without a network, a server,
requests."""

from __future__ import annotations

import asyncio
import functools
import io
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from propolis_lab.guest.disk import DiskError
from propolis_lab.server.disks import StartError, StatusError, generation_of, parsed_request
from propolis_lab.server.environment import Environment
from propolis_lab.server.faults import Faults
from propolis_lab.server.history import History
from propolis_lab.server.log import Log
from propolis_lab.server.serve import Listener, bound_socket, today

SIZE = 1 << 20


async def eventually(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Returns when the condition is true; an error after so many seconds."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not become true"
        await asyncio.sleep(0.01)


def in_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs an asynchronous test, for thirty seconds at most."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(30):
                await test(*arguments, **named)

        asyncio.run(bounded())

    return run


FAST = {
    "phase_seconds": {name: 0.0 for name in ("Sync", "RamPushDirty", "Device", "RamPull", "Server", "Stopping")},
    "ram_bytes_per_second": 1e12,
    "nvme_stall_seconds": 0,
}


@dataclass
class Storage:
    """The one imaginary region set behind all volumes of a test: its bytes, the last generation used, and what is
    wrong with it."""

    content: bytearray = field(default_factory=lambda: bytearray(SIZE))
    stored_generation: int = 0
    reachable: asyncio.Event = field(default_factory=asyncio.Event)
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    active: FakeVolume | None = None
    released: int = 0

    def __post_init__(self) -> None:
        self.reachable.set()
        self.answers.set()

    def make(self, request_json: str, _log: Log) -> FakeVolume:
        return FakeVolume(self, request_json)


class FakeVolume:
    """Rules of generations as the real upstairs has them, without downstairs: too low fails, higher takes over."""

    block_size = 512
    size = SIZE

    def __init__(self, storage: Storage, request_json: str) -> None:
        self._storage = storage
        self.generation = generation_of(parsed_request(request_json))
        self.state = "initializing"

    async def activate(self) -> None:
        self.state = "go_active"
        await self._storage.reachable.wait()
        found = self._storage.stored_generation + 1
        if self.generation < found:
            raise StartError(
                f"Negotiation error: Generation number is too low: requested {self.generation}, found {found}"
            )
        if self._storage.active is not None:
            self._storage.active.state = "disabled"
        self._storage.active = self
        self.state = "active"

    def abandon(self) -> None:
        self._storage.released += 1
        if self._storage.active is self:
            self._storage.active = None
        self.state = "initializing"

    async def _check(self) -> None:
        await self._storage.answers.wait()
        if self.state != "active":
            raise DiskError("disk error 0x4")

    async def read(self, offset: int, length: int) -> bytes:
        await self._check()
        return bytes(self._storage.content[offset : offset + length])

    async def write(self, offset: int, data: bytes) -> None:
        await self._check()
        self._storage.content[offset : offset + len(data)] = data

    async def flush(self) -> None:
        await self._check()
        self._storage.stored_generation = max(self._storage.stored_generation, self.generation)

    def status_json(self) -> dict[str, Any]:
        upstairs = {"state": self.state, "generation": self.generation}
        return {"volume": {"sub_volumes": [{"upstairs": upstairs}], "read_only_parent": None}}

    def watch(self, changed: Callable[[], None]) -> None:
        """Nobody is told: the tests ask."""

    async def replace(self, vcr_json: str) -> str:
        if generation_of(parsed_request(vcr_json)) <= self.generation:
            raise StatusError("Invalid downstairs replace The VCRs have no difference")
        return "vcr_matches"


def vcr(generation: int, **options: Any) -> str:
    """A volume construction request as text."""
    volume = "0cedae45-3d6e-4d90-b2cb-56f1a1a42a89"
    opts = {
        "id": volume,
        "target": ["127.0.0.1:3810", "127.0.0.1:3820", "127.0.0.1:3830"],
        "lossy": False,
        "flush_timeout": None,
        "key": None,
        "read_only": False,
        **options,
    }
    region = {
        "type": "region",
        "block_size": 512,
        "blocks_per_extent": 64,
        "extent_count": 32,
        "opts": opts,
        "gen": generation,
    }
    return json.dumps(
        {"type": "volume", "id": volume, "block_size": 512, "sub_volumes": [region], "read_only_parent": None}
    )


def properties(name: str = "vm0", instance: uuid.UUID | None = None) -> dict[str, Any]:
    zero = str(uuid.UUID(int=0))
    metadata = {
        "silo_id": zero,
        "project_id": zero,
        "sled_id": zero,
        "sled_serial": "s",
        "sled_revision": 1,
        "sled_model": "m",
    }
    return {"id": str(instance or uuid.uuid4()), "name": name, "description": "", "metadata": metadata}


def spec(generation: int = 1, *, device: str = "virtio_disk", **changes: Any) -> dict[str, Any]:
    """A spec with one Crucible disk; `changes` are further components."""
    disk: dict[str, Any] = {"backend_id": "disk0-backend", "pci_path": {"bus": 0, "device": 16, "function": 0}}
    if device == "nvme_disk":
        disk["serial_number"] = [0] * 20
    components: dict[str, Any] = {
        "com1": {"type": "serial_port", "component": {"num": "com1"}},
        "disk0": {"type": device, "component": disk},
        "disk0-backend": {
            "type": "crucible_storage_backend",
            "component": {"request_json": vcr(generation), "readonly": False},
        },
        **changes,
    }
    board = {"cpus": 1, "memory_mb": 64, "chipset": {"type": "i440_fx", "value": {"enable_pcie": False}}}
    return {"board": board, "components": {name: part for name, part in components.items() if part is not None}}


def ensure_body(the_spec: dict[str, Any], **identity: Any) -> dict[str, Any]:
    return {"properties": properties(**identity), "init": {"method": "Spec", "value": {"spec": the_spec}}}


def migrate_body(source: str, replacements: dict[str, int], **identity: Any) -> dict[str, Any]:
    """A migration target that replaces the named backends by generation."""
    parts = {
        name: {"component": "CrucibleStorageBackend", "spec": {"request_json": vcr(generation), "readonly": False}}
        for name, generation in replacements.items()
    }
    value = {"migration_id": str(uuid.uuid4()), "src_addr": source, "replace_components": parts}
    return {"properties": properties(**identity), "init": {"method": "MigrationTarget", "value": value}}


@dataclass
class Reply:
    """Status, decoded body and headers of an answer."""

    status: int
    body: Any
    headers: Any


class Client:
    """Requests to one server, with the version header unless told otherwise."""

    def __init__(self, session: aiohttp.ClientSession, address: str, log: io.StringIO, history: Path) -> None:
        self.session = session
        self.address = address
        self.log = log
        self._history = history

    async def call(
        self, method: str, path: str, body: Any = None, *, version: str | None = "5.0.0", **more: Any
    ) -> Reply:
        headers = {"api-version": version} if version is not None else {}
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers.update(more.pop("headers", {"content-type": "application/json"} if body is not None else {}))
        url = f"http://{self.address}{path}"
        async with self.session.request(method, url, data=data, headers=headers, **more) as response:
            text = await response.text()
            return Reply(response.status, json.loads(text) if text else None, response.headers)

    async def ensure(self, the_spec: dict[str, Any] | None = None, **identity: Any) -> Reply:
        return await self.call("PUT", "/instance", ensure_body(the_spec or spec(), **identity))

    async def put_state(self, wanted: str) -> Reply:
        return await self.call("PUT", "/instance/state", wanted)

    async def monitor(self, generation: int) -> Reply:
        return await self.call("GET", "/instance/state-monitor", {"gen": generation})

    async def until(self, *states: str, seconds: float = 10.0) -> dict[str, Any]:
        """Wait by long poll until the instance is in one of the states."""
        async with asyncio.timeout(seconds):
            generation = 0
            while True:
                body = (await self.monitor(generation)).body
                if body.get("state") in states:
                    return body
                assert "state" in body, f"waiting for {states}: {body}"
                generation = body["gen"] + 1

    async def run(self, the_spec: dict[str, Any] | None = None, **identity: Any) -> None:
        assert (await self.ensure(the_spec, **identity)).status == 201
        assert (await self.put_state("Run")).status == 204
        await self.until("Running")

    async def console_until(self, pattern: str, seconds: float = 10.0) -> str:
        """Poll the history until the text appears; returns all of it."""
        async with asyncio.timeout(seconds):
            while True:
                reply = await self.call("GET", "/instance/serial/history?from_start=0&max_bytes=1000000")
                text = bytes(reply.body["data"]).decode()
                if pattern in text:
                    return text
                await asyncio.sleep(0.02)

    def websocket(self, path: str, **more: Any) -> Any:
        return self.session.ws_connect(f"ws://{self.address}{path}", headers={"api-version": "5.0.0"}, **more)

    def events(self, event: str | None = None) -> list[dict[str, Any]]:
        """What the server wrote to its history file."""
        lines = [json.loads(line) for line in self._history.read_text().splitlines()]
        return [line for line in lines if event in (None, line["event"])]

    def published(self) -> list[tuple[int, str, str | None, str | None]]:
        """(generation, state, migration in, migration out) of everything published."""

        def name(status: dict[str, str] | None) -> str | None:
            return status["state"] if status else None

        return [
            (line["generation"], line["state"], name(line["migration_in"]), name(line["migration_out"]))
            for line in self.events("published")
        ]


@asynccontextmanager
async def server(
    folder: Path,
    storage: Storage,
    *,
    faults: dict[str, Any] | str | None = None,
    host: str = "127.0.0.1",
    **changes: Any,
) -> AsyncIterator[Client]:
    """A server of today in this process, on a port that is free."""
    bound = bound_socket(host, 0)
    port = bound.getsockname()[1]
    bootrom = folder / "bootrom"
    bootrom.write_bytes(bytes(4096))
    history = folder / f"history-{port}"
    log = io.StringIO()
    text = faults if isinstance(faults, str) else json.dumps({**FAST, **(faults or {})})
    environment = Environment(
        listen=(host, port),
        bootrom=changes.pop("bootrom", bootrom),
        log=Log(log),
        history=History(history, f"{host}:{port}"),
        faults=Faults(text),
        make_volume=storage.make,
        **changes,
    )
    listener = Listener(environment, today(environment))
    await listener.open(bound)
    serving = asyncio.create_task(listener.serve())
    try:
        async with aiohttp.ClientSession() as session:
            yield Client(session, f"{host}:{port}", log, history)
    finally:
        serving.cancel()
        environment.history.close()
