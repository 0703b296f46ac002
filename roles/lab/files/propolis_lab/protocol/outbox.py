# SPDX-License-Identifier: GPL-3.0-or-later
"""The sending half of a connection: what is queued in one turn of the event loop goes out in one system call.

asyncio's own transport makes one call per write and moves its whole backlog at each partial one, which halves the
throughput of large writes.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable

from .basics import Buffer

_MOST_BUFFERS = 512  # below IOV_MAX, which is 1024 on Linux


class Outbox:
    """Bytes on their way into a non-blocking socket. ``on_error`` is told once when the connection is broken."""

    def __init__(self, connection: socket.socket, on_error: Callable[[OSError], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = connection
        self._on_error = on_error
        self._queue: deque[Buffer] = deque()
        self._queued = 0
        self._flush_planned = False
        self._paused: asyncio.TimerHandle | None = None
        self._writing = False
        self._drainers: list[asyncio.Future[None]] = []
        self._closed = False

    @property
    def queued(self) -> int:
        """How many bytes wait to be sent."""
        return self._queued

    def put(self, parts: list[Buffer]) -> None:
        """Queue buffers, which must not change until they are sent. Without effect once closed."""
        if self._closed:
            return
        for part in parts:
            self._queue.append(part)
            self._queued += len(part)
        if not (self._flush_planned or self._writing or self._paused):
            self._flush_planned = True
            self._loop.call_soon(self.flush)

    async def drain(self, limit: int = 0) -> None:
        """Wait until at most ``limit`` bytes wait to be sent, or the connection is closed or broken."""
        while self._queued > limit and not self._closed:
            waiter = self._loop.create_future()
            self._drainers.append(waiter)
            await waiter

    def pause(self, seconds: float) -> None:
        """Send nothing for so long."""
        self._wait_for_room(False)  # else the loop would spin on a socket that has room
        if self._paused:
            self._paused.cancel()
        self._paused = self._loop.call_later(seconds, self._resume)

    def close(self) -> None:
        """Forget what is queued. The socket stays open."""
        self._closed = True
        self._wait_for_room(False)
        if self._paused:
            self._paused.cancel()
            self._paused = None
        self._forget_all()

    def _resume(self) -> None:
        self._paused = None
        self.flush()

    def flush(self) -> None:
        """Send now what the socket takes."""
        self._flush_planned = False
        if self._closed or self._paused:
            return
        try:
            while self._queue:
                self._forget(self._socket.sendmsg(self._first_buffers()))
        except (BlockingIOError, InterruptedError):
            self._wait_for_room(True)
        except OSError as error:
            self.close()
            self._on_error(error)
        else:
            self._wait_for_room(False)
        self._wake_drainers()

    def _first_buffers(self) -> list[Buffer]:
        if len(self._queue) <= _MOST_BUFFERS:
            return list(self._queue)
        return [self._queue[number] for number in range(_MOST_BUFFERS)]

    def _forget(self, sent: int) -> None:
        self._queued -= sent
        while sent:
            first = self._queue.popleft()
            if len(first) > sent:
                self._queue.appendleft(memoryview(first)[sent:])
                return
            sent -= len(first)

    def _forget_all(self) -> None:
        self._queue.clear()
        self._queued = 0
        self._wake_drainers()

    def _wait_for_room(self, wanted: bool) -> None:
        if wanted and not self._writing:
            self._loop.add_writer(self._socket, self.flush)
        elif self._writing and not wanted:
            self._loop.remove_writer(self._socket)
        self._writing = wanted

    def _wake_drainers(self) -> None:
        drainers, self._drainers = self._drainers, []
        for waiter in drainers:
            if not waiter.done():
                waiter.set_result(None)
