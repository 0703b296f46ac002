# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection between the two servers of a migration: frames with a tag, over a websocket or a bare TCP stream.

The tags and the version string are those of the real protocol (read in its source): a binary frame is its payload
followed by one tag byte. What the payloads hold is the lab's own: JSON where the real servers send RON, and one
sample page for each run of memory instead of all its pages. So two stand-ins migrate to each other, and a stand-in
and a real server do not.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Awaitable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from aiohttp import ClientConnectionResetError, ClientSession, ClientWebSocketResponse, WSMessage, WSMsgType, web

from propolis_lab.server.sockets import Upgraded

PROTOCOL = "propolis-migrate-ron/0"
_LENGTH = struct.Struct("<I")
_LARGEST_FRAME = 1 << 26


class Tag(IntEnum):
    """The last byte of a frame."""

    OKAY = 0
    ERROR = 1
    SERIALIZED = 2
    BLOB = 3
    PAGE = 4
    MEM_QUERY = 5
    MEM_OFFER = 6
    MEM_END = 7
    MEM_FETCH = 8
    MEM_XFER = 9
    MEM_DONE = 10


class ChannelError(Exception):
    """The peer is gone, or says something that makes no sense here."""


class RemoteError(ChannelError):
    """The peer reports that it has failed."""


class PeerGoneError(ChannelError):
    """The connection ended without a farewell, as when the peer's process dies. `writing`: it was found by a write.

    The text is that of a read in any case: a peer that waits for an answer reads once more after its write.
    """

    def __init__(self, *, writing: bool = False) -> None:
        super().__init__(f"Websocket error: {_RESET}")
        self.writing = writing


_RESET = "WebSocket protocol error: Connection reset without closing handshake"


@dataclass(frozen=True)
class Frame:
    """One message."""

    tag: Tag
    payload: bytes = b""


class Link(Protocol):
    """What carries frames: whole text or binary messages, in order. Both raise ChannelError when the peer is gone."""

    async def send_text(self, text: str) -> None: ...
    async def receive_text(self) -> str: ...
    async def send(self, data: bytes) -> None: ...
    async def receive(self) -> bytes: ...
    async def drop(self) -> None: ...


class Channel:
    """Frames over a link."""

    def __init__(self, link: Link) -> None:
        self.link = link

    async def send(self, tag: Tag, payload: bytes = b"") -> None:
        await self.link.send(payload + bytes([tag]))

    async def send_json(self, value: Any) -> None:
        await self.send(Tag.SERIALIZED, json.dumps(value, separators=(",", ":")).encode())

    async def receive(self) -> Frame:
        """The next frame; raises ChannelError, and RemoteError when the peer reports a failure."""
        data = await self.link.receive()
        if not data or data[-1] not in Tag.__members__.values():
            raise ChannelError(f"unexpected frame of {len(data)} bytes")
        frame = Frame(Tag(data[-1]), data[:-1])
        if frame.tag is Tag.ERROR:
            raise RemoteError(frame.payload.decode("utf-8", "replace"))
        return frame

    async def expect(self, tag: Tag) -> bytes:
        """The payload of the next frame, which must have this tag."""
        frame = await self.receive()
        if frame.tag is not tag:
            raise ChannelError(f"unexpected message {frame.tag.name}, expected {tag.name}")
        return frame.payload

    async def expect_json(self) -> Any:
        payload = await self.expect(Tag.SERIALIZED)
        try:
            return json.loads(payload)
        except ValueError:
            raise ChannelError("serialized data is not JSON: is the peer a real server?") from None

    async def report(self, error: str) -> None:
        """Tell the peer that this end has failed, if it still listens."""
        try:
            await self.send(Tag.ERROR, error.encode())
        except ChannelError:
            return

    async def offer(self) -> None:
        """Negotiation of the destination: offer the one version there is."""
        await self.link.send_text(PROTOCOL)
        chosen = await self.link.receive_text()
        if chosen != PROTOCOL:
            raise ChannelError(f"source instance chose protocol {chosen!r}, offered was {PROTOCOL!r}")

    async def choose(self) -> None:
        """Negotiation of the source."""
        offered = (await self.link.receive_text()).split(",")
        if PROTOCOL not in offered:
            raise ChannelError(f"no common protocol version: destination offers {offered}")
        await self.link.send_text(PROTOCOL)


def _content(message: WSMessage, kind: WSMsgType) -> Any:
    if message.type is kind:
        return message.data
    if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
        raise PeerGoneError
    raise ChannelError(f"unexpected {message.type.name} message")


class _Websocket:
    """What the two ends have in common."""

    socket: web.WebSocketResponse | ClientWebSocketResponse
    _unsent = False
    """Whether something was written already to a peer that has gone."""

    async def send_text(self, text: str) -> None:
        await self._sent(self.socket.send_str(text))

    async def send(self, data: bytes) -> None:
        await self._sent(self.socket.send_bytes(data))

    async def _sent(self, sending: Awaitable[None]) -> None:
        """As with a socket of the kernel, the first write to a peer that has gone without a word succeeds."""
        try:
            await sending
        except ClientConnectionResetError:
            if self._unsent:
                raise PeerGoneError(writing=True) from None
            self._unsent = True
        except ConnectionError as error:
            raise ChannelError(f"IO error: {error}") from None

    async def receive_text(self) -> str:
        return str(_content(await self.socket.receive(), WSMsgType.TEXT))

    async def receive(self) -> bytes:
        return bytes(_content(await self.socket.receive(), WSMsgType.BINARY))


class ServerLink(_Websocket):
    """The source's end: a websocket that the destination has opened."""

    def __init__(self, client: Upgraded) -> None:
        self.socket = client.socket
        self._client = client

    async def drop(self) -> None:
        self._client.drop()


class ClientLink(_Websocket):
    """The destination's end: a websocket to the source, with a session of its own."""

    def __init__(self, session: ClientSession, socket: ClientWebSocketResponse) -> None:
        self.socket = socket
        self._session = session

    async def drop(self) -> None:
        await self._session.close()


class StreamLink:
    """Messages over a bare stream (January 2023): four bytes of length, then the message."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send_text(self, text: str) -> None:
        await self.send(text.encode())

    async def receive_text(self) -> str:
        return (await self.receive()).decode("utf-8", "replace")

    async def send(self, data: bytes) -> None:
        try:
            self._writer.write(_LENGTH.pack(len(data)) + data)
            await self._writer.drain()
        except OSError as error:
            raise ChannelError(f"IO error: {error}") from None

    async def receive(self) -> bytes:
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if length > _LARGEST_FRAME:
                raise ChannelError(f"a frame of {length} bytes")
            return await self._reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError):
            raise ChannelError("Connection reset by peer") from None

    async def drop(self) -> None:
        self._writer.close()
