# SPDX-License-Identifier: GPL-3.0-or-later
"""COM1: keeps the first and the latest MiB of output, and hands live output to whoever listens.

`Listener` is one connected console. What the client sees of it is `console_socket`'s business.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

HISTORY_BYTES = 1024 * 1024
LIVE_CHUNK = 1024
DEFAULT_HISTORY = 16384
_FRESH_SECONDS = 0.1


class HistoryGoneError(Exception):
    """The bytes asked for are no longer kept; the text is for the client."""


@dataclass(frozen=True)
class Output:
    """Live output."""

    data: bytes


@dataclass(frozen=True)
class Moved:
    """The machine goes on at another server, whose console history has everything before `from_start`."""

    destination: str
    from_start: int


@dataclass(frozen=True)
class Stopped:
    """The machine has stopped."""


Event = Output | Moved | Stopped


class Listener:
    """A queue of events for one client."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._news = asyncio.Event()

    def push(self, event: Event) -> None:
        self._events.append(event)
        self._news.set()

    async def next(self) -> Event:
        while not self._events:
            self._news.clear()
            await self._news.wait()
        return self._events.popleft()


class Console:
    """Output history and listeners."""

    def __init__(self) -> None:
        self._first = bytearray()
        self._latest = bytearray()
        self.total = 0
        self._listeners: set[Listener] = set()
        self._last_chunk = b""
        self._last_written = 0.0
        self.ended: Event | None = None

    def write(self, data: bytes) -> None:
        """Output of the guest. The first byte goes out alone, as a serial port's does."""
        if not data:
            return
        self._remember(data)
        for chunk in (data[:1], data[1:]) if len(data) > 1 else (data,):
            for start in range(0, len(chunk), LIVE_CHUNK):
                self._last_chunk = chunk[start : start + LIVE_CHUNK]
                for listener in self._listeners:
                    listener.push(Output(self._last_chunk))
        self._last_written = time.monotonic()

    def _remember(self, data: bytes) -> None:
        room = HISTORY_BYTES - len(self._first)
        self._first += data[:room]
        self._latest += data[room:]
        if len(self._latest) > HISTORY_BYTES:
            del self._latest[: len(self._latest) - HISTORY_BYTES]
        self.total += len(data)

    def history(self, start: int, most: int) -> tuple[bytes, int]:
        """At most `most` bytes from offset `start`, and the offset behind them; raises HistoryGoneError."""
        if start >= self.total:
            return b"", self.total
        if start < len(self._first):
            data = bytes(self._first[start : start + most])
            if len(data) < most and len(self._first) + len(self._latest) == self.total:
                data += bytes(self._latest[: most - len(data)])
            return data, start + len(data)
        begin = self.total - len(self._latest)
        if start < begin:
            raise HistoryGoneError(
                f"Requested byte offset {start} is no longer cached: bytes {len(self._first)} to {begin} were dropped"
            )
        data = bytes(self._latest[start - begin : start - begin + most])
        return data, start + len(data)

    def offset_of_most_recent(self, count: int) -> int:
        return max(0, self.total - count)

    def listen(self, *, with_overlap: bool) -> Listener:
        """A new listener. With overlap it first gets the last chunk once more if that is fresh: the real one does
        that too."""
        listener = Listener()
        if with_overlap and self._last_chunk and time.monotonic() - self._last_written < _FRESH_SECONDS:
            listener.push(Output(self._last_chunk))
        self._listeners.add(listener)
        return listener

    def forget(self, listener: Listener) -> None:
        self._listeners.discard(listener)

    def end(self, event: Moved | Stopped) -> None:
        """Tell all listeners; there is no live console afterwards."""
        self.ended = event
        for listener in self._listeners:
            listener.push(event)

    def to_json(self) -> dict[str, Any]:
        """Everything that moves to another server."""
        return {
            "first": base64.b64encode(self._first).decode(),
            "latest": base64.b64encode(self._latest).decode(),
            "total": self.total,
        }

    def restore(self, value: dict[str, Any]) -> None:
        """Put the history of another server before what was written here since."""
        since = bytes(self._first) + bytes(self._latest)
        self._first = bytearray(base64.b64decode(value["first"]))
        self._latest = bytearray(base64.b64decode(value["latest"]))
        self.total = int(value["total"])
        if since:
            self._remember(since)
