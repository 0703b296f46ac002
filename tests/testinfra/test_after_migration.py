# SPDX-License-Identifier: GPL-3.0-or-later
"""What is true on the hosts after migrate.yml, seen from outside: processes, ports, files, APIs, the lab's history."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import Inventory

Line = dict[str, Any]


def targets(inventory: Inventory) -> Iterator[tuple[str, str, str, int]]:
    """Each target: volume, host, region directory, port."""
    for name, volume in inventory.volumes.items():
        for target in volume["targets"]:
            root = inventory.variable(target["host"], "crucible_downstairs_root")
            yield name, target["host"], f"{root}/{name}/{target['port']}", target["port"]


def ledger(inventory: Inventory, host: str, path: str) -> list[Line]:
    lines = [json.loads(line) for line in inventory.host(host).file(f"{path}.ledger").content_string.splitlines()]
    return [line for line in lines if "generation" in line]


def server(inventory: Inventory, instance: str, host: str, path: str) -> requests.Response:
    address = inventory.variable(host, "propolis_server_address")
    port = inventory.instances[instance]["port"]
    versions = {} if inventory.variable(host, "propolis_server_form") == "2023-01" else {"api-version": "5.0.0"}
    return requests.get(f"http://{address}:{port}{path}", headers=versions, timeout=10)


@pytest.fixture(scope="session")
def history(inventory: Inventory) -> dict[str, list[Line]]:
    """The lab's own record, by instance id, in the order of time, once each guest has written where it was moved to.

    The writes of an nvme disk wait after a move for the guest's own timeout; a guest that never writes fails its tests.
    """
    root = Path(inventory.variable(inventory.group("propolis_servers")[0], "lab_root"))
    moved = [inventory.instances[name]["id"] for name in inventory.moves]
    limit = time.monotonic() + 60
    found = read_history(root)
    while time.monotonic() < limit and not all(len(written_on(found[one])) > 1 for one in moved):
        time.sleep(0.2)  # a file of others: there is no event to wait for
        found = read_history(root)
    return found


def read_history(root: Path) -> dict[str, list[Line]]:
    lines: dict[str, list[Line]] = defaultdict(list)
    whole = (root / "history.jsonl").read_text().rpartition("\n")[0]
    for text in whole.splitlines():
        line = json.loads(text)
        lines[str(line.get("instance"))].append(line)
    for found in lines.values():
        found.sort(key=lambda line: float(line["monotonic"]))
    return lines


def written_on(lines: list[Line]) -> set[str]:
    return {line["server"] for line in lines if line["event"] == "heartbeat"}


def test_each_downstairs_listens_on_the_address_of_its_host_and_on_no_other(inventory: Inventory) -> None:
    for _name, host, _path, port in targets(inventory):
        address = inventory.variable(host, "crucible_downstairs_address")
        for place in (port, port + 4000):
            assert inventory.host(host).socket(f"tcp://{address}:{place}").is_listening, f"{host}: {address}:{place}"
            assert not inventory.host(host).socket(f"tcp://0.0.0.0:{place}").is_listening


def test_each_region_is_private_to_its_user_and_complete(inventory: Inventory) -> None:
    for name, host, path, _port in targets(inventory):
        definition = inventory.host(host).file(f"{path}/region.json")
        assert definition.mode == 0o600, f"{name} on {host}"
        found = json.loads(definition.content_string)
        assert found["extent_size"]["value"] == inventory.volumes[name]["blocks_per_extent"]
        extents = (
            inventory.host(host).run("find %s/00 -type f -name '[0-9A-F][0-9A-F][0-9A-F]'", path).stdout.splitlines()
        )
        assert len(extents) == found["extent_count"], f"{name} on {host}"


def test_the_three_ledgers_of_a_volume_hold_the_same_rising_numbers(inventory: Inventory) -> None:
    by_volume: dict[str, list[list[int]]] = defaultdict(list)
    for name, host, path, _port in targets(inventory):
        by_volume[name].append([entry["generation"] for entry in ledger(inventory, host, path)])
    for name, ledgers in by_volume.items():
        assert ledgers[0] == ledgers[1] == ledgers[2], name
        assert ledgers[0] == sorted(set(ledgers[0])), name


def test_each_move_has_spent_one_number_for_the_start_and_one_for_the_move(inventory: Inventory) -> None:
    moved = {disk["volume"] for name in inventory.moves for disk in inventory.instances[name]["disks"]}
    for name, host, path, _port in targets(inventory):
        if name in moved:
            assert [entry["reason"] for entry in ledger(inventory, host, path)] == ["start", "migrate"], (
                f"{name}, {host}"
            )


def test_each_instance_runs_at_its_destination(inventory: Inventory) -> None:
    for name, destination in inventory.moves.items():
        assert server(inventory, name, destination, "/instance").json()["instance"]["state"] == "Running", name


def test_no_other_server_runs_the_instance(inventory: Inventory) -> None:
    for name, destination in inventory.moves.items():
        for host in inventory.instances[name].get("hosts", inventory.group("propolis_servers")):
            if host != destination:
                answer = server(inventory, name, host, "/instance")
                assert not answer.ok or answer.json()["instance"]["state"] == "Destroyed", f"{name} on {host}"


def test_the_disks_are_active_at_the_generation_that_was_allocated(inventory: Inventory) -> None:
    for name, destination in inventory.moves.items():
        if inventory.variable(destination, "propolis_server_form") == "2023-01":
            spec = server(inventory, name, destination, "/instance/spec").json()["spec"]
            for disk in inventory.instances[name]["disks"]:
                request = spec["backends"]["storage_backends"][disk["name"]]["kind"]["crucible"]["req"]
                assert request["sub_volumes"][0]["gen"] == 2
            continue
        for disk in inventory.instances[name]["disks"]:
            status = server(inventory, name, destination, f"/instance/disk/{disk['name']}-backend/status").json()
            upstairs = status["volume_info"]["volume"]["sub_volumes"][0]["upstairs"]
            assert (upstairs["state"], upstairs["generation"]) == ("active", 2), f"{name}/{disk['name']}"
            assert [target["state"]["type"] for target in upstairs["targets"]] == ["active"] * 3


def test_each_guest_was_booted_once_and_its_heartbeats_have_no_hole_and_no_double(
    inventory: Inventory, history: dict[str, list[Line]]
) -> None:
    for name in inventory.moves:
        lines = history[inventory.instances[name]["id"]]
        boots = [line for line in lines if line["event"] == "guest" and line["what"] == "begin"]
        assert len(boots) == 1, f"{name} was booted {len(boots)} times"
        beats = [line for line in lines if line["event"] == "heartbeat"]
        numbers = [line["number"] for line in beats]
        wrong = [(one, two) for one, two in pairwise(numbers) if two != one + 1]
        assert (numbers[0], wrong) == (1, []), f"{name}: heartbeats that do not follow each other: {wrong}"
        # Two heartbeats may be of one tick: writes of an nvme disk wait after a move, and are made up for then.
        ticks = [line["tick"] for line in beats]
        back = [(one, two) for one, two in pairwise(ticks) if two < one]
        assert back == [], f"{name}: the guest's memory went back in time: {back}"


def test_each_guest_has_written_on_both_servers_first_at_one_generation_then_at_the_next(
    inventory: Inventory, history: dict[str, list[Line]]
) -> None:
    for name in inventory.moves:
        beats = [line for line in history[inventory.instances[name]["id"]] if line["event"] == "heartbeat"]
        seen = list(dict.fromkeys((line["server"], line["generation"]) for line in beats))
        assert [generation for _server, generation in seen] == [1, 2], f"{name}: {seen}"


def test_no_two_servers_ever_published_running_at_once(inventory: Inventory, history: dict[str, list[Line]]) -> None:
    for name in inventory.moves:
        state: dict[str, str] = {}
        for line in history[inventory.instances[name]["id"]]:
            if line["event"] == "published":
                state[line["server"]] = line["state"]
                running = [place for place, found in state.items() if found == "Running"]
                assert len(running) <= 1, f"{name} at {line['monotonic']}: {running}"
