# SPDX-License-Identifier: GPL-3.0-or-later
"""A lock for many readers or one writer; a writer that waits keeps new readers out.

The real server's locks are of this kind, and two of its traps come from that: a request that holds the instance for
reading while it waits for the state driver hangs the whole API as soon as the driver wants to write.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class RwLock:
    """First come, first served; readers next to each other in the queue share the lock."""

    def __init__(self) -> None:
        self._readers = 0
        self._writing = False
        self._waiting: deque[tuple[bool, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[None]:
        await self._acquire(write=False)
        try:
            yield
        finally:
            self._readers -= 1
            self._wake()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[None]:
        await self._acquire(write=True)
        try:
            yield
        finally:
            self._writing = False
            self._wake()

    def _grant(self, write: bool) -> bool:
        if self._writing or (write and self._readers):
            return False
        if write:
            self._writing = True
        else:
            self._readers += 1
        return True

    async def _acquire(self, *, write: bool) -> None:
        if not self._waiting and self._grant(write):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((write, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                if write:
                    self._writing = False
                else:
                    self._readers -= 1
            else:
                self._waiting = deque(entry for entry in self._waiting if entry[1] is not turn)
            self._wake()
            raise

    def _wake(self) -> None:
        while self._waiting:
            write, turn = self._waiting[0]
            if turn.cancelled():
                self._waiting.popleft()
                continue
            if not self._grant(write):
                return
            self._waiting.popleft()
            turn.set_result(None)
