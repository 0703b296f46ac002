# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends a request exactly as it is written and gives the answer exactly as it came: no library adds or hides a byte."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from recordings.http_events import Answer, Headers, NoAnswer, Request

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class WireError(Exception):
    """The peer's bytes are not HTTP/1.1 or not a websocket."""


def send(address: str, request: Request, timeout: float) -> Answer | NoAnswer:
    """One request on a connection of its own; NoAnswer when nothing (whole) comes within `timeout` seconds."""
    try:
        with socket.create_connection((address, request.port), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(render(request))
            return _Stream(connection).answer()
    except (TimeoutError, ConnectionError) as error:
        return NoAnswer(f"{type(error).__name__}: {error}")


def send_together(address: str, requests: Sequence[Request], timeout: float) -> list[Answer | NoAnswer]:
    """Several requests written at once on one connection, so that no time of ours passes between them."""
    answers: list[Answer | NoAnswer] = []
    try:
        with socket.create_connection((address, requests[0].port), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(b"".join(render(request) for request in requests))
            stream = _Stream(connection)
            answers.extend(stream.answer() for _unused in requests)
    except (TimeoutError, ConnectionError) as error:
        lost = NoAnswer(f"{type(error).__name__}: {error}")
        answers.extend(lost for _unused in requests[len(answers) :])
    return answers


def send_ahead(address: str, poll: Request, change: Request, timeout: float) -> list[Answer | NoAnswer]:
    """A long poll that is under way when `change` is sent: the answers to `change` and to the poll, in this order."""
    try:
        with socket.create_connection((address, poll.port), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(render(poll))
            changed = send(address, change, timeout)
            return [changed, _Stream(connection).answer()]
    except (TimeoutError, ConnectionError) as error:
        lost = NoAnswer(f"{type(error).__name__}: {error}")
        return [lost, lost]


def render(request: Request) -> bytes:
    """The request's bytes."""
    lines = [f"{request.method} {request.target} HTTP/1.1", *(f"{key}: {value}" for key, value in request.headers)]
    return ("\r\n".join(lines) + "\r\n\r\n" + request.body).encode()


class _Stream:
    """Reads from a connection with a buffer."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.buffer = b""

    def _more(self) -> None:
        data = self.connection.recv(65536)
        if not data:
            raise ConnectionError("server closed the connection without an answer")
        self.buffer += data

    def take(self, count: int) -> bytes:
        while len(self.buffer) < count:
            self._more()
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def answer(self) -> Answer:
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, _separator, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        version, _unused, status_and_reason = first.partition(" ")
        status, _unused, reason = status_and_reason.partition(" ")
        if version != "HTTP/1.1" or not status.isdigit():
            raise WireError(f"not a status line: {first!r}")
        headers: Headers = tuple((k, v.strip()) for k, _unused, v in (line.partition(":") for line in rest))
        lengths = [int(value) for key, value in headers if key.lower() == "content-length"]
        body = self.take(lengths[0]) if lengths else b""
        return Answer(int(status), reason, headers, body.decode())


@dataclass
class Websocket:
    """An open websocket. A thread reads all frames into `frames`; `ended` is set at end of stream."""

    connection: socket.socket
    stream: _Stream
    frames: list[tuple[int, bytes]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    news: threading.Condition = field(default_factory=threading.Condition)

    def start(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                first, second = self.stream.take(2)
                length = second & 0x7F
                if length == 126:
                    (length,) = struct.unpack(">H", self.stream.take(2))
                elif length == 127:
                    (length,) = struct.unpack(">Q", self.stream.take(8))
                if second & 0x80:
                    raise WireError("a frame of the server is masked")
                payload = self.stream.take(length)
                with self.news:
                    self.frames.append((first & 0x0F, payload))
                    self.news.notify_all()
        with self.news:
            self.ended.set()
            self.news.notify_all()

    def send(self, opcode: int, payload: bytes) -> None:
        """One frame, masked as a client must."""
        key = os.urandom(4)
        length = len(payload)
        head = (
            bytes([0x80 | opcode, 0x80 | length]) if length < 126 else struct.pack(">BBH", 0x80 | opcode, 0xFE, length)
        )
        masked = bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))
        self.connection.sendall(head + key + masked)

    def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Whether `condition` became true within `timeout` seconds; looked at after every frame and at the end."""
        deadline = time.monotonic() + timeout
        with self.news:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0 or not self.news.wait(left):
                    return condition()
        return True

    def output(self) -> bytes:
        """What the console showed so far."""
        return b"".join(payload for opcode, payload in list(self.frames) if opcode == BINARY)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()


def open_websocket(address: str, request: Request, timeout: float) -> tuple[Answer | NoAnswer, Websocket | None]:
    """Ask for an upgrade; the websocket when the server agreed with 101."""
    try:
        connection = socket.create_connection((address, request.port), timeout)
        connection.settimeout(timeout)
        connection.sendall(render(request))
        stream = _Stream(connection)
        answer = stream.answer()
    except (TimeoutError, ConnectionError) as error:
        return NoAnswer(f"{type(error).__name__}: {error}"), None
    if answer.status != 101:
        connection.close()
        return answer, None
    connection.settimeout(None)
    websocket = Websocket(connection, stream)
    websocket.start()
    return answer, websocket
