# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's stand-in starts, refuses to start and ends as the real server was recorded to do."""

from __future__ import annotations

import contextlib
import re
import shlex
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from recordings.http_differences import START_OMISSIONS, START_OWN_WORDS
from recordings.http_events import Command
from recordings.http_lab import START_TIMEOUT, environment, wait_until
from recordings.http_masks import Places
from recordings.http_observing import log_records
from recordings.http_ports import Ports
from recordings.http_transcript import read
from shared import needs_shared, recordings

pytestmark = [needs_shared, pytest.mark.recordings_http]

RECORDED_PORT = 12400
NOTICE = "stand-in"
RUNS = re.compile(r"still running after 3s; SIGTERM -> (-?\d+)")


def commands() -> list[Command]:
    path = recordings / "transcripts" / "propolis" / "d-server-start.txt"
    return [event for event in read(path) if isinstance(event, Command)] if path.is_file() else []


@dataclass(frozen=True)
class Result:
    """How one start ended; negative for a signal."""

    status: int
    stdout: str
    stderr: str


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


def start(command: Command, places: Places, folder: Path) -> Result:
    """Run the recorded command line; a server that listens is ended by SIGTERM as in the recording."""
    arguments = shlex.split(places.here(command.command))[1:]
    (folder / "bootrom.bin").write_bytes(b"\0" * 4096)
    popen = subprocess.Popen(
        [sys.executable, "-m", "propolis_lab.server", *arguments],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=(folder / "stdout").open("wb"),
        stderr=(folder / "stderr").open("wb"),
    )
    try:
        if RUNS.match(command.exit_text):
            log = folder / "stdout"
            wait_until(lambda: popen.poll() is not None or '"listening"' in log.read_text("utf-8"), START_TIMEOUT)
            popen.send_signal(signal.SIGTERM)
        status = popen.wait(START_TIMEOUT)
    finally:
        popen.kill()
        popen.wait()
    texts = [places.recorded((folder / name).read_text("utf-8")) for name in ("stdout", "stderr")]
    return Result(status, *texts)


def messages(output: str) -> list[str]:
    """What a log says: level, message and address, without the lab's notice that it is no real server."""
    return [
        " ".join(str(record[key]) for key in ("level", "msg", "local_addr", "name", "v") if key in record)
        for record in log_records(output)
        if NOTICE not in record["msg"]
    ]


def error_text(stderr: str) -> list[str]:
    """An error's lines without the usage, whose words are our own."""
    lines = [line.rstrip() for line in stderr.splitlines()]
    return [line for line in lines if line and not line.startswith("Usage: ")]


TRIED = [command for command in commands() if command.title not in START_OMISSIONS]


@pytest.mark.parametrize("command", TRIED, ids=lambda command: command.title)
def test_the_server_starts_or_refuses_as_recorded(command: Command, tmp_path: Path) -> None:
    if "[::1]" in command.command and not has_ipv6():
        pytest.skip("SKIPPED LOUDLY: this machine has no IPv6 loopback address")
    ports = Ports.choose({RECORDED_PORT}, set())
    places = Places(ports.table, tmp_path)
    with socket.socket() as holder:
        if command.title == "port in use":
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", places.ports[RECORDED_PORT]))
            holder.listen()
        result = start(command, places, tmp_path)
    ports.release()
    runs = RUNS.match(command.exit_text)
    assert result.status == int(runs[1] if runs else command.exit_text), result
    if command.title in START_OWN_WORDS:
        assert (result.stdout.strip(), result.stderr.strip()) != (command.stdout, command.stderr), "no longer differs"
        assert bool(result.stdout) == bool(command.stdout)
        assert bool(result.stderr) == bool(command.stderr)
        assert NOTICE in result.stdout + result.stderr
        return
    assert error_text(result.stderr) == error_text(command.stderr)
    if command.stdout.startswith("{"):
        assert messages(result.stdout) == messages(command.stdout)
        assert NOTICE in result.stdout.splitlines()[0]
    else:
        assert result.stdout.strip() == command.stdout


def test_every_omitted_start_was_recorded() -> None:
    titles = {command.title for command in commands()}
    assert START_OMISSIONS.keys() | START_OWN_WORDS.keys() <= titles
    assert len(titles) == len(commands()) == 23
