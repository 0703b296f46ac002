# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-ins as processes: three regions with their downstairs and up to two servers, on free ports of 127.0.0.1."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path

import lab_programs
from downstairs_harness import make_region
from propolis_lab.region import Age, Region, context_of
from recordings.http_masks import STRANGER_HERE, Places
from recordings.http_ports import ADDRESS, Ports
from shared import ROOT

BLOCK_SIZE, BLOCKS_PER_EXTENT, EXTENT_COUNT = 512, 100, 20
"""The geometry of the recorded regions."""

QUICK_SERVER = str(Path(__file__).with_name("http_quick_server.py"))
START_TIMEOUT = 120.0
"""Seconds for a stand-in to start; several suites may share two cores."""


class LabError(Exception):
    """A stand-in did not start; the text has the end of its output."""


def environment() -> dict[str, str]:
    """The environment of the stand-ins: the lab on the import path, no colours, no debug settings of a developer."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT / "roles" / "lab" / "files")}


class _Nothing(BaseHTTPRequestHandler):
    """404 to everything, in silence."""

    def do_GET(self) -> None:
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, *_unused: object) -> None:
        """Nothing."""


@dataclass
class Process:
    """One running stand-in and the file that its output goes to."""

    name: str
    popen: lab_programs.Program
    log: Path

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def ends(self, timeout: float) -> bool:
        """Whether it has ended within `timeout` seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(timeout)
        return not self.alive

    def stop(self) -> None:
        if self.alive:
            self.popen.terminate()
            try:
                self.popen.wait(10)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        self.popen.wait()

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


@dataclass
class Lab:
    """All processes of one replay. `regions` gives each recorded downstairs port the id that its region had; the
    options are the lab's own, before the command: the age, for example."""

    folder: Path
    ports: Ports
    regions: dict[int, str]
    downstairs_options: tuple[str, ...] = ()
    server_options: tuple[str, ...] = ()
    processes: dict[str, Process] = field(default_factory=dict)
    finished: list[Process] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    """By server, the lab's faults, as JSON, that its next process has."""
    stranger: HTTPServer | None = None
    encrypted: bool = False
    used: bool = False
    """Whether the regions hold something from end to end: the lab's guest then writes nothing into them."""
    quick: bool = False
    """Whether the servers' upstairs wait a short time where the real one waits ten seconds."""
    newest_log: bool = False
    """Whether the recorded log of a server is that of its newest process alone."""

    @property
    def places(self) -> Places:
        return Places(self.ports.table, self.folder)

    def up_downstairs(self, recorded_ports: tuple[int, ...], first: int = 0) -> None:
        """Make the regions that are not there yet, then start what does not run; `first` is the number in the name of
        the first one."""
        for number, port in enumerate(recorded_ports, first):
            if not (self.folder / f"ds{number}").exists():
                self._make_region(self.folder / f"ds{number}", port)
        started = []
        for number, port in enumerate(recorded_ports, first):
            name = f"ds{number}"
            if name not in self.processes:
                here = self.places.ports[port]
                arguments = (
                    *self.downstairs_options,
                    "run",
                    "-d",
                    str(self.folder / name),
                    "-p",
                    str(here),
                    "-a",
                    ADDRESS,
                )
                started.append((self._start(name, "propolis_lab.downstairs", *arguments), here))
        for process, here in started:
            wait_for_port(process, here)

    def _make_region(self, path: Path, port: int) -> None:
        """By the library, not by the program, of which no recording of exchanges shows anything."""
        shape = {"extents": EXTENT_COUNT, "blocks": BLOCKS_PER_EXTENT, "encrypted": self.encrypted}
        age = Age.JANUARY_2023 if "2023" in " ".join(self.downstairs_options) else Age.TODAY
        make_region(path, uuid=self.regions[port], age=age, **shape)
        if self.used:
            region = Region.open(path)
            block = (b"of somebody else " * BLOCK_SIZE)[:BLOCK_SIZE]
            blocks = BLOCKS_PER_EXTENT * EXTENT_COUNT
            region.write(0, [context_of(block)] * blocks, block * blocks)
            region.flush(1, 0)
            region.close()

    def up_server(self, name: str, recorded_port: int, first: str) -> None:
        """Start the server (srvA, srvB) unless it runs; `first` is the path of the boot ROM (2023: configuration)."""
        if name not in self.processes:
            here = self.places.ports[recorded_port]
            history = ("--history", str(self.history_of(name)))
            self.faults_of(name).write_text(self.faults.pop(name, "{}"), encoding="utf-8")
            faults = () if "--faults" in self.server_options else ("--faults", str(self.faults_of(name)))
            words = (*self.server_options, *faults, *history, "run", first, f"{ADDRESS}:{here}")
            self.history_of(name).unlink(missing_ok=True)
            wait_for_port(self._start(name, QUICK_SERVER if self.quick else "propolis_lab.server", *words), here)

    def history_of(self, name: str) -> Path:
        """The file in which the running server of this name writes what happens."""
        return self.folder / f"{name}.history"

    def faults_of(self, name: str) -> Path:
        """The file that the running server of this name reads its faults from, again and again."""
        return self.folder / f"{name}.faults"

    def up_stranger(self, recorded_port: int) -> None:
        """Listen where the recorder's network answered, in place of a server, that there is nothing."""
        if self.stranger is None:
            self.stranger = ThreadingHTTPServer((STRANGER_HERE, self.places.ports[recorded_port]), _Nothing)
            threading.Thread(target=self.stranger.serve_forever, daemon=True).start()

    def kill(self, name: str) -> None:
        """SIGKILL."""
        process = self.processes.pop(name)
        process.popen.kill()
        process.stop()
        self.finished.append(process)

    def down(self, name: str) -> None:
        process = self.processes.pop(name, None)
        if process:
            process.stop()
            self.finished.append(process)

    def close(self) -> None:
        for name in list(self.processes):
            self.down(name)
        if self.stranger is not None:
            self.stranger.shutdown()
            self.stranger.server_close()
        self.ports.release()

    def output_of(self, name: str) -> str:
        """Everything that the processes of this name wrote, one after the other."""
        every = [process for process in [*self.finished, *self.processes.values()] if process.name == name]
        if self.newest_log and name.startswith("srv"):
            every = every[-1:]
        return "".join(process.output() for process in every)

    def _start(self, name: str, module: str, *arguments: str) -> Process:
        log = self.folder / f"{name}-{len(self.finished)}.log"
        log.touch()
        own = {**environment(), "TMPDIR": str(self.folder)}  # where the names of machines are locked: one host
        popen = lab_programs.start(module, *arguments, directory=self.folder, environment=own, output=log)
        self.processes[name] = Process(name, popen, log)
        return self.processes[name]


def wait_for_port(process: Process, port: int) -> None:
    """Return when the process accepts connections; LabError when it ends before or takes too long."""

    def accepts() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((ADDRESS, port), 1):
            return True
        if not process.alive:
            raise LabError(f"{process.name} ended with {process.popen.returncode}: {process.output()[-1500:]}")
        return False

    if not wait_until(accepts, START_TIMEOUT):
        raise LabError(f"{process.name} does not listen on {port} after {START_TIMEOUT} s: {process.output()[-1500:]}")


def wait_until(condition: Callable[[], bool], timeout: float, pause: float = 0.02) -> bool:
    """Whether the condition became true within `timeout` seconds; asked every `pause` seconds (nothing tells us)."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


@contextlib.contextmanager
def running(lab: Lab) -> Iterator[Lab]:
    """The lab, of which nothing runs any more afterwards."""
    try:
        yield lab
    finally:
        lab.close()
