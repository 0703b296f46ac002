# SPDX-License-Identifier: GPL-3.0-or-later
"""What both parts read alike, under fuzz: the framing of answers over HTTP, and what the kernel tells of a host.

``HYPOTHESIS_PROFILE=fuzz FUZZ=N`` makes N examples of each.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.errors import RepairApiError, UnreachableError
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.repair_api import RepairApi
from ansible_collections.apiary.propolis.plugins.module_utils.host_facts import host_facts
from ansible_collections.apiary.propolis.plugins.module_utils.occupants import listeners
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.address import Address
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.client import Client
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.errors import ApiError, NotPropolis, Unreachable
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.server_probe import Answering, probe
from client_fakes import raw_server
from fuzzing import mangled
from hypothesis import given
from hypothesis import strategies as st

# Nothing of these tests waits for so long; what ends by it has hung.
_SECONDS = 20.0
FRAMES = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 4\r\n\r\nnull",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nnull\r\n0\r\nx: y\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\nServer: x\r\n folded\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\0\0\0\0\0",
    b"HTTP/1.1 301 Moved\r\nLocation: http://[::1\r\nSet-Cookie: a=b; expires=x\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
)


class Speaker:
    """Takes a request, says ``frames`` and hangs up."""

    frames = b""

    def __call__(self, connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(self.frames)


@pytest.fixture(scope="module")
def speaking() -> Iterator[tuple[Speaker, str]]:
    speaker = Speaker()
    with raw_server(speaker) as address:
        yield speaker, address


@given(frames=mangled(*FRAMES))
def test_any_framing_of_an_answer_is_read_or_refused_long_before_its_time_is_up(
    speaking: tuple[Speaker, str], frames: bytes
) -> None:
    speaker, text = speaking
    speaker.frames = frames
    address = Address.parse(text)
    # Not NoAnswer: so ends a thread that died of an error which nobody expected.
    with contextlib.suppress(NotPropolis, Unreachable, ApiError):
        Client(address, timeout=_SECONDS).call("GET", "/instance")
    assert probe(address, _SECONDS).answering is not Answering.DEAF
    api = RepairApi(address.host, 0, _SECONDS)
    api.port = address.port
    with contextlib.suppress(RepairApiError, UnreachableError):
        api.region_info()


@pytest.fixture(scope="module")
def proc() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "net").mkdir()
        (folder / "7" / "fd").mkdir(parents=True)
        os.symlink("socket:[4711]", folder / "7" / "fd" / "3")
        yield folder


_REST = b"0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0\n"
SOCKETS = (
    b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    b"   0: 0100007F:0050 00000000:0000 " + _REST,
    b"  sl  local_address rem_address   st\n   0: 00000000000000000000000001000000:0050 0:0000 " + _REST,
)


@given(table=mangled(*SOCKETS), address=st.sampled_from(["127.0.0.1", "::1", "0.0.0.0", "::"]))
def test_any_table_of_sockets_names_who_listens_or_nobody(proc: Path, table: bytes, address: str) -> None:
    for name in ("tcp", "tcp6"):
        (proc / "net" / name).write_bytes(table)
        assert {one.pid for one in listeners(address, 0x50, proc)} <= {7}


def test_a_whole_table_of_sockets_names_who_listens(proc: Path) -> None:
    for table, address in zip(SOCKETS, ("127.0.0.1", "::1"), strict=True):
        (proc / "net" / "tcp6").unlink(missing_ok=True)
        (proc / "net" / "tcp").write_bytes(table)
        assert [one.pid for one in listeners(address, 0x50, proc)] == [7]


FACTS = b"vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel name\t: EPYC\nMemAvailable:    2097152 kB\n"


@given(raw=mangled(FACTS))
def test_whatever_the_kernel_tells_of_a_host_is_facts(proc: Path, raw: bytes) -> None:
    for name in ("cpuinfo", "meminfo"):
        (proc / name).write_bytes(raw)
    json.dumps(host_facts(proc).as_dict())
