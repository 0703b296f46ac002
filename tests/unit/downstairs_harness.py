# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the lab's downstairs inside a test, on free ports, and speaks its protocol to it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import random
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from propolis_lab.downstairs.logs import Logger, LogSink
from propolis_lab.downstairs.options import Mode, RunOptions
from propolis_lab.downstairs.serve import serve
from propolis_lab.protocol.messages import (
    ExtentVersions,
    ExtentVersionsPlease,
    HereIAm,
    Message,
    PromoteToActive,
    RegionInfo,
    RegionInfoPlease,
    YesItsMe,
    YouAreNowActive,
)
from propolis_lab.protocol.stream import FrameStream
from propolis_lab.region import Age, Definition, Region

ROOT_OF_LAB = Path(__file__).resolve().parents[2] / "roles" / "lab" / "files"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT_OF_LAB)}
LIMIT = 10.0
"""Seconds after which a test that waits for something has failed."""
UPSTAIRS = UUID("12345678-0000-4000-8000-0000000000a1")
SESSION = UUID("12345678-0000-4000-8000-000000000001")


class _Lines(io.StringIO):
    """A log that tells when a line comes."""

    def __init__(self) -> None:
        super().__init__()
        self.came = asyncio.Event()

    def write(self, text: str) -> int:
        self.came.set()
        return super().write(text)


@dataclass
class Running:
    """A downstairs at work."""

    options: RunOptions
    lines: _Lines
    task: asyncio.Task[int]

    @property
    def port(self) -> int:
        return self.options.port

    def records(self) -> list[dict[str, Any]]:
        """The records of its log."""
        return [json.loads(line) for line in self.lines.getvalue().splitlines()]

    def messages(self) -> list[str]:
        """The texts of its log."""
        if self.options.age is Age.JANUARY_2023:
            return [line.split(" ", 4)[4] for line in self.lines.getvalue().splitlines()]
        return [record["msg"] for record in self.records()]

    async def said(self, text: str) -> None:
        """Wait until a line of the log holds ``text``."""
        async with asyncio.timeout(LIMIT):
            while not any(text in message for message in self.messages()):
                self.lines.came.clear()
                await self.lines.came.wait()

    async def stop(self) -> None:
        """Stop it; what was written stays as it is, as after a kill."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


def free_port() -> int:
    """A port that is free together with the one 4000 above it, both below those that the kernel gives to clients."""
    while True:
        port = random.randint(10000, 28000)
        with socket.socket() as probe, socket.socket() as other, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 4000))
            return port


def make_region(
    path: Path,
    *,
    uuid: str = "12345678-0000-4000-8000-000000000001",
    extents: int = 4,
    blocks: int = 16,
    encrypted: bool = False,
    age: Age = Age.TODAY,
) -> Path:
    """A fresh region of 512-byte blocks."""
    region = Region.create(path, Definition(512, blocks, extents, UUID(uuid), encrypted), age)
    region.extend(extents)
    region.close()
    return path


async def start(path: Path, **options: Any) -> Running:
    """A downstairs on the region in ``path``, once it listens."""
    options.setdefault("port", free_port())
    run = RunOptions(path=path, address="127.0.0.1", **options)
    lines = _Lines()
    log = Logger(LogSink(as_json=run.age is Age.TODAY, stream=lines))
    task = asyncio.get_running_loop().create_task(serve(run, log))
    running = Running(run, lines, task)
    waiting = asyncio.ensure_future(running.said("listening on"))
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        waiting.cancel()
        task.result()
    await waiting
    return running


@contextlib.asynccontextmanager
async def downstairs(path: Path, **options: Any) -> AsyncIterator[Running]:
    """A downstairs for the time of a block."""
    running = await start(path, **options)
    try:
        yield running
    finally:
        await running.stop()


@contextlib.asynccontextmanager
async def downstairs_process(path: Path, port: int, faults: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The program itself on the region in ``path``, with these faults on its command line, once it listens.

    What it writes after that is to be read from its ``stdout``.
    """
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "propolis_lab.downstairs", "run", "-d", str(path)],
        *["-p", str(port), "-a", "127.0.0.1", "--faults", faults],
        stdout=asyncio.subprocess.PIPE,
        env=ENVIRONMENT,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(6 * LIMIT):
            while b"downstairs listening on" not in (line := await process.stdout.readline()):
                assert line, "the downstairs ended before it listened"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Client:
    """A connection to a downstairs, message by message."""

    def __init__(self, stream: FrameStream) -> None:
        self.stream = stream
        self._pending: list[Message] = []

    @classmethod
    async def connect(cls, port: int) -> Client:
        return cls(await FrameStream.connect("127.0.0.1", port, LIMIT))

    def send(self, *messages: Message) -> None:
        for message in messages:
            self.stream.send(message)

    async def next(self) -> Message | None:
        """The next message; None when the downstairs has closed."""
        async with asyncio.timeout(LIMIT):
            if not self._pending:
                try:
                    self._pending = await self.stream.receive()
                except ConnectionError:
                    return None
        return self._pending.pop(0) if self._pending else None

    async def ask(self, message: Message) -> Message | None:
        self.send(message)
        return await self.next()

    async def close(self) -> None:
        await self.stream.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_unused: object) -> None:
        self.stream.abort()


def hello(
    upstairs: UUID = UPSTAIRS,
    session: UUID = SESSION,
    generation: int = 1,
    *,
    version: int = 13,
    read_only: bool = False,
    encrypted: bool = False,
) -> HereIAm:
    return HereIAm(version, upstairs, session, generation, read_only, encrypted, ())


async def active(
    port: int,
    upstairs: UUID = UPSTAIRS,
    session: UUID = SESSION,
    generation: int = 1,
    *,
    version: int = 13,
    read_only: bool = False,
    encrypted: bool = False,
) -> Client:
    """A session that has come through its negotiation."""
    client = await Client.connect(port)
    client.send(
        hello(upstairs, session, generation, version=version, read_only=read_only, encrypted=encrypted),
        PromoteToActive(upstairs, session, generation),
        RegionInfoPlease(),
        ExtentVersionsPlease(),
    )
    for expected in (YesItsMe, YouAreNowActive, RegionInfo, ExtentVersions):
        found = await client.next()
        assert isinstance(found, expected), f"{expected.__name__} was expected, {found} came"
    return client


def with_session(path: Path, use: Callable[[Client, Running], Awaitable[None]], **options: Any) -> Running:
    """Run ``use`` in an active session, at generation 1, of a downstairs on ``path``; gives the downstairs."""

    async def run() -> Running:
        async with downstairs(path, **options) as running:
            read_only = options.get("mode") is Mode.READ_ONLY
            version = 1 if options.get("age") is Age.JANUARY_2023 else 13
            async with await active(running.port, read_only=read_only, version=version) as client:
                await use(client, running)
            return running

    return asyncio.run(run())


ABORTS = "The stand-in closes the connection; with the real program, the whole process aborts"
WEDGES = (
    "The stand-in closes the connection; with the real program, "
    "the job is tried again for ever and the whole process answers nobody any more"
)
