# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for something to become true that changes only on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Changes:
    """Whoever changes something says so; whoever waits looks again."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self) -> None:
        self._event.set()

    async def next(self) -> None:
        """Wait for the next change."""
        self._event.clear()
        await self._event.wait()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds after a change, or at once."""
        while not condition():
            await self.next()
