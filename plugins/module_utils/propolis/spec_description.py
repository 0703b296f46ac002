# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that somebody wants, in words of no particular age of server: checked, and the same for all dialects."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..failures import shown
from .errors import BadDescription
from .instance import NIL_UUID, Metadata, Volume
from .spec_volume import check_volume

DEVICES = ("virtio", "nvme")
SLOTS = range(8)  # of disk requests and of NIC requests; servers of 2023 refuse others
LARGEST_CLOUD_INIT = 700_000  # characters of base64; servers refuse request bodies above 1 MiB
# The names that we give to components of our own; a disk or NIC of this name would collide with them.
RESERVED_NAMES = frozenset({"com1", "com2", "com3", "com4", "pvpanic", "boot-settings", "cloud-init"})

_MEMBERS = {
    "cpus",
    "memory_mib",
    "disks",
    "nics",
    "description",
    "metadata",
    "enable_pcie",
    "pvpanic",
    "boot_order",
    "smbios",
    "cloud_init",
}
_METADATA_UUIDS = ("silo_id", "project_id", "sled_id")


@dataclass(frozen=True)
class DiskRequest:
    """A disk as ``propolis-cli --crucible-disks`` reads it. ``volume`` carries the volume construction request."""

    name: str
    slot: int
    device: str
    read_only: bool
    volume: Volume = field(repr=False)

    def to_json(self) -> dict[str, object]:
        """The five members of a disk request, the same in every age."""
        return {
            "device": self.device,
            "name": self.name,
            "read_only": self.read_only,
            "slot": self.slot,
            "volume_construction_request": dict(self.volume.request),
        }

    @classmethod
    def from_json(cls, raw: object, place: str) -> DiskRequest:
        """Read and check a disk request; raise BadDescription that names ``place``."""
        members = _mapping(raw, place, {"device", "name", "read_only", "slot", "volume_construction_request"})
        name = _name(members.get("name"), f"{place}.name")
        return cls(
            name=name,
            slot=_number(members.get("slot"), f"{place}.slot", SLOTS.start, SLOTS.stop - 1),
            device=_device(members.get("device", "virtio"), f"{place}.device"),
            read_only=_boolean(members.get("read_only", False), f"{place}.read_only"),
            volume=check_volume(members.get("volume_construction_request"), f"the volume of disk {name}"),
        )


@dataclass(frozen=True)
class NicRequest:
    """A network card on the host's interface ``name``."""

    name: str
    slot: int
    interface_id: str

    @classmethod
    def from_json(cls, raw: object, place: str) -> NicRequest:
        members = _mapping(raw, place, {"name", "slot", "interface_id"})
        name = _name(members.get("name"), f"{place}.name")
        return cls(
            name=name,
            slot=_number(members.get("slot"), f"{place}.slot", SLOTS.start, SLOTS.stop - 1),
            interface_id=_uuid(members.get("interface_id", NIL_UUID), f"{place}.interface_id"),
        )


@dataclass(frozen=True)
class Smbios:
    """What the guest reads as its maker and model (API 2.0.0 and later)."""

    manufacturer: str
    product_name: str
    serial_number: str
    version: int


@dataclass(frozen=True)
class Description:
    """A machine: processors, memory in MiB, disks, network cards and the few other things that it may have."""

    cpus: int
    memory_mib: int
    disks: tuple[DiskRequest, ...] = ()
    nics: tuple[NicRequest, ...] = ()
    description: str = ""
    metadata: Metadata = field(default_factory=Metadata)
    enable_pcie: bool = False
    pvpanic: bool = True
    boot_order: tuple[str, ...] = ()
    smbios: Smbios | None = None
    cloud_init: str | None = field(default=None, repr=False)

    @classmethod
    def from_json(cls, raw: object) -> Description:
        """Read and check what the filter ``instance_spec`` gives (or a user wrote); raise BadDescription."""
        members = _mapping(raw, "spec", _MEMBERS)
        disks = tuple(
            DiskRequest.from_json(disk, f"spec.disks[{index}]")
            for index, disk in enumerate(_list(members.get("disks"), "spec.disks"))
        )
        nics = tuple(
            NicRequest.from_json(nic, f"spec.nics[{index}]")
            for index, nic in enumerate(_list(members.get("nics"), "spec.nics"))
        )
        order = tuple(
            _text(name, f"spec.boot_order[{index}]")
            for index, name in enumerate(_list(members.get("boot_order"), "spec.boot_order"))
        )
        description = cls(
            cpus=_number(members.get("cpus"), "spec.cpus", 1, 255),
            memory_mib=_number(members.get("memory_mib"), "spec.memory_mib", 1, 2**43),
            disks=disks,
            nics=nics,
            description=_text(members.get("description") or "", "spec.description"),
            metadata=_metadata(members.get("metadata")),
            enable_pcie=_boolean(members.get("enable_pcie", False), "spec.enable_pcie"),
            pvpanic=_boolean(members.get("pvpanic", True), "spec.pvpanic"),
            boot_order=order,
            smbios=_smbios(members.get("smbios")),
            cloud_init=_cloud_init(members.get("cloud_init")),
        )
        description._check_together()
        return description

    def _check_together(self) -> None:
        """What each part cannot know: names, slots, volumes and targets used twice, a boot order of strangers."""
        _unique("spec.disks", "slot", [(disk.name, str(disk.slot)) for disk in self.disks])
        _unique("spec.nics", "slot", [(nic.name, str(nic.slot)) for nic in self.nics])
        names = [disk.name for disk in self.disks] + [nic.name for nic in self.nics]
        taken = [*names, *(f"{name}-backend" for name in names)]
        if len(set(taken)) != len(taken) or RESERVED_NAMES & set(taken):
            twice = sorted({name for name in taken if taken.count(name) > 1 or name in RESERVED_NAMES})
            raise BadDescription(
                f"spec: the name {twice[0]!r} is used twice or belongs to a part that every machine has; each disk and "
                "nic needs a name of its own (and <name>-backend is its backend's)."
            )
        _unique(
            "spec.disks", "volume", [(disk.name, disk.volume.id) for disk in self.disks if disk.volume.id is not None]
        )
        _unique("spec.disks", "target", [(disk.name, target) for disk in self.disks for target in disk.volume.targets])
        strangers = [name for name in self.boot_order if name not in {disk.name for disk in self.disks}]
        if strangers:
            raise BadDescription(f"spec.boot_order names {strangers[0]!r}, which is not one of spec.disks.")


