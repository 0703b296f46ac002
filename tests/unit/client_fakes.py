# SPDX-License-Identifier: GPL-3.0-or-later
"""Small servers in threads for the client's tests: odd ones that misbehave, and one that plays a propolis server.

The playing one has no disks and no guest: what it publishes is scripted by the test. Whole behaviour is the lab's
server's business; this one exists for moments that no healthy server shows.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REQUEST_ID = "0f3c1b1e-7f0a-4d5e-9d0a-5b6f6f0d7a10"


@dataclass(frozen=True)
class Said:
    """A request as it arrived; ``body`` is the parsed JSON, None without one."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """An answer. ``body`` is sent as it is when it is bytes, else as JSON; None sends none."""

    status: int
    body: Any = None
    content_type: str = "application/json"


def refusal(status: int, message: str, error_code: str | None = None) -> Reply:
    """An error body as dropshot writes it."""
    body = {"request_id": REQUEST_ID, "message": message}
    if error_code is not None:
        body["error_code"] = error_code
    return Reply(status, body)


NO_INSTANCE = refusal(424, "Server not initialized (no instance)", "NoInstance")
SEED_INTERNAL = refusal(500, "Internal Server Error", "Internal")


@contextmanager
def http_server(answer: Callable[[Said], Reply]) -> Iterator[str]:
    """Serve ``answer`` on a loopback port; yields ``IP:PORT``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_exchange(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            raw = self.rfile.read(length)
            headers = {key.lower(): value for key, value in self.headers.items()}
            reply = answer(Said(self.command, self.path, headers, json.loads(raw) if raw else None))
            body = b"" if reply.body is None else reply.body
            if not isinstance(body, bytes):
                body = json.dumps(body).encode()
            self.send_response(reply.status)
            if reply.body is not None:
                self.send_header("content-type", reply.content_type)
            if 300 <= reply.status < 400:
                self.send_header("location", "http://192.0.2.1/")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    for method in ("GET", "PUT", "POST"):
        setattr(Handler, f"do_{method}", Handler.handle_exchange)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # clients that hang up in the middle are what some tests are about

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def raw_server(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """Accept connections and let ``behave`` do what it likes with each; yields ``IP:PORT``."""
    listener = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            behave(connection)

    def accept() -> None:
        while not done.is_set():
            try:
                connection, _peer = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        done.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def drip(connection: socket.socket) -> None:
    """Answer one byte at a time, for ever: each read succeeds, the answer never ends."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.02)


def silence(connection: socket.socket) -> None:
    """Take everything and never answer."""
    while connection.recv(65536):
        pass


class FakePropolis:
    """Plays a server of API 1.0.0 to 5.0.0, or of January 2023 (``api`` is ``2023-01``)."""

    def __init__(self, api: str = "5.0.0") -> None:
        self.api = api
        self.said: list[Said] = []
        self.instance: dict[str, str] | None = None
        self.published: list[tuple[int, str]] = []
        self.spec: Any = None
        self.disk_status: Any = {"active": True}
        self.migration: Any = {"migration_in": None, "migration_out": None}
        self.scripts = {
            "Run": ["Starting", "Running"],
            "Stop": ["Stopping", "Stopped", "Destroyed"],
            "Reboot": ["Rebooting", "Running"],
        }
        self.instead: dict[tuple[str, str], Reply] = {}
        """Answers that take the place of the usual ones, by method and path."""
        self._changed = threading.Condition()

    # -- what tests do ---------------------------------------------------------------------------------------------

    def hold(self, id: str, name: str, *states: str) -> None:
        """Hold an instance that has published ``states``."""
        with self._changed:
            self.instance = {"id": id, "name": name}
            first = 0 if self.is_seed else 1
            self.published = [(first + number, state) for number, state in enumerate(states)]
            self._changed.notify_all()

    def publish(self, *states: str) -> None:
        with self._changed:
            for state in states:
                self.published.append((self.published[-1][0] + 1, state))
            self._changed.notify_all()

    @property
    def is_seed(self) -> bool:
        return self.api == "2023-01"

    @property
    def state(self) -> str:
        return self.published[-1][1]

    def bodies(self, method: str, path: str) -> list[Any]:
        return [said.body for said in self.said if (said.method, said.path) == (method, path)]

    @contextmanager
    def serve(self) -> Iterator[str]:
        with http_server(self.answer) as address:
            yield address

    # -- what it answers -------------------------------------------------------------------------------------------

    def answer(self, said: Said) -> Reply:
        self.said.append(said)
        if not self.is_seed:
            version = said.headers.get("api-version")
            if version is None:
                return refusal(400, 'missing expected header "api-version"')
            if [int(part) for part in version.split(".")] > [int(part) for part in self.api.split(".")]:
                return refusal(400, f"server does not support this API version: {version}")
        instead = self.instead.get((said.method, said.path))
        if instead is not None:
            return instead
        routes: dict[tuple[str, str], Callable[[Said], Reply]] = {
            ("GET", "/instance"): self._get,
            ("PUT", "/instance"): self._ensure,
            ("GET", "/instance/spec"): self._get_spec,
            ("PUT", "/instance/state"): self._change,
            ("GET", "/instance/state-monitor"): self._monitor,
            ("GET", "/instance/migration-status"): self._migration,
            ("GET", "/instance/migrate/status"): self._seed_migration,
        }
        if said.path.startswith("/instance/disk/") and not self.is_seed:
            return self._disk(said)
        route = routes.get((said.method, said.path))
        only_seed, only_later = "/instance/migrate/status", "/instance/migration-status"
        if route is None or said.path == (only_later if self.is_seed else only_seed):
            return refusal(404, "Not Found")
        return route(said)

    def _nothing(self) -> Reply:
        return SEED_INTERNAL if self.is_seed else NO_INSTANCE

    def _properties(self) -> dict[str, Any]:
        assert self.instance is not None
        nil = "00000000-0000-0000-0000-000000000000"
        properties: dict[str, Any] = {**self.instance, "description": "made by a test"}
        if self.is_seed:
            return {**properties, "image_id": nil, "bootrom_id": nil, "memory": 1024, "vcpus": 4}
        metadata = {"silo_id": nil, "project_id": nil, "sled_id": nil}
        return {**properties, "metadata": {**metadata, "sled_serial": "s", "sled_revision": 1, "sled_model": "m"}}

    def _get(self, said: Said) -> Reply:
        if self.instance is None:
            return self._nothing()
        instance = {"properties": self._properties(), "state": self.state}
        if self.is_seed:
            instance |= {"disks": [], "nics": []}
        return Reply(200, {"instance": instance})

    def _ensure(self, said: Said) -> Reply:
        if self.instance is not None and self.state not in ("Destroyed", "Failed"):
            return SEED_INTERNAL if self.is_seed else refusal(409, "instance already initialized", "AlreadyInitialized")
        properties = said.body["properties"]
        self.hold(properties["id"], properties["name"], "Creating")
        if not self.is_seed and said.body["init"]["method"] == "Spec":
            self.spec = {"type": "Present", "value": said.body["init"]["value"]["spec"]}
            if said.headers["api-version"] == "1.0.0":
                self.spec["value"] = {"version": "V0", "spec": self.spec["value"]}
        return Reply(201, {"migrate": None})

    def _get_spec(self, said: Said) -> Reply:
        if self.instance is None or self.spec is None:
            return self._nothing()
        return Reply(200, {"properties": self._properties(), "state": self.state, "spec": self.spec})

    def _change(self, said: Said) -> Reply:
        if self.instance is None or self.state in ("Destroyed", "Failed"):
            return self._nothing()
        if said.body != "Run" or self.state == "Creating":
            self.publish(*self.scripts[said.body])
        return Reply(204)

    def _monitor(self, said: Said) -> Reply:
        if self.instance is None:
            return self._nothing()
        wanted = said.body["gen"]
        with self._changed:
            if self.published[-1][0] < wanted and self.state in ("Destroyed", "Failed"):
                text = f"No instance present; will never reach generation {wanted}"
                return refusal(503 if self.is_seed else 410, text, None if self.is_seed else "NoInstance")
            if not self._changed.wait_for(lambda: self.published[-1][0] >= wanted, timeout=20):
                raise TimeoutError("the test has forgotten a long poll")
            generation, state = self.published[-1]
        answer: dict[str, Any] = {"gen": generation, "state": state}
        if not self.is_seed:
            answer["migration"] = self.migration
        return Reply(200, answer)

    def _migration(self, said: Said) -> Reply:
        return self._nothing() if self.instance is None else Reply(200, self.migration)

    def _seed_migration(self, said: Said) -> Reply:
        if not isinstance(said.body, dict) or "migration_id" not in said.body:
            return refusal(400, "unable to parse JSON body: missing field `migration_id`")
        return self._nothing() if self.instance is None else Reply(200, self.migration)

    def _disk(self, said: Said) -> Reply:
        if self.instance is None or self.state in ("Destroyed", "Failed"):
            return NO_INSTANCE
        return Reply(200, self.disk_status)
