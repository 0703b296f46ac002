# SPDX-License-Identifier: GPL-3.0-or-later
"""Contract: whatever the server's stand-in answers in the life of a machine is allowed by the API document of its age.

The life: no instance, created, running, looked at, refused nonsense, moved to a second server, stopped. At the end
every operation of the document must have been answered with success at least once, so that nothing is left unchecked.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from recordings.http_events import Answer, Request
from recordings.http_lab import Lab, running, wait_until
from recordings.http_masks import Places
from recordings.http_ports import ADDRESS, Ports
from recordings.http_wire import open_websocket, send
from recordings.openapi import VERSIONS, Document, document, find_operation, validate_answer, validate_request
from shared import needs_shared

pytestmark = [needs_shared, pytest.mark.recordings_http]

SEED = "2023-01"
ALPHA = 12400
DOWNSTAIRS = (3810, 3820, 3830)
PATIENCE = 30.0
DISK = "disk0-backend"
Json = Any


@dataclass
class Client:
    """Asks one server of one age; every body sent and every answer is checked against the document."""

    document: Document
    port: int
    headers: tuple[tuple[str, str], ...]
    answered: set[tuple[str, str]] = field(default_factory=set)
    """Method and template of the operations that were answered with success."""
    statuses: dict[int, int] = field(default_factory=dict)

    def request(self, method: str, target: str, text: str) -> Request:
        headers = [("Host", f"{ADDRESS}:{self.port}"), *self.headers, ("content-type", "application/json")]
        return Request(self.port, method, target, (*headers, ("content-length", str(len(text)))), text)

    def ask(self, method: str, target: str, body: Json = None, *, nonsense: bool = False) -> tuple[int, Json]:
        """Status and parsed body; `nonsense`: the body is wrong on purpose."""
        if not nonsense:
            validate_request(self.document, method, target, body)
        answer = send(ADDRESS, self.request(method, target, "" if body is None else json.dumps(body)), PATIENCE)
        assert isinstance(answer, Answer), f"{method} {target}: {answer}"
        validate_answer(self.document, method, target, answer.status, answer.body.encode())
        assert answer.status < 400 or not nonsense or answer.status in (400, 404)
        self._count(method, target, answer.status)
        return answer.status, json.loads(answer.body) if answer.body else None

    def good(self, method: str, target: str, body: Json = None) -> Json:
        status, value = self.ask(method, target, body)
        assert status < 300, f"{method} {target}: {status} {value}"
        return value

    def upgrade(self, target: str) -> None:
        """A websocket: 101, which the document may name."""
        request = self.request("GET", target, "")
        headers = (
            *(header for header in request.headers if header[0] not in ("content-type", "content-length")),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dqbFClcAa1N9vbWpb+Fzhg=="),
        )
        answer, websocket = open_websocket(ADDRESS, Request(self.port, "GET", target, headers, ""), PATIENCE)
        assert isinstance(answer, Answer)
        assert websocket is not None, answer
        validate_answer(self.document, "GET", target, answer.status, answer.body.encode())
        self._count("GET", target, answer.status)
        websocket.close()

    def _count(self, method: str, target: str, status: int) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status < 300:
            operation = find_operation(self.document, method, target)
            self.answered.add((operation.method, operation.template))

    def reaches(self, state: str) -> None:
        def reached() -> bool:
            status, value = self.ask("GET", "/instance")
            return status == 200 and value["instance"]["state"] == state

        assert wait_until(reached, PATIENCE), f"not {state}: {self.ask('GET', '/instance')}"


def volume(places: Places, identity: str, generation: int) -> Json:
    """A volume construction request over the three regions."""
    unset = dict.fromkeys(("flush_timeout", "key", "cert_pem", "key_pem", "root_cert_pem", "control"))
    targets = [f"{ADDRESS}:{places.ports[port]}" for port in DOWNSTAIRS]
    options = {"id": identity, "target": targets, "lossy": False, "read_only": False, **unset}
    geometry = {"block_size": 512, "blocks_per_extent": 100, "extent_count": 20}
    region = {"type": "region", **geometry, "gen": generation, "opts": options}
    return {
        "type": "volume",
        "id": identity,
        "block_size": 512,
        "sub_volumes": [region],
        "read_only_parent": None,
    }


@contextmanager
def servers(folder: Path, version: str, count: int = 2) -> Iterator[tuple[Lab, list[Client]]]:
    """Some servers of the age and three downstairs of the same."""
    recorded = list(range(ALPHA, ALPHA + count))
    ports = Ports.choose(set(recorded), set(DOWNSTAIRS))
    regions = {port: str(uuid.uuid4()) for port in DOWNSTAIRS}
    seed = version == SEED
    lab = Lab(
        folder,
        ports,
        regions,
        ("--age", "2023") if seed else (),
        ("--age", SEED) if seed else ("--latest-api", version),
    )
    first = folder / ("config.toml" if seed else "bootrom.bin")
    (folder / "bootrom.bin").write_bytes(b"\0" * 4096)
    if seed:
        first.write_text(f'bootrom = "{folder}/bootrom.bin"\n', encoding="utf-8")
    headers = () if seed else (("api-version", version),)
    with running(lab):
        lab.up_downstairs(DOWNSTAIRS)
        for port in recorded:
            lab.up_server(f"srv{port}", port, str(first))
        yield lab, [Client(document(version), ports.table[port], headers) for port in recorded]


def look(client: Client) -> None:
    """Every request that changes nothing, answered or refused."""
    for target in ("/instance", "/instance/spec", "/instance/migration-status", f"/instance/disk/{DISK}/status"):
        client.ask("GET", target)
    for query in ("from_start=0", "most_recent=10&max_bytes=3", "from_start=999999", "bogus=1"):
        client.ask("GET", f"/instance/serial/history?{query}")
    client.ask("GET", "/instance/state-monitor", {"gen": 0})
    client.ask("GET", "/instance/state-monitor", {}, nonsense=True)
    client.ask("GET", "/instance/disk/nope/status")


def properties(name: str) -> Json:
    metadata = {key: str(uuid.uuid4()) for key in ("silo_id", "project_id", "sled_id")}
    sled = {"sled_serial": "s", "sled_revision": 1, "sled_model": "m"}
    return {"id": str(uuid.uuid4()), "name": name, "description": "", "metadata": {**metadata, **sled}}


def spec(version: str, request_json: str) -> Json:
    board = {
        "cpus": 1,
        "memory_mb": 128,
        "chipset": {"type": "i440_fx", "value": {"enable_pcie": False}},
        "guest_hv_interface": {"type": "bhyve"},
        "cpuid": None,
    }
    disk = {
        "backend_id": DISK,
        "pci_path": {"bus": 0, "device": 16, "function": 0},
        "serial_number": [0] * 20,
    }
    backend = {"request_json": request_json, "readonly": False}
    components = {
        "com1": {"type": "serial_port", "component": {"num": "com1"}},
        "disk0": {"type": "nvme_disk", "component": disk},
        DISK: {"type": "crucible_storage_backend", "component": backend},
    }
    return {"board": board, "components": components, **({} if version == "1.0.0" else {"smbios": None})}


@pytest.mark.parametrize("version", VERSIONS)
def test_all_answers_in_the_life_of_a_machine_are_allowed_by_the_document_of_their_version(
    version: str, tmp_path: Path
) -> None:
    identity = str(uuid.uuid4())
    with servers(tmp_path, version) as (lab, (alpha, beta)):
        requests = [json.dumps(volume(lab.places, identity, generation)) for generation in (1, 2, 3)]
        look(alpha)
        alpha.ask("PUT", "/instance/state", "run", nonsense=True)
        alpha.ask("PUT", "/instance", {"properties": 1}, nonsense=True)
        create = {
            "properties": properties("vm0"),
            "init": {"method": "Spec", "value": {"spec": spec(version, requests[0])}},
        }
        alpha.good("PUT", "/instance", create)
        assert alpha.ask("PUT", "/instance", create)[0] == 409
        look(alpha)
        alpha.good("PUT", "/instance/state", "Run")
        alpha.reaches("Running")
        look(alpha)
        alpha.good("PUT", "/instance/state", "Reboot")
        alpha.good("POST", "/instance/nmi")
        alpha.good("POST", f"/instance/disk/{DISK}/snapshot/{uuid.uuid4()}")
        assert alpha.ask("PUT", f"/instance/disk/{DISK}/vcr", {"vcr_json": requests[0]})[0] == 400
        alpha.good("PUT", f"/instance/disk/{DISK}/vcr", {"vcr_json": requests[1]})
        alpha.upgrade("/instance/serial?from_start=0")
        move(alpha, beta, requests[2])
        look(alpha)
        look(beta)
        beta.good("PUT", "/instance/state", "Stop")
        beta.reaches("Destroyed")
        look(beta)
        assert beta.ask("GET", "/instance/state-monitor", {"gen": 999})[0] == 410
        beta.upgrade(f"/instance/migrate/{uuid.uuid4()}/start")
    assert_everything_was_answered(alpha, beta)
    assert {200, 201, 204, 400, 404, 409, 410, 424} <= alpha.statuses.keys() | beta.statuses.keys()


def move(alpha: Client, beta: Client, request_json: str) -> None:
    """Alpha's machine to beta; both are looked at all the while."""
    replacement = {"component": "CrucibleStorageBackend", "spec": {"request_json": request_json, "readonly": False}}
    target = {
        "migration_id": str(uuid.uuid4()),
        "src_addr": f"{ADDRESS}:{alpha.port}",
        "replace_components": {DISK: replacement},
    }
    beta.good(
        "PUT", "/instance", {"properties": properties("vm0"), "init": {"method": "MigrationTarget", "value": target}}
    )

    def arrived() -> bool:
        for client in (alpha, beta):
            client.ask("GET", "/instance/migration-status")
            client.ask("GET", "/instance/state-monitor", {"gen": 0})
        return bool(beta.ask("GET", "/instance")[1]["instance"]["state"] == "Running")

    assert wait_until(arrived, PATIENCE)
    alpha.reaches("Destroyed")


