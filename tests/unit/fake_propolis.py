# SPDX-License-Identifier: GPL-3.0-or-later
"""A small propolis server on a thread: answers like the recorded ones and follows a script of phases. Tests only."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from typing import Any

METADATA = {
    "silo_id": "00000000-0000-0000-0000-000000000001",
    "project_id": "00000000-0000-0000-0000-000000000002",
    "sled_id": "00000000-0000-0000-0000-000000000003",
    "sled_serial": "s",
    "sled_revision": 1,
    "sled_model": "m",
}
VOLUME_ID = "b0ecbd89-70bd-4ca6-aa86-d36bc0555930"
TARGETS = ["127.0.0.1:3810", "127.0.0.1:3820", "127.0.0.1:3830"]
TEN = "000102030405060708090a0b0c0d0e0f"


def request_for(
    generation: int, volume: str = VOLUME_ID, targets: list[str] | None = None, **more: Any
) -> dict[str, Any]:
    """A volume construction request as the recorded ones."""
    opts = {
        "id": volume,
        "target": targets or TARGETS,
        "lossy": False,
        "flush_timeout": None,
        "key": None,
        "cert_pem": None,
        "key_pem": None,
        "root_cert_pem": None,
        "control": None,
        "read_only": False,
    }
    region = {
        "type": "region",
        "block_size": 512,
        "blocks_per_extent": 100,
        "extent_count": 20,
        "gen": generation,
        "opts": opts,
    }
    return {
        "type": "volume",
        "id": volume,
        "block_size": 512,
        "sub_volumes": [region | more],
        "read_only_parent": None,
    }


class FakeServer:
    """One server. ``state`` None means that it holds no instance. Everything may be changed at any time."""

    def __init__(self, host: str, *, dialect: str = "5.0.0") -> None:
        self.dialect = dialect
        self.instance_id: str | None = None
        self.name = "vm0"
        self.state: str | None = None
        self.migration_in: dict[str, str] | None = None
        self.migration_out: dict[str, str] | None = None
        self.generation = 0
        self.disks: dict[str, dict[str, Any]] = {}
        self.device = "virtio_disk"
        self.extra_components: dict[str, Any] = {}
        self.targets_state: dict[str, dict[str, str]] = {}
        self.upstairs_state = "active"
        self.disk_status_answer: tuple[int, dict[str, Any]] | None = None
        self.requests: list[tuple[str, str, Any]] = []
        self.on_put: Callable[[FakeServer, dict[str, Any]], tuple[int, Any]] | None = None
        self.on_state: Callable[[FakeServer, str], tuple[int, Any]] | None = None
        self.hangs = False
        self.unanswered: SimpleQueue[str] = SimpleQueue()  # paths of requests that came while it hung
        self.history = b""
        self.history_starts = 0  # bytes before this are no longer kept
        self.typed = bytearray()
        self.on_typed: Callable[[FakeServer, bytes], None] | None = None
        self.raw_console: bytes | None = None
        self.console_refuses = False
        self._changed = threading.Condition()
        self._asked = threading.local()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

            def _any(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                fake._answer(self, body)

        for method in ("GET", "PUT", "POST"):
            setattr(Handler, f"do_{method}", Handler._any)

        class Listener(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self._listener = Listener((host, 0), Handler)
        self.address = f"{host}:{self._listener.server_address[1]}"
        self._dead = False
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    # --- what a test does to it ---------------------------------------------------------------------------------

    def kill(self) -> None:
        """Die like a killed process: the port refuses, open connections break."""
        if self._dead:
            return
        self._dead = True
        self._listener.shutdown()
        self._listener.server_close()
        with self._changed:
            self._changed.notify_all()

    def publish(
        self, state: str | None = None, *, out: str | None = None, into: str | None = None, id: str = ""
    ) -> None:
        """Publish a new state, as the server's state driver does."""
        with self._changed:
            if state is not None:
                self.state = state
            if out is not None:
                self.migration_out = {"id": id or (self.migration_out or {}).get("id", ""), "state": out}
            if into is not None:
                self.migration_in = {"id": id or (self.migration_in or {}).get("id", ""), "state": into}
            self.generation += 1
            self._changed.notify_all()

    def holds(self, instance_id: str, state: str, disks: dict[str, dict[str, Any]], name: str = "vm0") -> None:
        self.instance_id, self.name, self.disks = instance_id, name, disks
        self.generation = 0
        self.publish(state)

    def say(self, data: bytes, *, frame: bool = True) -> None:
        """The guest says something: it is in the history, and every open console gets a frame."""
        self.history += data
        if frame:
            self._to_consoles(2, data)

    def announce_move(self, destination: str, from_start: int) -> None:
        """The text frame of a migration; the connection is dropped after it."""
        text = json.dumps({"Migrating": {"destination": destination, "from_start": from_start}})
        self._to_consoles(1, text.encode())
        self.drop_consoles()

    def drop_consoles(self) -> None:
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._connections.clear()

    def _to_consoles(self, opcode: int, payload: bytes) -> None:
        length = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + struct.pack(">H", len(payload))
        for connection in list(self._connections):
            try:
                connection.sendall(bytes([0x80 | opcode]) + length + payload)
            except OSError:
                continue

    def _console(self, handler: BaseHTTPRequestHandler) -> None:
        """A websocket as simple as it can be: frames below 64 KiB, and no extensions."""
        key = handler.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode(), usedforsecurity=False).digest()).decode()
        handler.connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
            b"sec-websocket-accept: " + accept.encode() + b"\r\n\r\n"
        )
        handler.close_connection = True
        if self.raw_console is not None:
            handler.connection.sendall(self.raw_console)
            return
        if self.state in (None, "Destroyed", "Failed"):
            return
        self._connections.append(handler.connection)
        while True:
            head = handler.rfile.read(2)
            if len(head) < 2:
                return
            length = head[1] & 0x7F
            if length == 126:
                length = struct.unpack(">H", handler.rfile.read(2))[0]
            mask = handler.rfile.read(4)
            data = bytes(byte ^ mask[index % 4] for index, byte in enumerate(handler.rfile.read(length)))
            if head[0] & 0x0F == 8:
                return
            if head[0] & 0x0F == 2:
                self.typed += data
                if self.on_typed is not None:
                    self.on_typed(self, data)

    # --- answering ----------------------------------------------------------------------------------------------

    def _answer(self, handler: BaseHTTPRequestHandler, body: Any) -> None:
        if self.hangs:
            self.unanswered.put(handler.path)
        while self.hangs and not self._dead:
            time.sleep(0.02)
        path, _sign, query = handler.path.partition("?")
        parts = (part.partition("=") for part in query.split("&") if part)
        self._asked.query = {key: int(value) for key, _equals, value in parts}
        if path == "/instance/serial" and not self.console_refuses:
            self.requests.append((handler.command, path, None))
            self._console(handler)
            return
        self.requests.append((handler.command, path, body))
        if self.dialect != "2023-01" and handler.headers.get("api-version") is None:
            status, answer = 400, _error('missing expected header "api-version"')
        elif self.dialect != "2023-01" and handler.headers["api-version"] > self.dialect:
            status, answer = 400, _error(f"server does not support this API version: {handler.headers['api-version']}")
        else:
            status, answer = self._route(handler.command, path, body)
        if self._dead:
            handler.close_connection = True
            handler.connection.close()
            return
        content = b"" if status == 204 else json.dumps(answer).encode()
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def _route(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        routes: dict[tuple[str, str], Callable[[Any], tuple[int, Any]]] = {
            ("GET", "/instance"): self._instance,
            ("GET", "/instance/spec"): self._spec,
            ("PUT", "/instance"): self._put,
            ("PUT", "/instance/state"): self._put_state,
            ("GET", "/instance/state-monitor"): self._monitor,
            ("GET", "/instance/serial/history"): self._history,
        }
        if self.dialect == "2023-01":
            routes["GET", "/instance/migrate/status"] = self._seed_status
        else:
            routes["GET", "/instance/migration-status"] = self._status
        found = routes.get((method, path))
        if found is not None:
            return found(body)
        if path.startswith("/instance/disk/") and path.endswith("/status") and self.dialect != "2023-01":
            return self._disk(path.split("/")[3])
        return 404, _error("Not Found")

    def _none(self) -> tuple[int, Any]:
        if self.dialect == "2023-01":
            return 500, _error("Internal Server Error", "Internal")
        return 424, _error("Server not initialized (no instance)", "NoInstance")

    def _properties(self) -> dict[str, Any]:
        properties = {"id": self.instance_id, "name": self.name, "description": ""}
        if self.dialect == "2023-01":
            nil = "00000000-0000-0000-0000-000000000000"
            return properties | {"image_id": nil, "bootrom_id": nil, "memory": 512, "vcpus": 1}
        return properties | {"metadata": METADATA}

    def _instance(self, _body: Any) -> tuple[int, Any]:
        if self.state is None:
            return self._none()
        instance = {"properties": self._properties(), "state": self.state}
        if self.dialect == "2023-01":
            instance |= {"disks": [], "nics": []}
        return 200, {"instance": instance}

    def _spec(self, _body: Any) -> tuple[int, Any]:
        if self.state is None:
            return self._none()
        if self.dialect == "2023-01":
            return 200, self._seed_spec()
        components: dict[str, Any] = {"com1": {"type": "serial_port", "component": {"num": "com1"}}}
        for slot, (name, request) in enumerate(self.disks.items()):
            device: dict[str, Any] = {
                "backend_id": f"{name}-backend",
                "pci_path": {"bus": 0, "device": 16 + slot, "function": 0},
            }
            if self.device == "nvme_disk":
                device["serial_number"] = [0] * 20
            components[name] = {"type": self.device, "component": device}
            components[f"{name}-backend"] = {
                "type": "crucible_storage_backend",
                "component": {"request_json": json.dumps(request), "readonly": False},
            }
        components |= self.extra_components
        board = {"cpus": 1, "memory_mb": 512, "chipset": {"type": "i440_fx", "value": {"enable_pcie": False}}}
        spec = {"board": board, "components": components, "smbios": None}
        value = {"type": "Present", "value": spec}
        return 200, {"properties": self._properties(), "state": self.state, "spec": value}

    def _seed_spec(self) -> dict[str, Any]:
        storage, backends = {}, {}
        for slot, (name, request) in enumerate(self.disks.items()):
            path = {"bus": 0, "device": 16 + slot, "function": 0}
            storage[name] = {"kind": "virtio", "backend_name": name, "pci_path": path}
            backends[name] = {"kind": {"crucible": {"req": request}}, "readonly": False}
        board = {"cpus": 1, "memory_mb": 512, "chipset": {"i440_fx": {"enable_pcie": False}}}
        devices = {
            "board": board,
            "storage_devices": storage,
            "network_devices": {},
            "serial_ports": {"com1": {"num": "com1"}},
            "pci_pci_bridges": {},
        }
        spec = {"devices": devices, "backends": {"storage_backends": backends, "network_backends": {}}}
        return {"properties": self._properties(), "state": self.state, "spec": spec}

    def _put(self, body: Any) -> tuple[int, Any]:
        if self.on_put is None:
            return 409, _error("instance already initialized", "AlreadyInitialized")
        return self.on_put(self, body)

    def _put_state(self, body: Any) -> tuple[int, Any]:
        if self.on_state is not None:
            return self.on_state(self, body)
        return (204, None) if self.state is not None else self._none()

    def _monitor(self, body: Any) -> tuple[int, Any]:
        if self.state is None:
            return self._none()
        with self._changed:
            while self.generation < body["gen"] and not self._dead:
                if self.state in ("Destroyed", "Failed"):
                    words = f"No instance present; will never reach generation {body['gen']}"
                    return 410, _error(words, "NoInstance")
                self._changed.wait(1)
            answer: dict[str, Any] = {"gen": self.generation, "state": self.state}
            if self.dialect != "2023-01":
                answer["migration"] = self._status(None)[1]
            return 200, answer

    def _status(self, _body: Any) -> tuple[int, Any]:
        if self.state is None and self.migration_in is None:
            return self._none()
        return 200, {"migration_in": self.migration_in, "migration_out": self.migration_out}

    def _seed_status(self, body: Any) -> tuple[int, Any]:
        if not isinstance(body, dict) or "migration_id" not in body:
            return 400, _error("unable to parse JSON body: missing field `migration_id` at line 1 column 2")
        if self.state is None:
            return self._none()
        record = self.migration_in or self.migration_out
        if record is None:
            return 400, _error("migration failed: no migration is currently in progress")
        if record["id"] != body["migration_id"]:
            return 400, _error("migration failed: unexpected Uuid")
        return 200, {"state": record["state"]}

    def _disk(self, backend: str) -> tuple[int, Any]:
        if self.disk_status_answer is not None:
            return self.disk_status_answer
        name = backend.removesuffix("-backend")
        if self.state is None:
            return self._none()
        if name not in self.disks:
            return 404, _error("Not Found", f"No crucible backend for id {backend}")
        if self.dialect != "5.0.0":
            return 200, {"active": self.upstairs_state == "active"}
        region = self.disks[name]["sub_volumes"][0]
        upstairs = {
            "state": self.upstairs_state,
            "block_size": 512,
            "upstairs_id": region["opts"]["id"],
            "session_id": "5f5b8f8e-2222-4b2b-9b2b-000000000001",
            "generation": region["gen"],
            "read_only": False,
            "encrypted": False,
            "reconcile_in_progress": False,
            "live_repair_in_progress": False,
            "targets": [
                {
                    "region_id": None,
                    "target_addr": target,
                    "repair_addr": None,
                    "state": self.targets_state.get(target, {"type": "active"}),
                }
                for target in region["opts"]["target"]
            ],
        }
        return 200, {"volume_info": {"volume": {"sub_volumes": [{"upstairs": upstairs}], "read_only_parent": None}}}

    def _history(self, _body: Any) -> tuple[int, Any]:
        if self.state in (None, "Destroyed", "Failed"):
            return self._none()
        end = len(self.history)
        query = self._asked.query
        start = max(end - query["most_recent"], 0) if "most_recent" in query else query["from_start"]
        if start < self.history_starts:
            return 400, _error(f"Requested byte offset {start} is no longer cached")
        data = self.history[start : start + query.get("max_bytes", 16384)]
        return 200, {"data": list(data), "last_byte_offset": min(start, end) + len(data)}


def _error(message: str, code: str | None = None) -> dict[str, str]:
    body = {"request_id": TEN, "message": message}
    return body | ({"error_code": code} if code else {})
