# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between the machine that somebody describes and the one that a server runs, down to its volumes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..failures import shown
from .instance import Spec, SpecDisk, Volume
from .redaction import SECRET_MEMBERS
from .spec import FIRST_DISK_DEVICE
from .spec_description import Description, DiskRequest

_DEEPEST = 40  # a volume in a volume, with options, has eight levels
_PLAIN = 64  # characters of a name or an address that need no quotes and no shortening
_TOLD = 3  # differences that a sentence has room for
_PARENT = "read_only_parent"
_WHOLE = SECRET_MEMBERS | {"target"}  # members that are compared and told as one, whatever they hold


@dataclass(frozen=True)
class Difference:
    """A member in which two volume construction requests differ, and what it is in each, in words without secrets."""

    place: str
    one: str
    other: str


def differences(one: Volume, other: Volume) -> list[Difference]:
    """What two requests differ in, beside what a migration may change: the generation of what is written to.

    The rules are those of Crucible's ``compare_vcr_for_migration``, which neither program applies when it migrates.
    But the order of targets may differ (seen on the programs of 2023), and a read-only parent may not be left out:
    nobody can tell here whether all of it has been copied. What is null may as well not be there.
    """
    return list(_differences(_as_volume(one), _as_volume(other), ()))


def told(found: Sequence[Difference], here: str, there: str) -> str:
    """The first of the differences as a clause, where ``here`` and ``there`` say which request is which."""
    named = [f"{one.place} is {one.one} {here} and {one.other} {there}" for one in found[:_TOLD]]
    return "; ".join(named) + ("; and more" if len(found) > _TOLD else "")


def refusal(disk: str, instance: str, clause: str) -> str:
    """Why a move is not begun, where ``told`` has said in what a disk's request differs."""
    return (
        f"Disk {disk}: {clause}. A migration may change the generation only: with anything else {instance} could be "
        "lost, or lose what it reads and writes."
    )


def _as_volume(volume: Volume) -> Mapping[str, object]:
    """The request; where it is that of a region, in the volume that a server makes of it."""
    region = volume.request
    if region.get("type") != "region":
        return region
    return {"type": "volume", "id": volume.id, "block_size": region.get("block_size"), "sub_volumes": [region]}


def _differences(one: object, other: object, place: tuple[str, ...]) -> Iterator[Difference]:
    name = place[-1] if place else ""
    if len(place) > _DEEPEST:
        yield Difference(".".join(place), "too deep", "too deep to be compared")
    elif name not in _WHOLE and isinstance(one, Mapping) and isinstance(other, Mapping):
        for member in sorted({*one, *other}):
            if member != "gen" or _PARENT in place:
                yield from _differences(one.get(member), other.get(member), (*place, str(member)))
    elif name not in _WHOLE and isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from _differences(*pair, (*place[:-1], f"{name}[{number}]"))
    elif _comparable(name, one) != _comparable(name, other):
        before, after = _words(name, one), _words(name, other)
        yield Difference(".".join(place), before, after if after != before else f"another {after}")


def _comparable(name: str, value: object) -> object:
    if name == "target" and isinstance(value, list):
        return sorted(map(str, value))
    if name == "id" and isinstance(value, str):
        try:
            return uuid.UUID(value)
        except ValueError:
            return value
    return value


def _words(name: str, value: object) -> str:
    """No member of a request inside this one is shown, as it may be a secret."""
    if value is None:
        return "none"
    if name in SECRET_MEMBERS:
        return "one"
    if isinstance(value, Mapping):
        return f"{_text(value.get('type'))} {_text(value.get('id'))}"
    if name == "target" and isinstance(value, list):
        return ", ".join(map(str, value))
    return f"a list of {len(value)}" if isinstance(value, Sequence) and not isinstance(value, str) else _text(value)


def _text(value: object) -> str:
    plain = isinstance(value, str) and value.isprintable() and len(value) <= _PLAIN
    return str(value) if plain else shown(value)


def drift(wanted: Description, found: Spec) -> list[str]:
    """Each difference as a clause without secrets. Generations are left out: they differ after every move.

    A live machine never changes, so that these are told and not mended.
    """
    clauses = []
    for what, described, running in (
        ("cpus", wanted.cpus, found.cpus),
        ("memory_mib", wanted.memory_mib, found.memory_mib),
    ):
        if described != running:
            clauses.append(f"{what} is {running}, described as {described}")
    disks = {disk.name: disk for disk in found.crucible_disks}
    for request in wanted.disks:
        disk = disks.pop(request.name, None)
        clauses += [f"disk {request.name} is missing"] if disk is None else _disk_drift(request, disk)
    clauses += [f"disk {name} is not described" for name in disks]
    return clauses


def _disk_drift(request: DiskRequest, disk: SpecDisk) -> list[str]:
    clauses = []
    for what, described, running in (
        ("device", request.device, disk.device),
        ("slot", request.slot, disk.pci_path.device - FIRST_DISK_DEVICE),
        ("read_only", request.read_only, disk.read_only),
    ):
        if described != running:
            clauses.append(f"disk {request.name}: {what} is {running}, described as {described}")
    if disk.volume is not None and (found := differences(disk.volume, request.volume)):
        clauses.append(f"disk {request.name}: {told(found, 'there', 'as described')}")
    return clauses