def assert_everything_was_answered(*clients: Client) -> None:
    wanted = {
        (method.upper(), template)
        for template, methods in clients[0].document.content["paths"].items()
        for method in methods
        if method != "parameters"
    }
    assert set().union(*(client.answered for client in clients)) == wanted


# -- January 2023 ------------------------------------------------------------------------------------------------------


def old_properties() -> Json:
    nothing = str(uuid.UUID(int=0))
    ids = {"id": str(uuid.uuid4()), "image_id": nothing, "bootrom_id": nothing}
    return {**ids, "name": "vm0", "description": "", "memory": 128, "vcpus": 1}


def old_look(client: Client) -> None:
    for target in ("/instance", "/instance/spec"):
        client.ask("GET", target)
    for query in ("from_start=0", "most_recent=10&max_bytes=3", "from_start=999999", "bogus=1"):
        client.ask("GET", f"/instance/serial/history?{query}")
    client.ask("GET", "/instance/state-monitor", {"gen": 0})
    client.ask("GET", "/instance/migrate/status", {"migration_id": str(uuid.uuid4())})


def old_create(lab: Lab, identity: str, generation: int, migrate: Json = None) -> Json:
    request = volume(lab.places, identity, generation)
    disk = {"name": "disk0", "slot": 1, "read_only": False, "device": "virtio", "volume_construction_request": request}
    disks = {"nics": [], "disks": [disk], "migrate": migrate, "cloud_init_bytes": None}
    return {"properties": old_properties(), **disks}


