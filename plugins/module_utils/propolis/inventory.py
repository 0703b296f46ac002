# SPDX-License-Identifier: GPL-3.0-or-later
"""All instances of an inventory together, and the moves that are asked for: what cannot be."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..crucible.volume import check_generation
from ..failures import CollectionError
from . import spec_requests
from .migration_request import WaitFor

_MEMBERS = {
    "id": "a uuid",
    "vcpus": "a number of processors",
    "memory_mib": "a number of MiB",
    "host": "the host where it is started when it runs nowhere",
}
_HIGHEST_PORT = 65535
DEFAULT_SERVER_ROOT = "/var/lib/propolis"


def instance_problems(
    instances: Mapping[str, Any], volumes: Mapping[str, Any], names: Sequence[str], hosts: Sequence[str]
) -> list[str]:
    """Sentences on what cannot be; an empty list when all is well.

    ``names`` are the instances that somebody asked for, ``hosts`` those where propolis servers can run.
    """
    known = ", ".join(instances) or "none"
    problems = [
        f"The instance {name!r} is not known; propolis_instances has {known}."
        for name in names
        if name not in instances
    ]
    problems.extend(_misshapen(instances))
    if problems:
        return problems
    for name, instance in instances.items():
        problems.extend(_problems_of_one(name, instance, volumes, hosts))
    problems.extend(_shared_ids(instances))
    problems.extend(_shared_volumes(instances, volumes))
    return problems


def move_problems(instances: Mapping[str, Any], moves: Mapping[str, str], hosts: Sequence[str]) -> list[str]:
    """What is wrong with the moves that are asked for: instance → destination, by inventory names."""
    problems = []
    for name, destination in moves.items():
        if name not in instances:
            problems.append(
                f"The instance to move, {name!r}, is not known; propolis_instances has {', '.join(instances)}."
            )
            continue
        allowed = instances[name].get("hosts") or hosts
        if destination not in hosts:
            problems.append(
                f"The destination of {name} is {destination!r}, which is not a host of the group propolis_servers; "
                f"expected one of {', '.join(hosts)}."
            )
        elif destination not in allowed:
            problems.append(
                f"The destination of {name} is {destination!r}, which propolis_instances.{name}.hosts leaves out; "
                f"expected one of {', '.join(allowed)}."
            )
    return problems


def generation_problems(generations: Mapping[str, Any], volumes: Mapping[str, Any]) -> list[str]:
    """What is wrong with the numbers that somebody asked for, volume → generation, as far as can be told beforehand."""
    problems = []
    for name, number in generations.items():
        if name not in volumes:
            problems.append(
                f"A generation is asked for {name!r}, which is no volume; crucible_volumes has "
                f"{', '.join(volumes) or 'none'}."
            )
            continue
        try:
            check_generation(number, f"The generation for {name}")
        except CollectionError as error:
            problems.append(error.message)
    return problems


def _misshapen(instances: Mapping[str, Any]) -> Iterator[str]:
    for name, instance in instances.items():
        place = f"propolis_instances.{name}"
        if not isinstance(instance, Mapping):
            yield f"{place} is {instance!r}; expected a dictionary with {', '.join(_MEMBERS)} and disks."
            continue
        disks = instance.get("disks") or []
        if not isinstance(disks, list):
            yield f"{place}.disks is {disks!r}; expected a list."
            continue
        for index, disk in enumerate(disks):
            if not isinstance(disk, Mapping):
                yield f"{place}.disks[{index}] is {disk!r}; expected a dictionary: {{volume: NAME, slot: {index}}}."


def _problems_of_one(
    name: str, instance: Mapping[str, Any], volumes: Mapping[str, Any], hosts: Sequence[str]
) -> Iterator[str]:
    place = f"propolis_instances.{name}"
    for member, what in _MEMBERS.items():
        if member not in instance:
            yield f"{place}.{member} is missing; expected {what}."
    port = instance.get("port", 1)
    if not str(port).isdecimal() or not 1 <= int(port) <= _HIGHEST_PORT:
        yield f"{place}.port is {port!r}; expected a port number from 1 to {_HIGHEST_PORT}."
    host = instance.get("host")
    if host is not None and host not in hosts:
        yield f"{place}.host is {host!r}, which is not a host of the group propolis_servers ({', '.join(hosts)})."
    for index, disk in enumerate(instance.get("disks") or []):
        volume = disk.get("volume")
        if volume not in volumes:
            yield f"{place}.disks[{index}].volume is {volume!r}; crucible_volumes has {', '.join(volumes) or 'none'}."
    try:
        spec_requests.instance_description(instance, _requests(instance))
    except CollectionError as error:
        yield f"{place}: {error.message}"
    yield from _console_problems(place, instance.get("console"))


def _console_problems(place: str, console: object) -> Iterator[str]:
    """What is wrong with what a move is to wait for on the console."""
    if not isinstance(console, Mapping) or console.get("wait_for") is None:
        return
    try:
        WaitFor.read(console["wait_for"], f"{place}.console.wait_for")
    except CollectionError as error:
        yield error.message


def _requests(instance: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Its disk requests over volumes that stand in for those of the inventory, whose faults are told elsewhere."""
    return [
        spec_requests.disk_request(
            {**disk, "slot": disk.get("slot", index)},
            {
                "id": str(uuid.UUID(int=index + 1)),
                "blocks_per_extent": 1,
                "extent_count": 1,
                "targets": [f"192.0.2.{index % 250 + 1}:{port}" for port in (1000, 1001, 1002)],
            },
        )
        for index, disk in enumerate(instance.get("disks") or [])
    ]


def _shared_ids(instances: Mapping[str, Any]) -> Iterator[str]:
    first: dict[str, str] = {}
    for name, instance in instances.items():
        if "id" not in instance:
            continue  # said by the check of the instance itself
        try:
            identity = str(uuid.UUID(str(instance["id"])))
        except ValueError:
            yield f"propolis_instances.{name}.id is {instance['id']!r}; expected a uuid."
            continue
        other = first.setdefault(identity, name)
        if other != name:
            yield f"propolis_instances.{name}.id is {identity}, which {other} has already; each instance needs its own."


def _shared_volumes(instances: Mapping[str, Any], volumes: Mapping[str, Any]) -> Iterator[str]:
    """A volume twice: the second session is refused, and let in beside the first ten seconds later; both write."""
    users: dict[str, str] = {}
    for name, instance in instances.items():
        for index, disk in enumerate(instance.get("disks") or []):
            volume = disk.get("volume")
            if volume not in volumes or (volumes[volume] or {}).get("read_only"):
                continue
            place = f"propolis_instances.{name}.disks[{index}]"
            other = users.setdefault(volume, place)
            if other != place:
                yield f"{place}.volume is {volume!r}, which {other} uses already; a volume has one user at a time."
