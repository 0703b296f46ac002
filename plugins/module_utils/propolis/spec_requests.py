# SPDX-License-Identifier: GPL-3.0-or-later
"""From inventories to requests: the disk requests and the neutral descriptions that playbooks hand to modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from ..crucible.volume import Volume
from .errors import BadDescription
from .spec_description import Description, DiskRequest

_DISK_MEMBERS = ("volume", "name", "slot", "device", "read_only")
_MACHINE_MEMBERS = (
    "description",
    "metadata",
    "nics",
    "enable_pcie",
    "pvpanic",
    "boot_order",
    "smbios",
    "cloud_init",
)


def disk_request(disk: Mapping[str, object], volume: Mapping[str, object], generation: int = 1) -> dict[str, object]:
    """One disk request, as ``propolis-cli --crucible-disks`` reads it.

    ``disk`` is an entry of an instance's ``disks`` (``volume``, ``name``, ``slot``, ``device``, ``read_only``),
    ``volume`` the volume of the inventory. Raises CollectionError for what no server would take.
    """
    if not isinstance(disk, Mapping):
        raise BadDescription(f"A disk is a dictionary with volume, name, slot and device; found {type(disk).__name__}.")
    _refuse_misspelt(disk, _DISK_MEMBERS, "The disk")
    name = disk.get("name") or disk.get("volume")
    read_only = disk.get("read_only", False)
    source: dict[str, object] = dict(volume)
    if read_only is True:
        source["read_only"] = True
    request = {
        "device": disk.get("device") or "virtio",
        "name": name,
        "read_only": read_only,
        "slot": disk.get("slot", 0),
        "volume_construction_request": Volume.from_mapping(source).construction_request(generation),
    }
    return DiskRequest.from_json(request, f"disk {name}").to_json()


def disk_requests(
    disks: Sequence[Mapping[str, object]],
    volumes: Mapping[str, Mapping[str, object]],
    generations: Mapping[str, int] | None = None,
) -> list[dict[str, object]]:
    """The disk requests of an instance, in its order: what a crucible disks file holds.

    ``generations`` maps a volume's name or id to its generation (1 where it is missing). Raises CollectionError for
    an unknown volume, and for a volume, slot or target that two disks share.
    """
    made = []
    for index, disk in enumerate(disks):
        name = disk.get("volume") if isinstance(disk, Mapping) else None
        if not isinstance(name, str) or name not in volumes:
            known = ", ".join(sorted(volumes)) or "none"
            raise BadDescription(f"Disk {index} asks for the volume {name!r}; the volumes that are defined: {known}.")
        volume = volumes[name]
        numbers = generations or {}
        generation = numbers.get(name, numbers.get(str(volume.get("id")), 1))
        with_slot = {**disk, "slot": disk.get("slot", index)}
        made.append(disk_request(with_slot, volume, generation))
    # The whole description knows what disks may not share; processors and memory do not matter to that.
    Description.from_json({"cpus": 1, "memory_mib": 1, "disks": made})
    return made


def instance_description(
    instance: Mapping[str, object], requests: Sequence[Mapping[str, object]] = ()
) -> dict[str, object]:
    """The neutral description that the module ``propolis_instance`` takes as ``spec``.

    ``instance`` is an entry of ``propolis_instances``: ``vcpus`` (or ``cpus``), ``memory_mib`` and the optional
    members of Description. Its ``disks`` are not used: ``requests`` are.
    """
    _refuse_misspelt(instance, ("cpus", "vcpus", "memory_mib", "disks", *_MACHINE_MEMBERS), "The instance")
    described: dict[str, object] = {
        "cpus": instance.get("vcpus", instance.get("cpus", 4)),
        "memory_mib": instance.get("memory_mib", 1024),
        "disks": [dict(request) for request in requests],
    }
    described |= {key: instance[key] for key in sorted(_MACHINE_MEMBERS) if instance.get(key) is not None}
    Description.from_json(described)
    return described


def _refuse_misspelt(given: Mapping[str, object], known: Sequence[str], what: str) -> None:
    """Inventories carry members for other readers too; one that looks like one of ours is a slip of the pen."""
    for key in given:
        if key not in known and (meant := get_close_matches(str(key), known, n=1, cutoff=0.75)):
            raise BadDescription(f"{what} has the member {str(key)!r}; is {meant[0]!r} meant?")