def old_move(lab: Lab, identity: str, alpha: Client, beta: Client) -> None:
    """As the command line of that time did it; the machine waits at the destination until somebody runs it."""
    instance = alpha.good("GET", "/instance")["instance"]
    alpha.good("PUT", "/instance/state", "MigrateStart")
    identification = {"migration_id": str(uuid.uuid4()), "src_uuid": instance["properties"]["id"]}
    migrate = {**identification, "src_addr": f"{ADDRESS}:{alpha.port}"}
    beta.good("PUT", "/instance", old_create(lab, identity, 2, migrate))
    asked = {"migration_id": identification["migration_id"]}

    def finished() -> bool:
        alpha.ask("GET", "/instance/migrate/status", asked)  # refused once the machine has left: not waited for
        status, value = beta.ask("GET", "/instance/migrate/status", asked)
        return bool(status == 200 and value["state"] == "Finish")

    assert wait_until(finished, PATIENCE)


def test_all_answers_in_the_life_of_a_machine_of_january_2023_are_allowed_by_the_document_of_that_time(
    tmp_path: Path,
) -> None:
    identity = str(uuid.uuid4())
    with servers(tmp_path, SEED, 3) as (lab, (alpha, beta, gamma)):
        old_look(alpha)
        alpha.ask("PUT", "/instance/state", "run", nonsense=True)
        alpha.ask("PUT", "/instance", {"properties": 1}, nonsense=True)
        alpha.good("PUT", "/instance", old_create(lab, identity, 1))
        alpha.good("PUT", "/instance/state", "Run")
        alpha.reaches("Running")
        old_look(alpha)
        alpha.good("POST", "/instance/nmi")
        alpha.good("POST", f"/instance/disk/{identity}/snapshot/{uuid.uuid4()}")
        alpha.upgrade("/instance/serial?from_start=0")
        specification = alpha.good("GET", "/instance/spec")["spec"]
        gamma.good("PUT", "/instance/spec", {"properties": old_properties(), "instance_spec": specification})
        old_look(gamma)
        old_move(lab, identity, alpha, beta)
        beta.good("PUT", "/instance/state", "Run")
        beta.reaches("Running")
        old_look(alpha)
        old_look(beta)
        beta.good("PUT", "/instance/state", "Stop")
        old_look(beta)
    assert_everything_was_answered(alpha, beta, gamma)
