# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers for the request bodies of API versions 1.0.0 to 5.0.0: which fields there are, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from propolis_lab.server.deserialize import (
    Field,
    FieldError,
    LateError,
    Path,
    Reader,
    Tagged,
    adjacent,
    boolean,
    mapping,
    optional,
    sequence,
    socket_address,
    string,
    struct,
    unsigned,
    uuid,
    uuid_text,
    variants,
)
from propolis_lab.server.instance_spec import (
    SMBIOS_SINCE,
    VSOCK_SINCE,
    Board,
    Component,
    InstanceSpec,
    Metadata,
    PciPath,
    Properties,
    Version,
)
from propolis_lab.server.strict_json import Node


@dataclass(frozen=True)
class Replacement:
    """A component of the migration source that the target replaces: the kind of replacement and its fields."""

    kind: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class MigrationTarget:
    """`init` of a request that asks this server to take over a running instance."""

    migration_id: UUID
    src_addr: tuple[str, int]
    replace_components: Mapping[str, Replacement]


@dataclass(frozen=True)
class EnsureRequest:
    """Body of `PUT /instance`: a new instance, or one that comes by migration."""

    properties: Properties
    init: InstanceSpec | MigrationTarget


@dataclass(frozen=True)
class MonitorRequest:
    """Body of `GET /instance/state-monitor`: answer when this generation is reached."""

    gen: int


@dataclass(frozen=True)
class VcrRequest:
    """Body of `PUT /instance/disk/{id}/vcr`."""

    vcr_json: str


_METADATA = struct(
    "InstanceMetadata",
    [
        Field("silo_id", uuid),
        Field("project_id", uuid),
        Field("sled_id", uuid),
        Field("sled_serial", string),
        Field("sled_revision", unsigned(32)),
        Field("sled_model", string),
    ],
    Metadata,
)
_PROPERTIES = struct(
    "InstanceProperties",
    [Field("id", uuid), Field("name", string), Field("description", string), Field("metadata", _METADATA)],
    Properties,
)
_RAW_PCI_PATH = struct(
    "Raw",
    [Field("bus", unsigned(8)), Field("device", unsigned(8)), Field("function", unsigned(8))],
    PciPath,
    deny_unknown=True,
)


def _pci_path(node: Node, path: Path) -> PciPath:
    where: PciPath = _RAW_PCI_PATH(node, path)
    if where.device > 31:
        raise LateError(f"PCI device {where.device} outside range of 0-31", path)
    if where.function > 7:
        raise LateError(f"PCI function {where.function} outside range of 0-7", path)
    return where


def _spec_key(node: Node, path: Path) -> str:
    return canonical_key(string(node, path))


def canonical_key(name: str) -> str:
    """A component name; one that reads as a UUID is kept in the usual lower-case form."""
    try:
        return str(uuid_text(name))
    except ValueError:
        return name


def _component(name: str, **fields: Reader) -> Reader:
    return _component_of(name, [Field(field, reader) for field, reader in fields.items()])


def _component_of(name: str, fields: list[Field]) -> Reader:
    return struct(name, fields, lambda **values: values, deny_unknown=True)


_BOOT_ENTRY = struct("BootOrderEntry", [Field("id", _spec_key)], lambda **values: values)
_SERIAL_NUMBER = sequence(unsigned(8), exactly=20)
_COMPONENTS: dict[str, Reader | None] = {
    "virtio_disk": _component("VirtioDisk", backend_id=_spec_key, pci_path=_pci_path),
    "nvme_disk": _component("NvmeDisk", backend_id=_spec_key, pci_path=_pci_path, serial_number=_SERIAL_NUMBER),
    "virtio_nic": _component("VirtioNic", backend_id=_spec_key, interface_id=uuid, pci_path=_pci_path),
    "serial_port": _component("SerialPort", num=variants("com1", "com2", "com3", "com4")),
    "pci_pci_bridge": _component("PciPciBridge", downstream_bus=unsigned(8), pci_path=_pci_path),
    "qemu_pvpanic": _component("QemuPvpanic", enable_isa=boolean),
    "boot_settings": _component("BootSettings", order=sequence(_BOOT_ENTRY)),
    "virtio_socket": _component("VirtioSocket", guest_cid=unsigned(64), pci_path=_pci_path),
    "soft_npu_pci_port": _component("SoftNpuPciPort", pci_path=_pci_path),
    "soft_npu_port": _component("SoftNpuPort", backend_id=_spec_key, link_name=string),
    "soft_npu_p9": _component("SoftNpuP9", pci_path=_pci_path),
    "p9fs": _component("P9fs", source=string, target=string, chunk_size=unsigned(32), pci_path=_pci_path),
    "migration_failure_injector": _component(
        "MigrationFailureInjector", fail_exports=unsigned(32), fail_imports=unsigned(32)
    ),
    "crucible_storage_backend": _component("CrucibleStorageBackend", request_json=string, readonly=boolean),
    "file_storage_backend": _component_of(
        "FileStorageBackend",
        [
            Field("path", string),
            Field("readonly", boolean),
            Field("block_size", unsigned(32)),
            Field("workers", optional(unsigned(64, least=1)), required=False),
        ],
    ),
    "blob_storage_backend": _component("BlobStorageBackend", base64=string, readonly=boolean),
    "virtio_network_backend": _component("VirtioNetworkBackend", vnic_name=string),
    "dlpi_network_backend": _component("DlpiNetworkBackend", vnic_name=string),
}
_I440FX = struct("I440Fx", [Field("enable_pcie", boolean)], lambda enable_pcie: enable_pcie, deny_unknown=True)
_CHIPSET = adjacent("type", "value", {"i440_fx": _I440FX})
_HYPER_V = struct(
    "HyperV", [Field("features", sequence(variants("reference_tsc")))], lambda **values: values, deny_unknown=True
)
_HV_INTERFACE = adjacent("type", "value", {"bhyve": None, "hyper_v": _HYPER_V})
_CPUID_ENTRY = struct(
    "CpuidEntry",
    [
        Field("leaf", unsigned(32)),
        Field("subleaf", optional(unsigned(32)), required=False),
        *(Field(register, unsigned(32)) for register in ("eax", "ebx", "ecx", "edx")),
    ],
    lambda **values: values,
    deny_unknown=True,
)
_CPUID = struct(
    "Cpuid",
    [Field("entries", sequence(_CPUID_ENTRY)), Field("vendor", variants("amd", "intel"))],
    lambda **values: values,
    deny_unknown=True,
)


