# SPDX-License-Identifier: GPL-3.0-or-later
"""The websocket of a serial console: typing into it, and being told that there is news or that the machine moves.

The bytes of the output are not taken from here. A live console repeats the end of the history it began with (seen),
and loses what is said while it is away; the history endpoint counts every byte once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .address import Address
from .errors import BadAddress, MissingLibrary, Unreachable
from .server import Server

try:
    import websocket
except ImportError:
    HAS_WEBSOCKET = False
else:
    HAS_WEBSOCKET = True

_TEXT, _BINARY, _CLOSE = 1, 2, 8  # opcodes of RFC 6455


def require_websocket() -> None:
    """Raise MissingLibrary where the Python library for consoles is not installed."""
    if not HAS_WEBSOCKET:
        raise MissingLibrary("The Python library websocket-client is needed for serial consoles; install it here.")


class News(Enum):
    """What a console tells."""

    NOTHING = "nothing"  # not within the time
    OUTPUT = "output"
    MOVES = "moves"  # the machine is handed over to another server
    CLOSED = "closed"


@dataclass(frozen=True)
class Told:
    """One piece of news; ``destination`` is where the machine goes, where that could be read."""

    news: News
    destination: Address | None = None


def read_move(payload: bytes) -> Told | None:
    """Read ``{"Migrating": {"destination": "IP:port", "from_start": n}}``; None for any other text.

    The destination is the address that its server listens on. That may be 0.0.0.0, which means nothing to others.
    """
    try:
        message = json.loads(payload.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    moving = message.get("Migrating") if isinstance(message, dict) else None
    if not isinstance(moving, dict):
        return None
    given = moving.get("destination")
    try:
        address = Address.parse(given) if isinstance(given, str) else None
    except BadAddress:
        address = None
    return Told(News.MOVES, None if address is None or address.is_wildcard else address)


class Socket:
    """One connection to a console; opened without history. Raises Unreachable when it cannot be opened."""

    def __init__(self, server: Server, timeout: float) -> None:
        require_websocket()
        self._server = server
        try:
            # The user's proxies are not for machines of a lab network.
            self._socket: Any = websocket.create_connection(
                server.console_url(),
                timeout=timeout,
                header=[f"{name}: {value}" for name, value in server.console_headers().items()],
                http_no_proxy=["*"],
                redirect_limit=0,
            )
        except (websocket.WebSocketException, OSError, ValueError) as error:
            raise Unreachable(f"{server} does not open its console: {type(error).__name__}.") from error

    def listen(self, seconds: float) -> Told:
        """The next news within ``seconds``."""
        try:
            self._socket.settimeout(max(seconds, 0.001))
            opcode, payload = self._socket.recv_data()
        except websocket.WebSocketTimeoutException:
            return Told(News.NOTHING)
        except (websocket.WebSocketException, OSError, ValueError):
            return Told(News.CLOSED)
        if opcode == _CLOSE:
            return Told(News.CLOSED)
        if opcode == _TEXT:
            return read_move(payload) or Told(News.OUTPUT)
        return Told(News.OUTPUT)

    def type(self, data: bytes) -> None:
        """Send keystrokes. Raises Unreachable when the connection is gone."""
        try:
            self._socket.send_binary(data)
        except (websocket.WebSocketException, OSError) as error:
            raise Unreachable(f"{self._server} closed its console while lines were typed into it.") from error

    def close(self) -> None:
        try:
            # Servers of this kind just drop the connection; waiting for their goodbye would only cost time.
            self._socket.shutdown()
        except (websocket.WebSocketException, OSError):
            return
