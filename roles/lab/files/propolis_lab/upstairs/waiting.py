# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for something to become true that changes only on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Changes:
    """Whoever changes something says so; whoever waits looks again, and ``listener`` is called each time."""

    def __init__(self, listener: Callable[[], None] = lambda: None) -> None:
        self._event = asyncio.Event()
        self._listener = listener

    def tell(self) -> None:
        self._event.set()
        self._listener()

    async def next(self) -> None:
        """Wait for the next change."""
        self._event.clear()
        await self._event.wait()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds after a change, or at once."""
        while not condition():
            await self.next()
