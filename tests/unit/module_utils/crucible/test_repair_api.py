# SPDX-License-Identifier: GPL-3.0-or-later
"""The repair API: recorded answers of both ages, strangers, silence."""

from __future__ import annotations

import contextlib
import json
import socket
import threading

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.errors import RepairApiError, UnreachableError
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.repair_api import RepairApi
from hypothesis import given, settings
from hypothesis import strategies as st
from regions_on_disk import UUID, definition

NOT_FOUND = b'{\n  "request_id": "fad5c3df-4bfc-44a4-a9cd-5db163a672a3",\n  "message": "Not Found"\n}\n'


def http(status: int, body: bytes, kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.fixture(scope="module")
def server():
    """Answers every request with ``server.answer`` and closes."""

    class Server:
        answer = b""

        def __init__(self) -> None:
            self.socket = socket.create_server(("127.0.0.1", 0))
            self.api = RepairApi("127.0.0.1", self.socket.getsockname()[1] - 4000, 2.0)
            threading.Thread(target=self.serve, daemon=True).start()

        def serve(self) -> None:
            while True:
                try:
                    connection, _peer = self.socket.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(self.answer)

    found = Server()
    yield found
    found.socket.close()


def test_the_region_is_told(server):
    server.answer = http(200, json.dumps(definition(), separators=(",", ":")).encode())
    found = server.api.region_info()
    assert found.uuid == UUID
    assert found.geometry.blocks_per_extent == 16


def test_a_program_of_2023_does_not_know_the_question(server):
    server.answer = http(404, NOT_FOUND)
    assert server.api.region_info() is None
    assert server.api.read_only() is None


def test_the_mode_is_told(server):
    for text, expected in (("true", True), ("false", False)):
        server.answer = http(200, text.encode())
        assert server.api.read_only() is expected


def test_the_files_of_an_extent_are_told(server):
    server.answer = http(200, b'["000","000.db","000.db-shm","000.db-wal"]')
    assert server.api.extent_files(0)[0] == "000"


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (http(200, b"<!DOCTYPE html><html>hello</html>", "text/html"), "is not JSON"),
        (http(404, b"<html><body>nothing here</body></html>", "text/html"), "an HTML page"),
        (http(500, b'{"message":"x"}'), "answered status 500"),
        (http(200, b"[]"), "expected an object"),
        (http(200, b""), "is not JSON"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
        (b"\x00\x01\x02\x03\r\n\r\n", "does not speak HTTP"),
        (b"", "does not speak HTTP|does not answer"),
    ],
)
def test_a_stranger_on_the_port_is_named(server, answer, complaint):
    server.answer = answer
    with pytest.raises(RepairApiError, match=complaint):
        server.api.region_info()


@pytest.mark.parametrize("body", [b"7", b"[1]", b"{}", b'"000"'])
def test_odd_answers_about_files_and_mode_are_named(server, body):
    server.answer = http(200, body)
    with pytest.raises(RepairApiError, match="not as a downstairs does"):
        server.api.extent_files(0)
    with pytest.raises(RepairApiError, match="not as a downstairs does"):
        server.api.read_only()


@settings(max_examples=40)
@given(st.binary(max_size=200) | st.tuples(st.integers(100, 599), st.binary(max_size=60)).map(lambda pair: http(*pair)))
def test_any_answer_is_understood_or_an_error_of_ours(server, answer):
    server.answer = answer
    api = RepairApi("127.0.0.1", server.api.port - 4000, 0.5)
    for question in (api.region_info, api.read_only, lambda: api.extent_files(0)):
        with contextlib.suppress(RepairApiError):
            assert question() is not Ellipsis


def test_silence_is_told_apart_from_a_stranger():
    with socket.create_server(("127.0.0.1", 0)) as quiet:
        port = quiet.getsockname()[1]
        with pytest.raises(UnreachableError, match="does not answer: timed out"):
            RepairApi("127.0.0.1", port - 4000, 0.1).region_info()
    with pytest.raises(UnreachableError, match="does not answer: Connection refused"):
        RepairApi("127.0.0.1", port - 4000, 1).region_info()


def test_an_ipv6_address_is_written_in_brackets():
    assert RepairApi("::1", 8810, 1).url == "http://[::1]:12810"


def test_an_answer_that_drips_for_ever_is_cut_off():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        over = threading.Event()

        def drip() -> None:
            connection, _peer = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 X\r\ncontent-length: 60000\r\n\r\n")
                while not over.wait(0.05):
                    connection.sendall(b" ")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        with pytest.raises(RepairApiError, match="is not JSON"):
            RepairApi("127.0.0.1", listening.getsockname()[1] - 4000, 0.3).region_info()
        over.set()
        thread.join()
