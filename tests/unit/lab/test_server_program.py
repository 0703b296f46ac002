# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's server as a program: first words, exit statuses, and what is left when it is killed in mid-migration."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from server_fakes import ensure_body, migrate_body, spec

LAB = Path(__file__).resolve().parents[3] / "roles" / "lab" / "files"
BLOB = {
    "type": "blob_storage_backend",
    "component": {"base64": base64.b64encode(bytes(131072)).decode(), "readonly": False},
}
SECONDS = 30.0


def start(folder: Path, *words: str, name: str = "server") -> subprocess.Popen[bytes]:
    with (folder / f"{name}.out").open("wb") as out, (folder / f"{name}.err").open("wb") as err:
        return subprocess.Popen(
            [sys.executable, "-m", "propolis_lab.server", *words],
            env={**os.environ, "PYTHONPATH": str(LAB)},
            cwd=folder,
            stdout=out,
            stderr=err,
        )


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@dataclass
class Program:
    """A running server."""

    process: subprocess.Popen[bytes]
    address: str
    folder: Path
    name: str

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"api-version": "5.0.0", "content-type": "application/json"}
        request = urllib.request.Request(f"http://{self.address}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as reply:  # noqa: S310
                text = reply.read()
                return reply.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def state(self) -> str:
        _status, body = self.call("GET", "/instance")
        return str(body.get("instance", {}).get("state", body.get("error_code")))

    def until(self, *states: str) -> float:
        """Seconds until the instance is in one of the states."""
        began = time.monotonic()
        while (now := self.state()) not in states:
            assert time.monotonic() - began < SECONDS, f"{self.name} is {now}, expected {states}"
            time.sleep(0.005)
        return time.monotonic() - began

    def wait_until_it_answers(self) -> None:
        began = time.monotonic()
        while True:
            try:
                self.state()
                return
            except OSError:
                assert self.process.poll() is None, (self.folder / f"{self.name}.err").read_text()
                assert time.monotonic() - began < SECONDS
                time.sleep(0.02)

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / f"{self.name}.out").read_text().splitlines()]


@contextmanager
def running(folder: Path, **options: tuple[str, ...]) -> Iterator[list[Program]]:
    """Servers of the given names with the given options, all started at once."""
    (folder / "bootrom").write_bytes(bytes(4096))
    programs: list[Program] = []
    try:
        for name, words in options.items():
            address = f"127.0.0.1:{free_port()}"
            programs.append(Program(start(folder, *words, "run", "bootrom", address, name=name), address, folder, name))
        for program in programs:
            program.wait_until_it_answers()
        yield programs
    finally:
        for program in programs:
            program.process.kill()
            program.process.wait()


def machine() -> dict[str, Any]:
    """A spec without a Crucible disk, so that no downstairs is needed; memory for a tenth of a second."""
    the_spec = spec(**{"disk0-backend": BLOB})
    the_spec["board"]["memory_mb"] = 256
    return the_spec


def run(source: Program) -> None:
    assert source.call("PUT", "/instance", ensure_body(machine()))[0] == 201
    assert source.call("PUT", "/instance/state", "Run")[0] == 204
    source.until("Running")


def migrate(source: Program, destination: Program) -> int:
    return destination.call("PUT", "/instance", migrate_body(source.address, {}))[0]


def dying(side: str, phase: str, at: str = "begin") -> tuple[str, str]:
    return "--faults", json.dumps({"steps": [{"side": side, "phase": phase, "at": at, "action": "die"}]})


def test_its_log_begins_by_saying_that_it_is_a_stand_in(tmp_path: Path) -> None:
    with running(tmp_path, alpha=()) as (alpha,):
        messages = [record["msg"] for record in alpha.log()]
        assert "stand-in" in messages[0]
        assert messages[1:5] == [
            "metric registration is disabled, no metric data will be produced by this server",
            "reservoir too small (0MiB) to use for guest memory",
            "Starting server...",
            "listening",
        ]
        assert alpha.log()[4]["local_addr"] == alpha.address
        alpha.process.send_signal(signal.SIGTERM)
        assert alpha.process.wait(SECONDS) == -signal.SIGTERM


