# SPDX-License-Identifier: GPL-3.0-or-later
"""The three modules together with the lab's programs of both ages: real processes, real sessions, real generations."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import propolis_samples as samples
import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_requests import (
    disk_requests,
    instance_description,
)
from ansible_collections.apiary.propolis.plugins.module_utils.supervisors import choose
from ansible_collections.apiary.propolis.plugins.module_utils.supervisors.service import Service
from ansible_collections.apiary.propolis.plugins.module_utils.waiting import wait_until
from ansible_collections.apiary.propolis.plugins.modules import (
    propolis_instance,
    propolis_instance_info,
    propolis_server,
)
from module_running import run_module
from shared import ROOT

LAB = ROOT / "roles" / "lab" / "files"


def free_port(host: str = "127.0.0.1") -> int:
    """A port whose repair port, 4000 above it, is free too."""
    while True:
        with socket.create_server((host, 0)) as one:
            port = int(one.getsockname()[1])
            if port + 4000 > 65535:
                continue
            try:
                with socket.create_server((host, port + 4000)):
                    return port
            except OSError:
                continue


class Lab:
    """Three regions with their downstairs, and a wrapper that has the command line of a propolis-server."""

    def __init__(self, path: Path, age: str) -> None:
        self.path = path
        self.age = age
        self.supervisor = choose("process", path / "run")
        self.targets: list[str] = []
        (path / "rom.fd").write_bytes(bytes(4096))
        options = ["--age", "2023-01"] if age == "2023-01" else []
        self.wrapper = self.script("propolis-server", "propolis_lab.server", options)
        self.downstairs = self.script(
            "crucible-downstairs", "propolis_lab.downstairs", ["--age", "2023"] if options else []
        )

    def script(self, name: str, module: str, options: list[str]) -> Path:
        script = self.path / name
        command = shlex.join([sys.executable, "-m", module, *options])
        script.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(LAB))} exec {command} "$@"\n')
        script.chmod(0o755)
        return script

    def up(self) -> None:
        for number in range(3):
            region, port = self.path / f"r{number}", free_port()
            identity = f"0000000{number}-0000-4000-8000-000000000000"
            geometry = ["--block-size", "512", "--extent-size", "100", "--extent-count", "15"]
            create = [str(self.downstairs), "create", "--data", str(region), "--uuid", identity, *geometry]
            subprocess.run(create, check=True, capture_output=True, timeout=30)
            run = [str(self.downstairs), "run", "-d", str(region), "-a", "127.0.0.1", "-p", str(port)]
            self.supervisor.start(Service(f"ds{number}", run), timeout=10)
            self.targets.append(f"127.0.0.1:{port}")

    def down(self) -> None:
        for name in ("ds0", "ds1", "ds2", "server"):
            self.supervisor.stop(name, timeout=5)

    def server(self, **changes: Any) -> dict[str, Any]:
        options = {
            "name": "server",
            "address": "127.0.0.1",
            "port": int(self.address.rpartition(":")[2]),
            "executable": str(self.wrapper),
            "bootrom": str(self.path / "rom.fd"),
            "api": "2023-01" if self.age == "2023-01" else "auto",
            "vnc_address": f"127.0.0.1:{free_port()}",
            "run_dir": str(self.path / "run"),
        }
        return run_module(propolis_server.main, {**options, **changes})

    def instance(self, state: str, generation: int = 1, **changes: Any) -> dict[str, Any]:
        volume = {**samples.VOLUMES["helios"], "blocks_per_extent": 100, "extent_count": 15, "targets": self.targets}
        requests = disk_requests([samples.DISK], {"helios": volume}, {"helios": generation})
        options = {
            "server": self.address,
            "id": samples.INSTANCE_ID,
            "name": "vm0",
            "spec": instance_description({"vcpus": 2, "memory_mib": 128}, requests),
            "state": state,
            "timeout": 20,
            "server_log": str(self.path / "run" / "server.log"),
        }
        return run_module(propolis_instance.main, {**options, **changes})

    def stored_generation(self) -> int:
        """The highest generation in the first region, as the program that serves it dumps it."""
        dump = [str(self.downstairs), "dump", "--no-color", "-d", str(self.path / "r0")]
        shown = subprocess.run(dump, check=True, capture_output=True, text=True, timeout=30).stdout
        return int(shown.rpartition("Max gen: ")[2].partition(",")[0])

    def info(self) -> dict[str, Any]:
        result = run_module(propolis_instance_info.main, {"server": self.address})
        found: dict[str, Any] = result["servers"][0]
        return found


@pytest.fixture
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path, request.param)
    lab.address = f"127.0.0.1:{free_port()}"
    try:
        lab.up()
        yield lab
    finally:
        lab.down()


@pytest.mark.parametrize("lab", ["today", "2023-01"], indirect=True)
def test_a_machine_lives_its_whole_life_at_a_server_of_either_age(lab: Lab) -> None:
    today = lab.age == "today"
    vnc = {"vnc_address": f"127.0.0.1:{free_port()}"}
    assert lab.server(**vnc)["changed"] is True
    assert lab.server(**vnc)["changed"] is False
    assert lab.info()["instance"] is None

    first = lab.instance("running")
    assert first.get("failed") is None, first
    assert first["instance"]["state"] == "Running"
    assert first["instance"]["dialect"] == ("5.0.0" if today else "2023-01")
    second = lab.instance("running", generation=2)
    assert (second["changed"], second.get("warnings")) == (False, None)

    held = lab.info()
    assert held["error"] is None
    assert held["disks"][0]["generation"] == 1
    assert held["disks"][0]["active"] is (True if today else None)

    refused = lab.server(**vnc, state="stopped")
    assert refused["failure"]["code"] == "holds_instance"
    assert lab.instance("running", id=samples.DESTINATION_ID)["failure"]["code"] == "server_occupied"
    assert lab.instance("rebooted")["instance"]["state"] == "Running"

    assert lab.instance("absent")["changed"] is True
    assert lab.instance("absent")["changed"] is False
    assert lab.server(**vnc, state="absent")["changed"] is True


@pytest.mark.parametrize("lab", ["today"], indirect=True)
def test_a_generation_that_was_used_is_named_as_the_reason_and_a_higher_one_works(lab: Lab) -> None:
    lab.server()
    assert lab.instance("running")["changed"] is True
    # A generation is used up when the guest's first write is flushed with it.
    assert wait_until(lambda: True if lab.stored_generation() == 1 else None, 20)
    lab.instance("stopped")
    failed = lab.instance("running", generation=1)
    assert failed["failure"]["code"] == "instance_failed"
    assert "1 was asked for, at least 2 is needed" in failed["msg"]
    assert lab.instance("running", generation=2)["instance"]["state"] == "Running"
