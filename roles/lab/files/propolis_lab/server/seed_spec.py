# SPDX-License-Identifier: GPL-3.0-or-later
"""Specs of January 2023: made from disk requests and the configuration file, compared between two servers, turned
into today's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from propolis_lab.server.instance_spec import Board, Component, InstanceSpec, PciPath
from propolis_lab.server.seed_config import SeedConfig
from propolis_lab.server.seed_types import DiskRequest, NicRequest, SeedEnsure, SeedProperties

_MOST_SLOTS = 8
_NIC_DEVICE = 0x08
_DISK_DEVICE = 0x10
_CLOUD_INIT = PciPath(0, 0x18, 0)
_FILE_BLOCK = 512
_BACKEND_SUFFIX = "-backend"


class SeedSpecError(Exception):
    """No spec can be made of the request; the text is the reason for the client."""


@dataclass(frozen=True)
class SeedSpec:
    """A spec in the JSON form of January 2023: `{"devices": ..., "backends": ...}`, with all keys present."""

    value: dict[str, Any]

    @property
    def devices(self) -> dict[str, Any]:
        found: dict[str, Any] = self.value["devices"]
        return found

    @property
    def backends(self) -> dict[str, Any]:
        found: dict[str, Any] = self.value["backends"]
        return found


class _Builder:
    """Collects devices and backends; a PCI path or a name used twice is an error."""

    def __init__(self, properties: SeedProperties, *, enable_pcie: bool) -> None:
        self._paths: set[PciPath] = set()
        self._board = {
            "cpus": properties.vcpus,
            "memory_mb": properties.memory,
            "chipset": {"i440_fx": {"enable_pcie": enable_pcie}},
        }
        self._disks: dict[str, Any] = {}
        self._nics: dict[str, Any] = {}
        self._bridges: dict[str, Any] = {}
        self._storage: dict[str, Any] = {}
        self._network: dict[str, Any] = {}

    def _place(self, path: PciPath) -> dict[str, int]:
        if path in self._paths:
            raise SeedSpecError(f"A PCI device is already attached at {path.bus}.{path.device}.{path.function}")
        self._paths.add(path)
        return path.to_json()

    def disk(
        self, name: str, backend: str, kind: str, path: PciPath, content: dict[str, Any], *, readonly: bool
    ) -> None:
        place = self._place(path)
        if name in self._disks:
            raise SeedSpecError(f"A device with name {name} already exists")
        if backend in self._storage:
            raise SeedSpecError(f"A backend with name {backend} already exists")
        self._disks[name] = {"kind": kind, "backend_name": backend, "pci_path": place}
        self._storage[backend] = {"kind": content, "readonly": readonly}

    def nic(self, path: PciPath, vnic: str) -> None:
        name = f"vnic-{path.bus}.{path.device}.{path.function}"
        self._nics[name] = {"backend_name": f"{name}{_BACKEND_SUFFIX}", "pci_path": self._place(path)}
        self._network[f"{name}{_BACKEND_SUFFIX}"] = {"kind": {"virtio": {"vnic_name": vnic}}}

    def bridge(self, path: PciPath, downstream_bus: int) -> None:
        self._bridges[f"pci-bridge-{downstream_bus}"] = {
            "downstream_bus": downstream_bus,
            "pci_path": self._place(path),
        }

    def spec(self) -> SeedSpec:
        devices = {
            "board": self._board,
            "storage_devices": self._disks,
            "network_devices": self._nics,
            "serial_ports": {port: {"num": port} for port in ("com1", "com2", "com3", "com4")},
            "pci_pci_bridges": self._bridges,
        }
        return SeedSpec(
            {"devices": devices, "backends": {"storage_backends": self._storage, "network_backends": self._network}}
        )


def build(request: SeedEnsure, config: SeedConfig) -> SeedSpec:
    """The spec of a `PUT /instance`; raises SeedSpecError."""
    builder = _Builder(request.properties, enable_pcie=config.enable_pcie)
    for nic in request.nics:
        _add_nic(builder, nic)
    for disk in request.disks:
        _add_disk(builder, disk)
    if request.cloud_init_bytes is not None:
        content = {"in_memory": {"base64": request.cloud_init_bytes}}
        builder.disk("cloud-init", "cloud-init", "virtio", _CLOUD_INIT, content, readonly=True)
    for fixed in config.disks:
        content = {"file": {"path": fixed.path}}
        builder.disk(fixed.name, fixed.backend, fixed.kind, fixed.pci_path, content, readonly=fixed.readonly)
    for card in config.nics:
        builder.nic(card.pci_path, card.vnic)
    for bridge in config.bridges:
        builder.bridge(bridge.pci_path, bridge.downstream_bus)
    return builder.spec()


def _slot(slot: int, base: int, what: str) -> PciPath:
    if slot >= _MOST_SLOTS:
        raise SeedSpecError(f"The PCI slot {slot} is not valid for a {what}")
    return PciPath(0, slot + base, 0)


def _add_nic(builder: _Builder, nic: NicRequest) -> None:
    builder.nic(_slot(nic.slot, _NIC_DEVICE, "NIC"), nic.name)


def _add_disk(builder: _Builder, disk: DiskRequest) -> None:
    if disk.device not in ("virtio", "nvme"):
        raise SeedSpecError(f"Unrecognized storage device interface {disk.device}")
    content = {"crucible": {"req": disk.volume_construction_request}}
    path = _slot(disk.slot, _DISK_DEVICE, "disk")
    builder.disk(disk.name, disk.name, disk.device, path, content, readonly=disk.read_only)


def incompatibility(source: SeedSpec, destination: SeedSpec) -> str | None:
    """Why an instance cannot move from a server with the first spec to one with the second; None when it can.

    Compared are the devices, value by value, and the names of the backends (read in the real program's source).
    """
    if source.devices["board"] != destination.devices["board"]:
        return f"board: {source.devices['board']} vs. {destination.devices['board']}"
    for kind in ("storage_devices", "network_devices", "serial_ports", "pci_pci_bridges"):
        if source.devices[kind] != destination.devices[kind]:
            return f"{kind}: {sorted(source.devices[kind])} vs. {sorted(destination.devices[kind])}"
    for kind in ("storage_backends", "network_backends"):
        if set(source.backends[kind]) != set(destination.backends[kind]):
            return f"{kind}: {sorted(source.backends[kind])} vs. {sorted(destination.backends[kind])}"
    return None


def machine_spec(spec: SeedSpec) -> InstanceSpec:
    """Today's form of the spec, for making the machine. Backends get a suffix: in January 2023 they may be named as
    devices."""
    board = spec.devices["board"]
    components: dict[str, Component] = {}
    for name, disk in spec.devices["storage_devices"].items():
        fields = {"backend_id": disk["backend_name"] + _BACKEND_SUFFIX, "pci_path": PciPath(**disk["pci_path"])}
        components[name] = Component(f"{disk['kind']}_disk", fields)
    for name, port in spec.devices["serial_ports"].items():
        components[name] = Component("serial_port", dict(port))
    for name, backend in spec.backends["storage_backends"].items():
        components[name + _BACKEND_SUFFIX] = _backend(backend["kind"], bool(backend["readonly"]))
    pcie = board["chipset"]["i440_fx"]["enable_pcie"]
    return InstanceSpec(Board(board["cpus"], board["memory_mb"], pcie), components)


def _backend(kind: dict[str, Any], readonly: bool) -> Component:
    if "crucible" in kind:
        fields = {"request_json": json.dumps(kind["crucible"]["req"]), "readonly": readonly}
        return Component("crucible_storage_backend", fields)
    if "file" in kind:
        fields = {"path": kind["file"]["path"], "readonly": readonly, "block_size": _FILE_BLOCK, "workers": None}
        return Component("file_storage_backend", fields)
    return Component("blob_storage_backend", {"base64": kind["in_memory"]["base64"], "readonly": readonly})


def backend_of_volume(spec: SeedSpec, volume: str) -> str | None:
    """The machine's name of the backend whose volume has this id."""
    for name, backend in spec.backends["storage_backends"].items():
        request = backend["kind"].get("crucible", {}).get("req", {})
        if request.get("id") == volume:
            return f"{name}{_BACKEND_SUFFIX}"
    return None
