# SPDX-License-Identifier: GPL-3.0-or-later
"""A bound for a whole HTTP exchange: a socket's timeout bounds each read alone, and an answer may drip for ever."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def connected(connection: http.client.HTTPConnection, seconds: float) -> Iterator[None]:
    """Open ``connection`` and hang up after ``seconds``, whatever is being read then; closed when the block ends.

    What is cut off looks like an answer that ends too early: a part of it, or http.client.HTTPException. Raises OSError
    where nothing can be connected to.
    """
    try:
        connection.connect()
        # Kept here, because http.client forgets it once it has read that the server will close.
        line = connection.sock
        clock = threading.Timer(seconds, _hang_up, [line])
        clock.daemon = True
        clock.start()
        try:
            yield
        finally:
            clock.cancel()
    finally:
        connection.close()


def _hang_up(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
