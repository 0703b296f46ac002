# SPDX-License-Identifier: GPL-3.0-or-later
"""Downstairs played by a test: they give the usual answers, or any others that the test wants."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from uuid import UUID

from propolis_lab.protocol.basics import EMPTY, SocketAddress
from propolis_lab.protocol.codec import decode, encode
from propolis_lab.protocol.errors import CrucibleError
from propolis_lab.protocol.messages import (
    ExtentLiveAckId,
    ExtentLiveNoOp,
    ExtentLiveReopen,
    ExtentLiveRepair,
    ExtentLiveRepairAckId,
    ExtentVersions,
    ExtentVersionsPlease,
    Flush,
    FlushAck,
    HereIAm,
    Imok,
    LastFlush,
    Message,
    PromoteToActive,
    ReadRequest,
    ReadResponse,
    RegionDefinition,
    RegionInfo,
    RegionInfoPlease,
    Ruok,
    Write,
    WriteAck,
    YesItsMe,
    YouAreNowActive,
)
from propolis_lab.upstairs import Settings, Upstairs
from volumes import QUICK, Notes, region_request, volume_request

BLOCK = 512
Answer = Callable[[Message], list[Message] | None]
"""What a played downstairs says to a message; None closes the connection."""


class Played:
    """A downstairs whose every answer can be changed, and that remembers what it was sent."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.port = 0
        self.received: list[Message] = []
        self.instead: dict[type[Message], Answer] = {}
        self.server: asyncio.Server | None = None
        self.writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        for writer in self.writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readexactly(4)
                message = decode(await reader.readexactly(int.from_bytes(head, "little") - 4))
                self.received.append(message)
                answers = self.instead.get(type(message), self.usual)(message)
                if answers is None:
                    break
                writer.write(b"".join(map(encode, answers)))
        writer.close()

    def usual(self, message: Message) -> list[Message]:  # noqa: PLR0911 -- one for each message
        match message:
            case HereIAm():
                return [YesItsMe(message.version, SocketAddress(ip_address("127.0.0.1"), 9))]
            case PromoteToActive():
                return [YouAreNowActive(message.upstairs_id, message.session_id, message.generation)]
            case RegionInfoPlease():
                return [RegionInfo(RegionDefinition(BLOCK, 16, 9, 4, UUID(int=self.number + 1), False))]
            case ExtentVersionsPlease():
                return [ExtentVersions((0,) * 4, (0,) * 4, (False,) * 4)]
            case Write():
                return [WriteAck(message.upstairs_id, message.session_id, message.job_id, None)]
            case Flush():
                return [FlushAck(message.upstairs_id, message.session_id, message.job_id, None)]
            case ReadRequest():
                return [read_answer(message, (EMPTY,) * message.count, bytes(BLOCK * message.count))]
            case ExtentLiveNoOp() | ExtentLiveReopen():
                return [ExtentLiveAckId(message.upstairs_id, message.session_id, message.job_id, None)]
            case ExtentLiveRepair():
                return [ExtentLiveRepairAckId(message.upstairs_id, message.session_id, message.job_id, None)]
            case Ruok():
                return [Imok()]
            case LastFlush():
                return []
        raise AssertionError(f"nobody thought of {message}")


def read_answer(request: ReadRequest, blocks: object, data: bytes) -> ReadResponse:
    assert isinstance(blocks, tuple | CrucibleError)
    return ReadResponse(request.upstairs_id, request.session_id, request.job_id, blocks, data)


@contextlib.asynccontextmanager
async def played(settings: Settings = QUICK, log: Notes | None = None) -> AsyncIterator[tuple[Upstairs, list[Played]]]:
    """Three played downstairs and an upstairs for them."""
    three = [Played(number) for number in range(3)]
    for one in three:
        await one.start()
    request = Upstairs.parse(volume_request(region_request([one.port for one in three])))
    volume = Upstairs(request, log=log or Notes(), settings=settings)
    try:
        yield volume, three
    finally:
        volume.abandon()
        for one in three:
            await one.stop()


def says(*answers: Message) -> Answer:
    return lambda _message: list(answers)
