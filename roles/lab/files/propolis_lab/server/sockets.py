# SPDX-License-Identifier: GPL-3.0-or-later
"""An upgraded connection of a client, and how to end it without a farewell, as the real server does when it has
nothing to say."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True)
class Upgraded:
    """A websocket on the server's side, with the connection below it."""

    socket: web.WebSocketResponse
    transport: asyncio.BaseTransport | None

    def drop(self) -> None:
        """Close the connection after what was sent; no close frame."""
        if self.transport is not None:
            self.transport.close()
