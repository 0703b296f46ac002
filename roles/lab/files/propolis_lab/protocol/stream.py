# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages over one TCP connection on an event loop, received as they come and sent in gathered calls."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections import deque
from collections.abc import Iterable
from typing import TypeAlias

from .basics import Buffer
from .codec import decode, encode_parts
from .errors import CodecError
from .faults import Faults, Rule
from .frames import FrameCutter
from .messages import Message
from .outbox import Outbox

Endpoint: TypeAlias = tuple[str, int]
_UNREAD_LIMIT = 16 * 1024 * 1024
_NO_FAULTS = Faults()


class FrameStream:
    """A connected, non-blocking socket that carries messages.

    ``port`` is the data port of the downstairs at the one end, by which faults are chosen. Made and used on a running
    event loop of the selector kind.
    """

    def __init__(self, connection: socket.socket, port: int, faults: Faults = _NO_FAULTS) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peer: Endpoint = connection.getpeername()[:2]
        self.last_received = asyncio.get_running_loop().time()
        """The time, of the loop's monotonic clock, at which bytes last arrived."""
        self._loop = asyncio.get_running_loop()
        self._socket = connection
        self._port = port
        self._faults = faults
        self._cutter = FrameCutter()
        self._received: list[Message] = []
        self._unread = 0
        self._reading = True
        self._ended: Exception | None = None  # EOFError when the other side closed
        self._held: deque[Buffer] = deque()  # frames that a delay holds back
        self._holding = False
        self._doom: Rule | None = None  # a requested end that waits until all before it is done
        self._reader: asyncio.Future[None] | None = None
        self._outbox = Outbox(connection, self._end)
        self._closed = False
        self._loop.add_reader(connection, self._on_readable)

    @classmethod
    async def connect(cls, host: str, port: int, within: float, faults: Faults = _NO_FAULTS) -> FrameStream:
        """A stream to a downstairs, ``within`` so many seconds. Raises OSError, of which TimeoutError is one kind."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            async with asyncio.timeout(within):
                await asyncio.get_running_loop().sock_connect(connection, (host, port))
            if faults.refuses(port):
                raise ConnectionRefusedError(f"A requested fault refuses connections to port {port}.")
            return cls(connection, port, faults)
        except BaseException:
            connection.close()
            raise

    # Receiving

    async def receive(self) -> list[Message]:
        """All messages that have arrived, at least one; an empty list when the other side has closed.

        Raises CodecError for bytes that are not a message and OSError for a broken connection, both after the messages
        before them were given out.
        """
        while not self._received:
            self._strike()
            if isinstance(self._ended, EOFError):
                return []
            if self._ended is not None:
                raise self._ended
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        messages, self._received, self._unread = self._received, [], 0
        if not self._reading and self._ended is None and self._doom is None and not self._closed:
            self._loop.add_reader(self._socket, self._on_readable)
            self._reading = True
        return messages

    def _on_readable(self) -> None:
        try:
            count = self._socket.recv_into(self._cutter.space())
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        if count == 0:
            self._end(EOFError("the other side closed the connection"))
            return
        self.last_received = self._loop.time()
        self._unread += count
        self._take(self._cutter.advance(count))
        if self._cutter.error is not None:
            self._end(self._cutter.error)
        elif self._unread > _UNREAD_LIMIT and self._reading:
            self._stop_reading()

    def _take(self, bodies: Iterable[Buffer]) -> None:
        if self._holding:
            self._held.extend(bodies)
            return
        if not self._faults:
            for body in bodies:
                if not self._decode(body):
                    break
        else:
            self._held.extend(bodies)
            self._take_with_faults()
        if self._received:
            self._wake()

    def _take_with_faults(self) -> None:
        while self._held and not self._holding and not self._closed:
            body = self._held.popleft()
            rule = self._faults.of_message("receive", int.from_bytes(body[:4], "little"), self._port)
            if rule is not None and rule.do in ("die", "close"):
                self._doom = rule
                self._held.clear()
                self._stop_reading()
                if not self._received:
                    self._strike()
                return
            if rule is not None and rule.do == "delay":
                self._holding = True
                self._held.appendleft(body)
                self._loop.call_later(rule.seconds or 0, self._release)
                return
            changed = _harmed(rule, [body])
            if changed and not self._decode(changed[0]):
                return

    def _release(self) -> None:
        if self._closed:
            return
        self._holding = False
        if self._decode(self._held.popleft()):
            self._take_with_faults()
        if not self._holding and not self._held and self._ended is not None:
            self._wake()
        if self._received:
            self._wake()

    def _decode(self, body: Buffer) -> bool:
        try:
            self._received.append(decode(body))
        except CodecError as error:
            self._end(error)
            return False
        return True

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _stop_reading(self) -> None:
        if self._reading:
            self._loop.remove_reader(self._socket)
            self._reading = False

    def _end(self, reason: Exception) -> None:
        self._stop_reading()
        if self._ended is None:
            self._ended = reason
        if not self._holding:
            self._wake()

    # Sending

    def send(self, message: Message) -> None:
        """Queue a message; it goes out before the loop waits again. Dropped when the connection is closed or broken.

        Bulk data of the message must not change until then. Raises CodecError for a message that has no frame.
        """
        parts = encode_parts(message)
        if self._faults and not self._closed:
            rule = self._faults.of_message("send", message.tag, self._port)
            if rule is not None and rule.do == "delay":
                self._outbox.pause(rule.seconds or 0)
            elif rule is not None and rule.do in ("die", "close"):
                self._doom = rule
                self._strike()
            parts = _harmed(rule, parts)
        self._outbox.put(parts)

    @property
    def queued(self) -> int:
        """How many bytes wait to be sent."""
        return self._outbox.queued

    async def drain(self, limit: int = 0) -> None:
        """Wait until at most ``limit`` bytes wait to be sent, or the connection is closed or broken."""
        await self._outbox.drain(limit)

    def _strike(self) -> None:
        """End as a fault asked for: what was received before is done, and what was answered goes out first."""
        if self._doom is None:
            return
        self._outbox.flush()
        if self._doom.do == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        self.abort()

    # The end

    async def close(self, within: float = 5.0) -> None:
        """Send what is queued, for ``within`` seconds at most, then close."""
        try:
            async with asyncio.timeout(within):
                await self.drain()
        except TimeoutError:
            pass  # the other side does not read; what it does not take is lost with the connection
        self.abort()

    def abort(self) -> None:
        """Close now; what is queued is lost, a waiting ``receive`` gets an empty list."""
        if self._closed:
            return
        self._end(EOFError("closed on this side"))
        self._closed = True
        self._held.clear()
        self._outbox.close()
        self._socket.close()
        self._wake()

    @property
    def closed(self) -> bool:
        """Whether this side has closed."""
        return self._closed


def _harmed(rule: Rule | None, parts: list[Buffer]) -> list[Buffer]:
    """What a fault leaves of a frame: nothing, damaged bytes, or the frame as it was."""
    if rule is None or rule.do == "delay":
        return parts
    if rule.do != "corrupt":
        return []
    frame = bytearray(b"".join(parts))
    if -len(frame) <= rule.byte < len(frame):
        frame[rule.byte] ^= 0xFF
    return [frame]
