# SPDX-License-Identifier: GPL-3.0-or-later
"""The dialect of versioned servers (API 1.0.0, October 2025, and later): instance specs and the header api-version."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from urllib.parse import quote

from ..errors import AlreadyInitialized, ApiError, NoInstance, StateChangeRefused, UnsupportedDialect
from ..instance import (
    DiskStatus,
    Instance,
    MigrationStatus,
    PciPath,
    Side,
    Spec,
    SpecDisk,
    SpecNic,
    State,
    TargetStatus,
    UpstairsSession,
)
from ..spec import crucible_backend, instance_spec
from ..spec_description import Description
from ..spec_volume import read_embedded_volume
from ..values import Value
from .base import Dialect, MigrationTarget, Request, read_both_sides, read_metadata

# The versions whose differences we know, newest first: what detection asks for, in this order.
KNOWN_VERSIONS = ("5.0.0", "4.0.0", "3.0.0", "2.0.0", "1.0.0")

_UNWRAPPED_SPEC = (2, 0, 0)  # from here on: smbios, and a spec that is not wrapped in {"version", "spec"}
_VOLUME_INFO = (5, 0, 0)  # from here on the disk status is the tree of upstairs, not only "active"
_DEEPEST_VOLUME = 8

_DISK_TYPES = {"virtio_disk": "virtio", "nvme_disk": "nvme"}
_BACKEND_KINDS = {
    "crucible_storage_backend": "crucible",
    "file_storage_backend": "file",
    "blob_storage_backend": "blob",
}
_NIC_BACKENDS = ("virtio_network_backend", "dlpi_network_backend")
# Devices without the code to leave a server (read in the source: "device not migratable").
_IMMOVABLE = frozenset({"pci_pci_bridge", "virtio_socket", "p9fs", "soft_npu_pci_port", "soft_npu_port", "soft_npu_p9"})


def parse_version(text: str) -> tuple[int, int, int]:
    """``major.minor.patch`` as numbers; raise UnsupportedDialect for anything else or for versions below 1.0.0."""
    match = re.fullmatch(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})", text, re.ASCII)
    if match is None or int(match[1]) < 1:
        raise UnsupportedDialect(
            f"{text!r} is no API of a propolis server that is known here; give auto, 2023-01 or one like 5.0.0."
        )
    return int(match[1]), int(match[2]), int(match[3])


class SpecDialect(Dialect):
    """Any version from 1.0.0 on. Later versions than those we know are spoken like the newest known one."""

    def __init__(self, version: str) -> None:
        self._version = parse_version(version)
        self.label = version
        self.api_version = version
        self.reports_generations = self._version >= _VOLUME_INFO

    def ensure(self, id: str, name: str, description: Description) -> Request:
        return Request(
            "PUT",
            "/instance",
            {
                "properties": {
                    "id": id,
                    "name": name,
                    "description": description.description,
                    "metadata": asdict(description.metadata),
                },
                "init": {
                    "method": "Spec",
                    "value": {"spec": instance_spec(description, smbios=self._version >= _UNWRAPPED_SPEC)},
                },
            },
        )

    def ensure_migration_target(self, target: MigrationTarget) -> Request:
        target.check()
        disks = {disk.backend: disk for disk in target.spec.crucible_disks}
        replacements: dict[str, object] = {
            backend: {"component": "CrucibleStorageBackend", "spec": crucible_backend(volume, disks[backend].read_only)}
            for backend, volume in target.volumes.items()
        }
        replacements |= {
            backend: {"component": "VirtioNetworkBackend", "spec": {"vnic_name": vnic}}
            for backend, vnic in target.vnics.items()
        }
        source = target.source
        properties: dict[str, object] = {"id": target.id, "name": target.name, "description": source.description}
        if source.metadata is not None:
            properties["metadata"] = asdict(source.metadata)
        return Request(
            "PUT",
            "/instance",
            {
                "properties": properties,
                "init": {
                    "method": "MigrationTarget",
                    "value": {
                        "migration_id": target.migration_id,
                        "src_addr": target.source_address,
                        "replace_components": replacements,
                    },
                },
            },
        )

    def migration_status(self, migration_id: str | None, side: Side | None) -> Request | None:
        return Request("GET", "/instance/migration-status")

    def disk_status(self, disk: SpecDisk) -> Request | None:
        return Request("GET", f"/instance/disk/{quote(disk.backend, safe='')}/status")

    def read_instance(self, value: Value) -> Instance:
        instance = value.get("instance")
        properties = instance.get("properties")
        return Instance(
            id=properties.get("id").uuid(),
            name=properties.get("name").text(),
            state=instance.get("state").choice(State),
            description=properties.get("description").text(),
            metadata=read_metadata(properties.get("metadata")),
        )

    def read_spec(self, value: Value) -> Spec | None:
        status = value.get("spec")
        kind = status.get("type").text()
        if kind == "WaitingForMigrationSource":
            return None
        if kind != "Present":
            raise status.get("type").wrong("Present or WaitingForMigrationSource")
        spec = status.get("value")
        # Version 1.0.0 wraps the spec; looking at it is safer than trusting a version that nobody may know yet.
        return _read_spec(spec.get("spec") if spec.has("version") else spec)

    def read_migration_status(self, value: Value, migration_id: str | None, side: Side | None) -> MigrationStatus:
        return read_both_sides(value)

    def read_disk_status(self, value: Value) -> DiskStatus:
        if not value.has("volume_info"):
            return DiskStatus(value.get("active").boolean())
        sessions = tuple(_sessions(value.get("volume_info"), is_parent=False, depth=0))
        return DiskStatus(bool(sessions) and all(session.state == "active" for session in sessions), sessions)

    def explain(self, request: Request, error: ApiError) -> ApiError:
        if error.error_code == "NoInstance" or error.status == 424:
            return NoInstance.like(error)
        if error.error_code == "AlreadyInitialized":
            return AlreadyInitialized.like(error)
        if error.status == 403:
            return StateChangeRefused.like(error)
        return error


def _read_spec(spec: Value) -> Spec:
    board = spec.get("board")
    components = dict(spec.get("components").members())
    types = {name: member.get("type").text() for name, member in components.items()}
    return Spec(
        cpus=board.get("cpus").number(),
        memory_mib=board.get("memory_mb").number(),
        disks=tuple(
            _disk(name, _DISK_TYPES[types[name]], member.get("component"), spec.get("components"))
            for name, member in components.items()
            if types[name] in _DISK_TYPES
        ),
        nics=tuple(
            _nic(name, member.get("component"), spec.get("components"))
            for name, member in components.items()
            if types[name] == "virtio_nic"
        ),
        immovable=tuple(name for name in components if types[name] in _IMMOVABLE),
    )


def _pci_path(value: Value) -> PciPath:
    return PciPath(value.get("bus").number(), value.get("device").number(), value.get("function").number())


def _disk(name: str, device: str, payload: Value, components: Value) -> SpecDisk:
    backend_name = payload.get("backend_id").text()
    backend = components.get(backend_name)
    kind = _BACKEND_KINDS.get(backend.get("type").text())
    if kind is None:
        raise backend.get("type").wrong("a storage backend")
    content = backend.get("component")
    return SpecDisk(
        name=name,
        backend=backend_name,
        device=device,
        kind=kind,
        pci_path=_pci_path(payload.get("pci_path")),
        read_only=content.get("readonly").boolean(),
        volume=read_embedded_volume(content.get("request_json")) if kind == "crucible" else None,
    )


def _nic(name: str, payload: Value, components: Value) -> SpecNic:
    backend_name = payload.get("backend_id").text()
    backend = components.get(backend_name)
    if backend.get("type").text() not in _NIC_BACKENDS:
        raise backend.get("type").wrong("a network backend")
    return SpecNic(
        name=name,
        backend=backend_name,
        vnic=backend.get("component").get("vnic_name").text(),
        pci_path=_pci_path(payload.get("pci_path")),
        interface_id=payload.get("interface_id").uuid(),
    )


def _sessions(info: Value, *, is_parent: bool, depth: int) -> Iterator[UpstairsSession]:
    """All upstairs of a volume's tree: nodes are ``{"volume": {…}}`` or ``{"upstairs": {…}}``."""
    if depth > _DEEPEST_VOLUME:
        raise info.wrong(f"at most {_DEEPEST_VOLUME} volumes inside each other")
    if info.has("upstairs"):
        yield _session(info.get("upstairs"), is_parent)
        return
    volume = info.get("volume")
    for sub_volume in volume.get("sub_volumes").entries():
        yield from _sessions(sub_volume, is_parent=is_parent, depth=depth + 1)
    parent = volume.get("read_only_parent")
    if not parent.is_null:
        yield from _sessions(parent, is_parent=True, depth=depth + 1)


def _session(upstairs: Value, is_parent: bool) -> UpstairsSession:
    return UpstairsSession(
        state=upstairs.get("state").text(),
        upstairs_id=upstairs.get("upstairs_id").uuid(),
        session_id=upstairs.get("session_id").uuid(),
        generation=upstairs.get("generation").number(),
        read_only=upstairs.get("read_only").boolean(),
        encrypted=upstairs.get("encrypted").boolean(),
        reconciling=upstairs.get("reconcile_in_progress").boolean(),
        repairing=upstairs.get("live_repair_in_progress").boolean(),
        targets=tuple(_target(target) for target in upstairs.get("targets").entries()),
        is_parent=is_parent,
    )


def _target(target: Value) -> TargetStatus:
    state = target.get("state")
    return TargetStatus(
        address=target.get("target_addr").optional_text(),
        state=state.get("type").text(),
        step=state.get("state").optional_text(),
        mode=state.get("mode").optional_text(),
        repair_address=target.get("repair_addr").optional_text(),
        region_id=target.get("region_id").optional_text(),
    )