def _unique(place: str, what: str, used: Sequence[tuple[str, str]]) -> None:
    seen: dict[str, str] = {}
    for name, value in used:
        if value in seen:
            raise BadDescription(
                f"{place}: {name} has the {what} {value}, which {seen[value]} of the same instance has too; "
                f"each {what} can be used once."
            )
        seen[value] = name


def _mapping(raw: object, place: str, known: set[str]) -> Mapping[str, object]:
    if not isinstance(raw, Mapping):
        raise BadDescription(f"{place} must be a dictionary, found {_kind(raw)}.")
    unknown = sorted(str(key) for key in raw if key not in known)
    if unknown:
        raise BadDescription(f"{place} has the unknown member {unknown[0]!r}; known are {', '.join(sorted(known))}.")
    return raw


def _list(raw: object, place: str) -> Sequence[object]:
    if raw is None:
        return ()
    if not isinstance(raw, Sequence) or isinstance(raw, str | bytes):
        raise BadDescription(f"{place} must be a list, found {_kind(raw)}.")
    return raw


def _kind(raw: object) -> str:
    return "nothing" if raw is None else type(raw).__name__


def _text(raw: object, place: str) -> str:
    if not isinstance(raw, str):
        raise BadDescription(f"{place} must be a text, found {_kind(raw)}.")
    return str(raw)


def _name(raw: object, place: str) -> str:
    name = _text(raw, place)
    if not name or len(name) > 128 or not name.isprintable() or any(character in "/?#% " for character in name):
        raise BadDescription(
            f"{place} is {shown(name)}; a name has 1 to 128 printable characters and none of / ? # % space."
        )
    return name


def _device(raw: object, place: str) -> str:
    if raw not in DEVICES:
        raise BadDescription(f"{place} is {shown(raw)}; known devices are {' and '.join(DEVICES)}.")
    return str(raw)


def _number(raw: object, place: str, lowest: int, highest: int) -> int:
    """A whole number; a text of digits is taken for one, because templates make such texts."""
    if isinstance(raw, str) and raw.isascii() and raw.isdigit() and len(raw) < 21:
        raw = int(raw)
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise BadDescription(f"{place} must be a whole number from {lowest} to {highest}, found {_kind(raw)}.")
    if not lowest <= raw <= highest:
        raise BadDescription(f"{place} is {shown(raw)}; it must be from {lowest} to {highest}.")
    return int(raw)


def _boolean(raw: object, place: str) -> bool:
    if not isinstance(raw, bool):
        raise BadDescription(f"{place} must be true or false, found {_kind(raw)}.")
    return raw


def _uuid(raw: object, place: str) -> str:
    try:
        return str(uuid.UUID(_text(raw, place)))
    except ValueError:
        raise BadDescription(f"{place} is {shown(raw)}, which is not a UUID.") from None


def _metadata(raw: object) -> Metadata:
    if raw is None:
        return Metadata()
    defaults = Metadata()
    members = _mapping(raw, "spec.metadata", set(Metadata.__dataclass_fields__))
    found: dict[str, str] = {
        key: _uuid(members.get(key, getattr(defaults, key)), f"spec.metadata.{key}") for key in _METADATA_UUIDS
    }
    return Metadata(
        **found,
        sled_serial=_text(members.get("sled_serial", defaults.sled_serial), "spec.metadata.sled_serial"),
        sled_revision=_number(
            members.get("sled_revision", defaults.sled_revision), "spec.metadata.sled_revision", 0, 2**32 - 1
        ),
        sled_model=_text(members.get("sled_model", defaults.sled_model), "spec.metadata.sled_model"),
    )


def _smbios(raw: object) -> Smbios | None:
    if raw is None:
        return None
    members = _mapping(raw, "spec.smbios", set(Smbios.__dataclass_fields__))
    return Smbios(
        manufacturer=_text(members.get("manufacturer"), "spec.smbios.manufacturer"),
        product_name=_text(members.get("product_name"), "spec.smbios.product_name"),
        serial_number=_text(members.get("serial_number"), "spec.smbios.serial_number"),
        version=_number(members.get("version"), "spec.smbios.version", 0, 2**64 - 1),
    )


def _cloud_init(raw: object) -> str | None:
    if raw is None:
        return None
    text = _text(raw, "spec.cloud_init")
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadDescription("spec.cloud_init must be the base64 of an ISO image; it cannot be decoded.") from None
    if len(text) > LARGEST_CLOUD_INIT:
        raise BadDescription(
            f"spec.cloud_init has {len(text)} characters; servers refuse requests above 1 MiB, so at most "
            f"{LARGEST_CLOUD_INIT} can be sent."
        )
    return text
