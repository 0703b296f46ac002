# SPDX-License-Identifier: GPL-3.0-or-later
"""Request bodies of the server of January 2023. Unknown fields of requests are ignored, those of specs refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from propolis_lab.server.deserialize import (
    Field,
    FieldError,
    Path,
    Reader,
    boolean,
    mapping,
    one_of,
    optional,
    sequence,
    socket_address,
    string,
    struct,
    unsigned,
    uuid,
    variants,
    wrong_type,
)
from propolis_lab.server.strict_json import Kind, Node


@dataclass(frozen=True)
class SeedProperties:
    """The identity of an instance, with its size."""

    id: UUID
    name: str
    description: str
    image_id: UUID
    bootrom_id: UUID
    memory: int
    vcpus: int

    def to_json(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "name": self.name,
            "description": self.description,
            "image_id": str(self.image_id),
            "bootrom_id": str(self.bootrom_id),
            "memory": self.memory,
            "vcpus": self.vcpus,
        }


@dataclass(frozen=True)
class SeedMigrate:
    """From where the instance is to come; `src_uuid` is required and never looked at, as in the real server."""

    migration_id: UUID
    src_addr: tuple[str, int]
    src_uuid: UUID


@dataclass(frozen=True)
class DiskRequest:
    """A disk as the by-hand document writes it; `volume_construction_request` is JSON with all options present."""

    name: str
    slot: int
    read_only: bool
    device: str
    volume_construction_request: dict[str, Any]


@dataclass(frozen=True)
class NicRequest:
    """A network card: name of a host VNIC, slot."""

    name: str
    slot: int


@dataclass(frozen=True)
class SeedEnsure:
    """Body of `PUT /instance`."""

    properties: SeedProperties
    nics: list[NicRequest]
    disks: list[DiskRequest]
    migrate: SeedMigrate | None
    cloud_init_bytes: str | None


@dataclass(frozen=True)
class SeedSpecEnsure:
    """Body of `PUT /instance/spec`; the spec is kept as JSON."""

    properties: SeedProperties
    instance_spec: dict[str, Any]
    migrate: SeedMigrate | None


def _as_dict(**values: Any) -> dict[str, Any]:
    return values


def _record(name: str, *, deny_unknown: bool = True, **fields: Reader) -> Reader:
    return struct(name, [Field(key, reader) for key, reader in fields.items()], _as_dict, deny_unknown=deny_unknown)


def internally_tagged(tag: str, choices: dict[str, Callable[[], Reader]]) -> Reader:
    """An object whose field `tag` says which other fields it has; the tag stays in the result, in front."""

    def read(node: Node, path: Path) -> dict[str, Any]:
        if node.kind is not Kind.OBJECT:
            raise wrong_type(node, "internally tagged enum", path)
        label = next((member.value for member in node.members if member.name == tag), None)
        if label is None:
            raise FieldError(f"missing field `{tag}`", node.end, path)
        choice = string(label, (*path, tag))
        if choice not in choices:
            raise FieldError(f"unknown variant `{choice}`, {one_of(list(choices), plural='variants')}", label.end, path)
        content: dict[str, Any] = choices[choice]()(node, path)
        return {tag: choice, **content}

    return read


def externally_tagged(choices: dict[str, Reader]) -> Reader:
    """An object with one field, whose name says what it is."""

    def read(node: Node, path: Path) -> dict[str, Any]:
        if node.kind is not Kind.OBJECT or len(node.members) != 1:
            raise wrong_type(node, "a map with a single key", path)
        member = node.members[0]
        if member.name not in choices:
            text = f"unknown variant `{member.name}`, {one_of(list(choices), plural='variants')}"
            raise FieldError(text, member.name_end, path)
        return {member.name: choices[member.name](member.value, (*path, member.name))}

    return read


def _uuid_as_text(node: Node, path: Path) -> str:
    return str(uuid(node, path))


def _address_as_text(node: Node, path: Path) -> str:
    host, port = socket_address(node, path)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


_OPTIONS = struct(
    "CrucibleOpts",
    [
        Field("id", _uuid_as_text),
        Field("target", sequence(_address_as_text)),
        Field("lossy", boolean),
        Field("flush_timeout", optional(unsigned(32)), required=False),
        *(Field(name, optional(string), required=False) for name in ("key", "cert_pem", "key_pem", "root_cert_pem")),
        Field("control", optional(_address_as_text), required=False),
        Field("read_only", boolean),
    ],
    _as_dict,
)


def _volume(node: Node, path: Path) -> dict[str, Any]:
    value: dict[str, Any] = _VOLUME_REQUEST(node, path)
    return value


_VOLUME_REQUEST = internally_tagged(
    "type",
    {
        "volume": lambda: struct(
            "Volume",
            [
                Field("id", _uuid_as_text),
                Field("block_size", unsigned(64)),
                Field("sub_volumes", sequence(_volume)),
                Field("read_only_parent", optional(_volume), required=False),
            ],
            _as_dict,
        ),
        "url": lambda: _record("Url", deny_unknown=False, id=_uuid_as_text, block_size=unsigned(64), url=string),
        "region": lambda: _record(
            "Region",
            deny_unknown=False,
            block_size=unsigned(64),
            blocks_per_extent=unsigned(64),
            extent_count=unsigned(32),
            opts=_OPTIONS,
            gen=unsigned(64),
        ),
        "file": lambda: _record("File", deny_unknown=False, id=_uuid_as_text, block_size=unsigned(64), path=string),
    },
)
_PROPERTIES = struct(
    "InstanceProperties",
    [
        Field("id", uuid),
        Field("name", string),
        Field("description", string),
        Field("image_id", uuid),
        Field("bootrom_id", uuid),
        Field("memory", unsigned(64)),
        Field("vcpus", unsigned(8)),
    ],
    SeedProperties,
)
_MIGRATE = struct(
    "InstanceMigrateInitiateRequest",
    [Field("migration_id", uuid), Field("src_addr", socket_address), Field("src_uuid", uuid)],
    SeedMigrate,
)
_NIC = struct("NetworkInterfaceRequest", [Field("name", string), Field("slot", unsigned(8))], NicRequest)
_DISK = struct(
    "DiskRequest",
    [
        Field("name", string),
        Field("slot", unsigned(8)),
        Field("read_only", boolean),
        Field("device", string),
        Field("volume_construction_request", _volume),
    ],
    DiskRequest,
)


def _ensure(**values: Any) -> SeedEnsure:
    return SeedEnsure(**{**values, "nics": values["nics"] or [], "disks": values["disks"] or []})


ENSURE = struct(
    "InstanceEnsureRequest",
    [
        Field("properties", _PROPERTIES),
        Field("nics", sequence(_NIC), required=False),
        Field("disks", sequence(_DISK), required=False),
        Field("migrate", optional(_MIGRATE), required=False),
        Field("cloud_init_bytes", optional(string), required=False),
    ],
    _ensure,
)
_PCI_PATH = _record("PciPath", deny_unknown=False, bus=unsigned(8), device=unsigned(8), function=unsigned(8))
_BOARD = _record(
    "Board",
    cpus=unsigned(8),
    memory_mb=unsigned(64),
    chipset=externally_tagged({"i440_fx": _record("I440Fx", enable_pcie=boolean)}),
)
_DEVICES = _record(
    "DeviceSpec",
    board=_BOARD,
    storage_devices=mapping(
        _record("StorageDevice", kind=variants("virtio", "nvme"), backend_name=string, pci_path=_PCI_PATH)
    ),
    network_devices=mapping(_record("NetworkDevice", backend_name=string, pci_path=_PCI_PATH)),
    serial_ports=mapping(_record("SerialPort", num=variants("com1", "com2", "com3", "com4"))),
    pci_pci_bridges=mapping(_record("PciPciBridge", downstream_bus=unsigned(8), pci_path=_PCI_PATH)),
)
_STORAGE_KIND = externally_tagged(
    {
        "crucible": _record("Crucible", req=_volume),
        "file": _record("File", path=string),
        "in_memory": _record("InMemory", base64=string),
    }
)
_NETWORK_KIND = externally_tagged(
    {"virtio": _record("Virtio", vnic_name=string), "dlpi": _record("Dlpi", vnic_name=string)}
)
_BACKENDS = _record(
    "BackendSpec",
    deny_unknown=False,
    storage_backends=mapping(_record("StorageBackend", kind=_STORAGE_KIND, readonly=boolean)),
    network_backends=mapping(_record("NetworkBackend", kind=_NETWORK_KIND)),
)
SPEC_ENSURE = struct(
    "InstanceSpecEnsureRequest",
    [
        Field("properties", _PROPERTIES),
        Field("instance_spec", _record("InstanceSpec", devices=_DEVICES, backends=_BACKENDS)),
        Field("migrate", optional(_MIGRATE), required=False),
    ],
    SeedSpecEnsure,
)
STATE_REQUEST = variants("Run", "Stop", "Reboot", "MigrateStart")
MIGRATION_REQUEST = struct(
    "InstanceMigrateStatusRequest", [Field("migration_id", uuid)], lambda migration_id: migration_id
)
