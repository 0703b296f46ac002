# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's programs as processes of their own, as users start them: three downstairs and any number of servers."""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lab_programs
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.instance import Change, State
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.migration_request import Move
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.server import Server
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_description import Description

VM = "0cc7d20f-ee8e-49ad-b89c-b58f3a4f76d6"
VOLUME = "b0ecbd89-70bd-4ca6-aa86-d36bc0555930"
BLOCKS, EXTENTS = 64, 8
QUICK = {"nvme_stall_seconds": 0}


def free_port(host: str) -> int:
    with socket.create_server((host, 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for(what: str, true: Any, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"{what} did not come about in {seconds} s"
        time.sleep(0.02)


def listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), 0.2):
            return True
    except OSError:
        return False


@dataclass
class LabServer:
    """A server process; ``faults`` may be changed while it runs."""

    name: str
    address: str
    process: lab_programs.Program
    faults: Path

    def fault(self, **settings: Any) -> None:
        fresh = self.faults.with_suffix(".new")
        fresh.write_text(json.dumps(QUICK | settings))
        fresh.replace(self.faults)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class Lab:
    """All processes of one test, and the instance in words of our own client."""

    folder: Path
    age: str | None = None
    api: str = "5.0.0"
    servers: dict[str, LabServer] = field(default_factory=dict)
    downstairs: list[lab_programs.Program] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)

    def _run(self, arguments: list[str], log: str) -> lab_programs.Program:
        output = self.folder / log
        return lab_programs.start(*arguments, directory=self.folder, environment=os.environ, output=output)

    def _age(self, word: str) -> list[str]:
        return ["--age", word] if self.age else []

    def start_downstairs(self, number: int) -> None:
        command = ["propolis_lab.downstairs", *self._age("2023"), "run", "-d", f"r{number}", "-a", "127.0.6.9"]
        process = self._run([*command, "-p", str(self.ports[number])], f"ds{number}.log")
        self.downstairs[number : number + 1] = [process]
        wait_for("the downstairs", lambda: listens("127.0.6.9", self.ports[number] + 4000))

    def make_downstairs(self) -> None:
        makers = []
        for number in range(3):
            command = ["propolis_lab.downstairs", *self._age("2023"), "create", "--data", f"r{number}", "--uuid"]
            geometry = ["--extent-size", str(BLOCKS), "--extent-count", str(EXTENTS)]
            makers.append(self._run([*command, str(uuid.uuid4()), *geometry], f"ds{number}.log"))
            self.ports.append(free_port("127.0.6.9") % 20000 + 20000)
        assert [maker.wait(20) for maker in makers] == [0, 0, 0]
        for number in range(3):
            self.start_downstairs(number)

    def start_server(self, name: str, host: str, **faults: Any) -> LabServer:
        port = free_port(host)
        settings = self.folder / f"{name}.json"
        settings.write_text(json.dumps(QUICK | faults))
        form = ["--age", "2023-01"] if self.age else ["--latest-api", self.api]
        if self.age:
            config = self.folder / f"{name}.toml"
            config.write_text(f'bootrom = "{self.folder}/bootrom"\n')
            target = str(config)
        else:
            target = str(self.folder / "bootrom")
        (self.folder / "bootrom").write_bytes(bytes(4096))
        options = ["--history", str(self.folder / "history.jsonl"), "--faults", str(settings)]
        command = ["propolis_lab.server", *form, *options, "run", target, f"{host}:{port}"]
        process = self._run(command, f"{name}.log")
        made = LabServer(name, f"{host}:{port}", process, settings)
        self.servers[name] = made
        wait_for(f"the server {name}", lambda: listens(host, port))
        return made

    def volume(self, generation: int) -> dict[str, Any]:
        opts = {
            "id": VOLUME,
            "target": [f"127.0.6.9:{port}" for port in self.ports],
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
            "blocks_per_extent": BLOCKS,
            "extent_count": EXTENTS,
            "gen": generation,
            "opts": opts,
        }
        return {
            "type": "volume",
            "id": VOLUME,
            "block_size": 512,
            "sub_volumes": [region],
            "read_only_parent": None,
        }

    def open(self, name: str) -> Server:
        return Server.open(self.servers[name].address, name=name, timeout=5)

    def boot(self, name: str, generation: int = 1) -> None:
        disk = {
            "name": "boot",
            "slot": 0,
            "device": "virtio",
            "read_only": False,
            "volume_construction_request": self.volume(generation),
        }
        server = self.open(name)
        server.ensure(VM, "vm0", Description.from_json({"cpus": 1, "memory_mib": 64, "disks": [disk]}), timeout=20)
        server.change_state(Change.RUN)
        wait_for("Running", lambda: (server.instance() or _nothing()).state is State.RUNNING)

    def move(self, source: str, destination: str, generation: int, **more: Any) -> Move:
        values: dict[str, Any] = {
            "instance": {"id": VM, "name": "vm0"},
            "source": {"name": source, "address": self.servers[source].address},
            "destination": {"name": destination, "address": self.servers[destination].address},
            "disks": [
                {
                    "name": "boot",
                    "generation": generation,
                    "volume_construction_request": self.volume(generation),
                }
            ],
            "servers": [{"name": one.name, "address": one.address} for one in self.servers.values()],
            "timeout": 30.0,
            "ask_timeout": 2.0,
        }
        return Move.read(**(values | more))

    def close(self) -> None:
        processes = [server.process for server in self.servers.values()] + self.downstairs
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def _nothing() -> Any:
    raise AssertionError("the server holds no instance")


@contextmanager
def lab(folder: Path, *, age: str | None = None, api: str = "5.0.0") -> Iterator[Lab]:
    """Three downstairs and the servers alpha and beta, the instance running on alpha at generation 1."""
    made = Lab(folder, age, api)
    try:
        made.make_downstairs()
        made.start_server("alpha", "127.0.6.1")
        made.start_server("beta", "127.0.6.2")
        made.boot("alpha")
        yield made
    finally:
        made.close()
