# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that are no propolis server, at addresses where one is expected."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def answers(content_type: str, body: bytes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            """Nobody reads it."""

    return Handler


@contextmanager
def stranger(place: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> Iterator[None]:
    with ThreadingHTTPServer(place, handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def deaf(place: tuple[str, int]) -> Iterator[None]:
    """A port whose queue of connections is full: the kernel drops what comes, as a firewall does."""
    with closing(socket.create_server(place, backlog=0)), ExitStack() as clients:
        for _number in range(4):
            client = clients.enter_context(closing(socket.socket()))
            client.setblocking(False)
            client.connect_ex(place)
        yield
