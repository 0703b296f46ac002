# SPDX-License-Identifier: GPL-3.0-or-later
"""The start of ``run``: the recorded log lines, and the recorded words when a port is taken or can't exist."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from downstairs_harness import ROOT_OF_LAB, downstairs, free_port, make_region, start
from propolis_lab.downstairs.logs import NOTICE
from propolis_lab.downstairs.options import Mode
from propolis_lab.downstairs.outcome import Failure, Panic
from propolis_lab.downstairs.version import VERSION_RECORD
from propolis_lab.region import Age, RegionError

UUID_TEXT = "12345678-0000-4000-8000-000000000001"


def _region(path: Path, age: Age) -> Path:
    return make_region(path, age=age)


def _started(path: Path, port: int, **options: object) -> list[tuple[str, str]]:
    """Message and task of each record until the downstairs listens."""

    async def run() -> list[tuple[str, str]]:
        async with downstairs(path, port=port, **options) as running:
            return [(record["msg"], record.get("task", "")) for record in running.records()]

    return asyncio.run(run())


def test_todays_start_is_logged_as_recorded(tmp_path: Path) -> None:
    path, port = make_region(tmp_path / "ds0"), free_port()
    assert _started(path, port) == [
        (NOTICE, ""),
        (f'Opened existing region file "{path}/region.json"', ""),
        ("Database read version 1", ""),
        ("Database write version 1", ""),
        (f"UUID: {UUID_TEXT}", ""),
        ("Blocks per extent:16 Total Extents: 4", ""),
        (VERSION_RECORD, "main"),
        ("Upstairs <-> Downstairs Message Version: 13", "main"),
        (f'Repair listens on 127.0.0.1:{port + 4000} for path:"{path}"', "repair"),
        ("listening", "repair"),
        (f"Using repair address: 127.0.0.1:{port + 4000}", "main"),
        ("No SSL acceptor configured", "main"),
        (f"downstairs listening on 127.0.0.1:{port}", "main"),
    ]


def test_the_start_of_2023_is_logged_as_recorded_with_the_notice_about_its_encodings(tmp_path: Path) -> None:
    path, port = make_region(tmp_path / "r1", age=Age.JANUARY_2023), free_port()

    async def run() -> list[str]:
        async with downstairs(path, port=port, age=Age.JANUARY_2023) as running:
            return running.messages()

    messages = asyncio.run(run())
    notice = messages.pop(4)
    assert "message version 1 in the encodings of version 13" in notice
    assert messages[1:] == [
        f'Opened existing region file "{path}/region.json"',
        f"UUID: {UUID_TEXT}",
        "Blocks per extent:16 Total Extents: 4",
        f"Using address: 127.0.0.1:{port}, task: main",
        f"Repair listens on 127.0.0.1:{port + 4000}, task: repair",
        f"listening, local_addr: 127.0.0.1:{port + 4000}, task: repair",
        f"Using repair address: 127.0.0.1:{port + 4000}, task: main",
        "No SSL acceptor configured, task: main",
        f"listening on 127.0.0.1:{port}, task: main",
    ]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize("age", list(Age))
def test_a_taken_data_port_is_the_recorded_failure_after_the_region_was_opened(
    tmp_path: Path, taken: int, age: Age
) -> None:
    with pytest.raises(Failure) as failure:
        asyncio.run(start(_region(tmp_path / "r", age), port=min(taken, 61535), age=age))
    assert failure.value.message == "Address already in use (os error 98)"


@pytest.mark.parametrize("age", list(Age))
def test_a_taken_repair_port_is_the_recorded_failure(tmp_path: Path, age: Age) -> None:
    port = free_port()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port + 4000))
        listener.listen()
        with pytest.raises(Failure) as failure:
            asyncio.run(start(_region(tmp_path / "r", age), port=port, age=age))
    assert failure.value.message == (
        'got "failed to create server: error creating server listener: Address already in use (os error 98)" '
        "from repair main"
    )


@pytest.mark.parametrize("age", list(Age))
def test_a_repair_port_above_65535_is_the_recorded_panic(tmp_path: Path, age: Age) -> None:
    with pytest.raises(Panic, match="attempt to add with overflow"):
        asyncio.run(start(_region(tmp_path / "r", age), port=61536, age=age))


def test_a_region_that_is_not_there_is_the_recorded_error(tmp_path: Path) -> None:
    with pytest.raises(RegionError, match="file not found opening region config"):
        asyncio.run(start(tmp_path / "nosuch"))


def test_faults_that_cannot_be_read_end_the_program_before_it_opens_the_region(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="'do' of a fault must be one of"):
        asyncio.run(start(tmp_path / "nosuch", faults='{"do": "explode"}'))


def test_two_processes_on_one_region_are_not_prevented_as_in_the_real_program(tmp_path: Path) -> None:
    path = make_region(tmp_path / "r")

    async def run() -> None:
        async with downstairs(path), downstairs(path) as second:
            assert second.messages()[-1].startswith("downstairs listening on")

    asyncio.run(run())


def test_a_read_only_downstairs_starts_on_files_that_it_may_only_read(tmp_path: Path) -> None:
    path = make_region(tmp_path / "r")
    for file in path.rglob("*"):
        if file.is_file():
            file.chmod(0o444)
    assert _started(path, free_port(), mode=Mode.READ_ONLY)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -15), (signal.SIGINT, -2)])
def test_a_signal_ends_the_program_at_once_with_its_own_status(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    path, port = make_region(tmp_path / "r"), free_port()
    command = [sys.executable, "-m", "propolis_lab.downstairs", "run", "-d", str(path), "-p", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT_OF_LAB)}
    with subprocess.Popen(
        [*command, "-a", "127.0.0.1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if re.search("downstairs listening on", line):
                break
        process.send_signal(number)
        assert process.wait(10) == status
        assert process.stderr is not None
        assert process.stderr.read() == ""