def test_an_address_in_use_ends_it_with_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        address = f"127.0.0.1:{occupied.getsockname()[1]}"
        assert start(tmp_path, "run", "bootrom", address).wait(SECONDS) == 1
    assert (tmp_path / "server.err").read_text() == f"Error: Failed to start server: failed to bind to {address}\n"


def test_the_server_of_2023_says_on_stderr_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('bootrom = "bootrom"\n')
    process = start(tmp_path, "--age", "2023-01", "run", "config.toml", f"127.0.0.1:{free_port()}")
    try:
        began = time.monotonic()
        while "listening" not in (tmp_path / "server.err").read_text():
            assert process.poll() is None
            assert time.monotonic() - began < SECONDS
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    assert "INFO this is the lab's stand-in" in (tmp_path / "server.err").read_text().splitlines()[0]
    assert (tmp_path / "server.out").read_text() == ""


def test_a_missing_configuration_of_2023_ends_it_with_1(tmp_path: Path) -> None:
    process = start(tmp_path, "--age", "2023-01", "run", "nothing.toml", "127.0.0.1:0")
    assert process.wait(SECONDS) == 1
    assert "Error: No such file or directory (os error 2)" in (tmp_path / "server.err").read_text()


def test_a_destination_killed_before_finish_leaves_the_source_running(tmp_path: Path) -> None:
    phases = ("RamPush", "RamPushDirty", "Device", "Server", "Finish")
    doomed = {phase.lower(): dying("destination", phase) for phase in phases}
    with running(tmp_path, alpha=(), **doomed, omega=()) as (alpha, *destinations, omega):
        run(alpha)
        for destination in destinations:
            assert migrate(alpha, destination) == 201
            assert destination.process.wait(SECONDS) == 137
            assert alpha.until("Running") < 1.0
            assert alpha.call("GET", "/instance/migration-status")[1]["migration_out"]["state"] == "Error"
        assert migrate(alpha, omega) == 201
        omega.until("Running")
        alpha.until("Destroyed")


@pytest.mark.parametrize("phase", ["RamPush", "Server"])
def test_a_source_killed_before_finish_takes_the_machine_with_it(tmp_path: Path, phase: str) -> None:
    with running(tmp_path, alpha=dying("source", phase), beta=()) as (alpha, beta):
        run(alpha)
        assert migrate(alpha, beta) == 201
        beta.until("Failed")
        assert alpha.process.wait(SECONDS) == 137
        assert beta.call("GET", "/instance/migration-status")[1]["migration_in"]["state"] == "Error"


@pytest.mark.parametrize("phase", ["Activate", "Run"])
def test_a_destination_killed_between_finish_and_running_leaves_nobody(tmp_path: Path, phase: str) -> None:
    with running(tmp_path, alpha=(), beta=dying("destination", phase)) as (alpha, beta):
        run(alpha)
        assert migrate(alpha, beta) == 201
        assert beta.process.wait(SECONDS) == 137
        alpha.until("Destroyed")
        assert alpha.call("GET", "/instance/migration-status")[1]["migration_out"]["state"] == "Finish"


def test_a_source_killed_after_its_last_word_does_not_hurt(tmp_path: Path) -> None:
    with running(tmp_path, alpha=dying("source", "Finish", "end"), beta=()) as (alpha, beta):
        run(alpha)
        assert migrate(alpha, beta) == 201
        assert alpha.process.wait(SECONDS) == 137
        beta.until("Running")


def test_what_is_loaded_reads_no_certificate_of_the_machine_and_leaves_the_environment_as_it_was() -> None:
    script = """
import gc, json, os, ssl
before = dict(os.environ)
import propolis_lab.server.web
assert dict(os.environ) == before
contexts = [one for one in gc.get_objects() if isinstance(one, ssl.SSLContext)]
print(json.dumps([one.cert_store_stats()["x509"] for one in contexts]))
"""
    command = [sys.executable, "-c", script]
    loaded = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(LAB)}, check=True, capture_output=True, timeout=SECONDS
    )
    assert set(json.loads(loaded.stdout)) <= {0}