def _board(cpus: int, memory_mb: int, chipset: Tagged, guest_hv_interface: Tagged | None, cpuid: Any) -> Board:
    interface = None
    if guest_hv_interface is not None:
        interface = {"type": guest_hv_interface.tag}
        if guest_hv_interface.content is not None:
            interface["value"] = guest_hv_interface.content
    return Board(cpus, memory_mb, chipset.content, interface, cpuid)


_BOARD = struct(
    "Board",
    [
        Field("cpus", unsigned(8)),
        Field("memory_mb", unsigned(64)),
        Field("chipset", _CHIPSET),
        Field("guest_hv_interface", _HV_INTERFACE, required=False),
        Field("cpuid", optional(_CPUID), required=False),
    ],
    _board,
    deny_unknown=True,
)
_SMBIOS = struct(
    "SmbiosType1Input",
    [
        Field("manufacturer", string),
        Field("product_name", string),
        Field("serial_number", string),
        Field("version", unsigned(64)),
    ],
    lambda **values: values,
    deny_unknown=True,
)
_REPLACEMENT = adjacent(
    "component",
    "spec",
    {
        "MigrationFailureInjector": _COMPONENTS["migration_failure_injector"],
        "CrucibleStorageBackend": _COMPONENTS["crucible_storage_backend"],
        "VirtioNetworkBackend": _COMPONENTS["virtio_network_backend"],
    },
)


def _instance_spec(version: Version) -> Reader:
    choices = {tag: reader for tag, reader in _COMPONENTS.items() if tag != "virtio_socket" or version >= VSOCK_SINCE}
    components = mapping(adjacent("type", "component", choices))
    fields = [Field("board", _BOARD), Field("components", components)]
    if version >= SMBIOS_SINCE:
        fields.append(Field("smbios", optional(_SMBIOS), required=False))

    def build(board: Board, components: dict[str, Tagged], smbios: Any = None) -> InstanceSpec:
        named = {canonical_key(name): Component(value.tag, value.content) for name, value in components.items()}
        return InstanceSpec(board, named, smbios)

    return struct("InstanceSpec", fields, build, deny_unknown=version < SMBIOS_SINCE)


def _migration_target(
    migration_id: UUID, src_addr: tuple[str, int], replace_components: dict[str, Tagged]
) -> MigrationTarget:
    named = {canonical_key(name): Replacement(value.tag, value.content) for name, value in replace_components.items()}
    return MigrationTarget(migration_id, src_addr, named)


_MIGRATION_TARGET = struct(
    "MigrationTarget",
    [
        Field("migration_id", uuid),
        Field("src_addr", socket_address),
        Field("replace_components", mapping(_REPLACEMENT)),
    ],
    _migration_target,
)


def ensure_request(version: Version) -> Reader:
    """Reader of the `PUT /instance` body for one API version."""
    with_spec = struct("Spec", [Field("spec", _instance_spec(version))], lambda spec: spec)
    init = adjacent("method", "value", {"Spec": with_spec, "MigrationTarget": _MIGRATION_TARGET}, deny_unknown=False)
    return struct(
        "InstanceEnsureRequest",
        [Field("properties", _PROPERTIES), Field("init", init)],
        lambda properties, init: EnsureRequest(properties, init.content),
    )


STATE_REQUEST = variants("Run", "Stop", "Reboot")
MONITOR_REQUEST = struct("InstanceStateMonitorRequest", [Field("gen", unsigned(64))], MonitorRequest)
VCR_REQUEST = struct("InstanceVCRReplace", [Field("vcr_json", string)], VcrRequest)

__all__ = [
    "MONITOR_REQUEST",
    "STATE_REQUEST",
    "VCR_REQUEST",
    "EnsureRequest",
    "FieldError",
    "MigrationTarget",
    "MonitorRequest",
    "Replacement",
    "VcrRequest",
    "canonical_key",
    "ensure_request",
]
