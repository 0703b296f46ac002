# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays the downstairs' halves of a recording to an upstairs, and compares what it sends.

Each replica is one listener that walks through its recorded events in order: it waits for what the recorded upstairs
sent, and sends what the recorded downstairs answered. Pings are left out and answered at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from propolis_lab.protocol.codec import decode
from propolis_lab.protocol.messages import HereIAm, Message
from wire_recordings import Event

LIMIT = 10.0
RUOK = bytes.fromhex("0800000009000000")
IMOK = bytes.fromhex("080000000a000000")


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Replica:
    """One recorded downstairs: a port, and the connections to it."""

    port: int = 0
    connections: dict[int, Connection] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)
    """The connections that it closed itself."""
    _accepted: asyncio.Queue[Connection] = field(default_factory=asyncio.Queue)
    _server: asyncio.Server | None = None

    async def start(self) -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._accepted.put((reader, writer))

        self._server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for _unused, writer in self.connections.values():
            writer.close()

    async def play(self, event: Event) -> str:
        """Let an event happen; what was wrong with it, if something was."""
        if event.kind == "connected":
            self.connections[event.connection] = await self._accepted.get()
            return ""
        reader, writer = self.connections[event.connection]
        if event.kind == "reply":
            writer.write(event.frame)
        elif event.kind == "send":
            frame = await _next_frame(reader, writer)
            return "" if frame == event.frame else _difference(event, frame)
        elif event.kind == "upstairs closed":
            frame = await _next_frame(reader, writer)
            writer.close()
            return f"ds{event.replica}: the upstairs sent something where it closed in the recording" if frame else ""
        elif event.kind == "downstairs closed":
            writer.close()
            self.closed.add(event.connection)
        return ""


async def _next_frame(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The next frame that is no ping; nothing when the upstairs has closed."""
    while True:
        try:
            head = await reader.readexactly(4)
            frame = head + await reader.readexactly(int.from_bytes(head, "little") - 4)
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        if frame != RUOK:
            return frame
        writer.write(IMOK)


def _difference(event: Event, frame: bytes) -> str:
    found = _short(decode(frame[4:])) if frame else "the connection closed"
    return f"ds{event.replica}#{event.connection}: recorded {_short(decode(event.frame[4:]))}; ours {found}"


def _short(message: Message) -> str:
    return str(message)[:400]


class Recording:
    """The three replicas of a recording.

    Each walks through its own events; with ``in_step`` one walk goes through the events of all, in recorded order.
    """

    def __init__(self, events: Iterable[Event], *, in_step: bool = False) -> None:
        self.events = [event for event in events if event.kind != "note" and event.name not in ("Ruok", "Imok")]
        self.replicas = [Replica() for _unused in range(3)]
        self.wrong: list[str] = []
        self._in_step = in_step
        self._walks: list[asyncio.Task[None]] = []

    def hellos(self) -> list[HereIAm]:
        """How each session of the recording began, in order."""
        found: list[HereIAm] = []
        for event in self.events:
            if event.name == "HereIAm":
                message = decode(event.frame[4:])
                assert isinstance(message, HereIAm)
                if message not in found:
                    found.append(message)
        return found

    def sent(self, name: str, replica: int = 0) -> list[Message]:
        """The messages of one kind that the recorded upstairs sent to a replica."""
        return [
            decode(event.frame[4:])
            for event in self.events
            if event.kind == "send" and event.name == name and event.replica == replica
        ]

    async def __aenter__(self) -> Recording:
        for replica in self.replicas:
            await replica.start()
        parts = [[event for event in self.events if event.replica == number] for number in range(3)]
        for part in [self.events] if self._in_step else parts:
            self._walks.append(asyncio.get_running_loop().create_task(self._walk(part)))
        return self

    async def __aexit__(self, *_unused: object) -> None:
        for walk in self._walks:
            walk.cancel()
        await asyncio.gather(*self._walks, return_exceptions=True)
        for replica in self.replicas:
            replica.stop()

    async def _walk(self, events: Iterable[Event]) -> None:
        for event in events:
            if wrong := await self.replicas[event.replica].play(event):
                self.wrong.append(wrong)

    async def finish(self) -> None:
        """Wait until everything recorded has happened; fails when the upstairs sent anything else."""
        _unused, late = await asyncio.wait(self._walks, timeout=LIMIT)
        assert not self.wrong, "\n".join(self.wrong)
        assert not late, f"{len(late)} of the replicas still wait for what the recorded upstairs did"
