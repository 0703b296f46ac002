# SPDX-License-Identifier: GPL-3.0-or-later
"""The serial console over a websocket: history first, then live output; binary frames typed in; how it ends."""

from __future__ import annotations

import asyncio
import json

from aiohttp import WSMsgType, web

from propolis_lab.server.console import DEFAULT_HISTORY, Console, HistoryGoneError, Moved, Output
from propolis_lab.server.machine import Machine
from propolis_lab.server.sockets import Upgraded

_GOING_AWAY = 1001


async def attach(client: Upgraded, machine: Machine, start: int | None, *, announce_moves: bool = True) -> None:
    """Serve one client until it leaves or the machine does. `start` is the offset in the history to begin at."""
    socket = client.socket
    console = machine.console
    if console.ended is not None:
        client.drop()
        return
    if start is not None and not await _replay(socket, console, start):
        client.drop()
        return
    listener = console.listen(with_overlap=start is not None)
    typing = asyncio.create_task(_type(socket, machine))
    try:
        while True:
            following = asyncio.create_task(listener.next())
            await asyncio.wait({typing, following}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                following.cancel()
                client.drop()
                return
            event = following.result()
            if isinstance(event, Output):
                await socket.send_bytes(event.data)
            elif isinstance(event, Moved) and announce_moves:
                moved = {"destination": event.destination, "from_start": event.from_start}
                await socket.send_str(json.dumps({"Migrating": moved}, separators=(",", ":")))
                client.drop()
                return
            else:
                await socket.close(code=_GOING_AWAY, message=b"VM stopped")
                return
    except ConnectionError:
        return
    finally:
        console.forget(listener)
        typing.cancel()


async def _replay(socket: web.WebSocketResponse, console: Console, start: int) -> bool:
    """Send the history from an offset on; False when it is no longer kept."""
    offset = start
    while offset < console.total:
        try:
            data, offset = console.history(offset, DEFAULT_HISTORY)
        except HistoryGoneError:
            return False
        await socket.send_bytes(data)
    return True


async def _type(socket: web.WebSocketResponse, machine: Machine) -> None:
    """Binary frames are keystrokes; text frames are ignored, as on the real server."""
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            machine.typed(message.data)
