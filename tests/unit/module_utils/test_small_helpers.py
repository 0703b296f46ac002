# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting, atomic files, limits, exits and the owners of ports."""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils import limits, occupants
from ansible_collections.apiary.propolis.plugins.module_utils.exits import describe_exit
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError
from ansible_collections.apiary.propolis.plugins.module_utils.files import write_atomically
from ansible_collections.apiary.propolis.plugins.module_utils.waiting import wait_until
from hypothesis import given
from hypothesis import strategies as st


class Clock:
    """A clock that moves only while somebody pauses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@given(st.floats(0, 60), st.integers(0, 400))
def test_waiting_ends_with_what_is_found_or_when_the_time_is_over(timeout, after):
    clock = Clock()
    seen = []
    found = wait_until(
        lambda: seen.append(1) or ("found" if len(seen) > after else None), timeout, clock=clock, pause=clock.pause
    )
    assert seen
    assert clock.now <= timeout + 1e-6
    assert (found == "found") == (len(seen) > after)
    assert all(pause <= 0.5 for pause in clock.pauses)


def test_a_file_is_replaced_as_a_whole_and_only_its_owner_reads_it(tmp_path):
    path = tmp_path / "state.json"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "state.json"
    write_atomically(path, b"old")

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_ends_of_processes_are_words():
    assert [describe_exit(code) for code in (0, 101, -6, -9, -99)] == [
        "exit status 0", "exit status 101", "signal SIGABRT", "signal SIGKILL", "signal 99",
    ]  # fmt: skip


def test_a_limit_is_raised_for_the_block_only():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[0] - 10, before[1]))
    try:
        with limits.open_files("it", before[0]):
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[0]
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[0] - 10
        with limits.open_files("it", None):
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[0] - 10
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_an_error_is_a_code_a_sentence_and_details():
    error = CollectionError("it is wrong.", details={"a": 1})
    assert (str(error), error.as_dict()) == (
        "it is wrong.",
        {"code": "error", "message": "it is wrong.", "details": {"a": 1}},
    )
    assert CollectionError("x", code="other").code == "other"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_owner_of_a_port_is_found(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        port = server.getsockname()[1]
        assert occupants.port_trouble(address, port) == errno.EADDRINUSE
        assert [one.pid for one in occupants.listeners(address, port)] == [os.getpid()]
        assert [one.pid for one in occupants.listeners("::" if ":" in address else "0.0.0.0", port)] == [os.getpid()]
    assert occupants.port_trouble(address, port) is None
    assert occupants.listeners(address, port) == []


def test_a_wildcard_listener_owns_the_port_of_every_address():
    with socket.create_server(("0.0.0.0", 0)) as server:
        assert occupants.listeners("127.0.0.1", server.getsockname()[1])[0].pid == os.getpid()
    assert occupants.listeners("127.0.0.1", 1) == []


def test_users_of_a_directory_are_found_by_their_open_files(tmp_path):
    (tmp_path / "file").write_text("")
    assert occupants.users_of(tmp_path) == []
    with (tmp_path / "file").open():
        assert [one.pid for one in occupants.users_of(tmp_path)] == [os.getpid()]
        assert occupants.users_of(tmp_path / "other") == []


def test_open_files_are_found_where_illumos_shows_them(tmp_path):
    (tmp_path / "7" / "path").mkdir(parents=True)
    os.symlink("/data/r/00/000/000", tmp_path / "7" / "path" / "12")
    (tmp_path / "7" / "path" / "13").write_text("no link")
    (tmp_path / "self").mkdir()
    found = occupants.users_of(tmp_path.__class__("/data/r"), tmp_path)
    assert [str(one) for one in found] == ["process 7 (unknown command)"]
    assert occupants.users_of(tmp_path, tmp_path / "no-proc") == []
    assert occupants.listeners("127.0.0.1", 80, tmp_path) == []


def test_lines_of_the_socket_table_that_are_cut_off_are_left_out(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text("head\n  0: 0100007F:0050 00000000:0000 0A\n")
    assert occupants.listeners("127.0.0.1", 80, tmp_path) == []
