# SPDX-License-Identifier: GPL-3.0-or-later
"""All instances of an inventory together, and the moves that are asked for: what cannot be."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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


def _problems_of_one(
    name: str, instance: Mapping[str, Any], volumes: Mapping[str, Any], hosts: Sequence[str]
) -> Iterator[str]:
    place = f"propolis_instances.{name}"
    for member in ("id", "vcpus", "memory_mib", "host"):
        if member not in instance:
            yield f"{place}.{member} is missing."
    host = instance.get("host")
    if host is not None and host not in hosts:
        yield f"{place}.host is {host!r}, which is not a host of the group propolis_servers ({', '.join(hosts)})."
    for index, disk in enumerate(instance.get("disks") or []):
        volume = disk.get("volume")
        if volume not in volumes:
            yield f"{place}.disks[{index}].volume is {volume!r}; crucible_volumes has {', '.join(volumes) or 'none'}."


def _shared_ids(instances: Mapping[str, Any]) -> Iterator[str]:
    first: dict[str, str] = {}
    for name, instance in instances.items():
        try:
            identity = str(uuid.UUID(str(instance.get("id"))))
        except ValueError:
            yield f"propolis_instances.{name}.id is {instance.get('id')!r}; expected a uuid."
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
