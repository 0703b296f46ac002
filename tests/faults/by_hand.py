# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody does to the propolis servers of a lab by hand, beside all plays, and with none of their care."""

from __future__ import annotations

import contextlib
import json
import uuid
from typing import Any

import requests
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.facts import look_at_all
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger import Ledger
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger_entries import Entry, Floor
from played_lab import Lab

DISK = "helios-blockdev-backend"


def send(lab: Lab, method: str, host: str, path: str, body: Any, timeout: float = 5) -> requests.Response:
    """One request to the propolis server on ``host``. Raises ``requests.Timeout`` when it does not answer in time."""
    headers = {"api-version": "5.0.0"}
    return requests.request(method, lab.url(host) + path, json=body, headers=headers, timeout=timeout)


def volume_request(lab: Lab, host: str, generation: int) -> str:
    """The volume construction request of the disk of the instance on ``host``, at another generation."""
    return _request_of(lab.ask(host, "/instance/spec"), generation)


def _request_of(described: Any, generation: int) -> str:
    """The same of an instance that a server ``described`` (``/instance/spec``)."""
    component = described["spec"]["value"]["components"][DISK]["component"]
    request: dict[str, Any] = json.loads(component["request_json"])
    request["sub_volumes"][0]["gen"] = generation
    return json.dumps(request)


def put_instance(lab: Lab, host: str, original: str, instance: str, generation: int | None = None) -> None:
    """Make what runs on the server ``original`` once more on ``host``, with the id ``instance``, and do not run it.

    With a ``generation`` it has the same disk, at that number; else it has none.
    """
    found = lab.ask(original, "/instance/spec")
    found["properties"]["id"] = instance
    _make(lab, host, found, generation)


def _make(lab: Lab, host: str, described: Any, generation: int | None) -> None:
    spec = described["spec"]["value"]
    if generation is None:
        for name in (DISK, DISK.removesuffix("-backend")):
            del spec["components"][name]
    else:
        spec["components"][DISK]["component"]["request_json"] = _request_of(described, generation)
    body = {"properties": described["properties"], "init": {"method": "Spec", "value": {"spec": spec}}}
    assert send(lab, "PUT", host, "/instance", body).status_code == 201


def run_copy(lab: Lab, host: str, original: str, instance: str, generation: int) -> None:
    """Make such an instance with the disk of the original, and tell it to run."""
    put_instance(lab, host, original, instance, generation)
    assert send(lab, "PUT", host, "/instance/state", "Run").status_code == 204


def answers(lab: Lab, host: str) -> bool:
    """Whether the propolis server on ``host`` answers now, whatever it says."""
    with contextlib.suppress(requests.ConnectionError):
        send(lab, "GET", host, "/instance", None)
        return True
    return False


def cold_start(lab: Lab, host: str, described: Any, volume_id: str) -> None:
    """Boot the machine that a server once ``described`` (``/instance/spec``) from its disk, at a number never used."""
    arbiter, *others = [Ledger(path, volume_id) for path in sorted(lab.root.glob("hosts/*/crucible/vm0-boot/*.ledger"))]
    floors = [Floor(other.last, str(other.path)) for other in others]
    # A session that was begun by hand has left its number in the regions alone.
    regions = look_at_all([ledger.path.with_suffix("") for ledger in (arbiter, *others)], None, "trailers", None)
    floors += [Floor(region.max_generation, str(region.path)) for region in regions]
    entry, _is_new = arbiter.allocate(Entry(0, "start", "vm0", lab.address(host)), floors=floors)
    for other in others:
        other.record([entry])
    lab.until(f"the server on {host} answers", lambda: answers(lab, host))
    _make(lab, host, described, entry.generation)
    assert send(lab, "PUT", host, "/instance/state", "Run").status_code == 204


def stop(lab: Lab, host: str) -> None:
    """Stop the instance on ``host`` and wait until it is gone."""
    assert send(lab, "PUT", host, "/instance/state", "Stop").status_code == 204
    lab.until(f"{host} has stopped", lambda: lab.state(host) == "Destroyed")


def migrate(lab: Lab, source: str, destination: str, generation: int) -> None:
    """Ask ``destination`` to fetch the instance from ``source``, whatever becomes of its disk at that generation."""
    found = lab.ask(source, "/instance/spec")
    replacement = {"readonly": False, "request_json": volume_request(lab, source, generation)}
    value = {
        "migration_id": str(uuid.uuid4()),
        "src_addr": lab.address(source),
        "replace_components": {DISK: {"component": "CrucibleStorageBackend", "spec": replacement}},
    }
    body = {"properties": found["properties"], "init": {"method": "MigrationTarget", "value": value}}
    assert send(lab, "PUT", destination, "/instance", body).status_code == 201
