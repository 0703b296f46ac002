# SPDX-License-Identifier: GPL-3.0-or-later
"""What an instance is made of: properties, board and components, and their JSON forms in API versions 1.0.0 to
5.0.0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from propolis_lab.server.cpuid import CPUID_ENTRIES, CPUID_VENDOR

Version = tuple[int, int, int]
SMBIOS_SINCE: Version = (2, 0, 0)
VSOCK_SINCE: Version = (3, 0, 0)
VOLUME_INFO_SINCE: Version = (5, 0, 0)


@dataclass(frozen=True)
class Metadata:
    """Whose instance it is; only carried along."""

    silo_id: UUID
    project_id: UUID
    sled_id: UUID
    sled_serial: str
    sled_revision: int
    sled_model: str

    def to_json(self) -> dict[str, Any]:
        return {
            "silo_id": str(self.silo_id),
            "project_id": str(self.project_id),
            "sled_id": str(self.sled_id),
            "sled_serial": self.sled_serial,
            "sled_revision": self.sled_revision,
            "sled_model": self.sled_model,
        }


@dataclass(frozen=True)
class Properties:
    """The identity of an instance."""

    id: UUID
    name: str
    description: str
    metadata: Metadata

    def to_json(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "name": self.name,
            "description": self.description,
            "metadata": self.metadata.to_json(),
        }


@dataclass(frozen=True)
class PciPath:
    """Where a device sits on the guest's PCI bus."""

    bus: int
    device: int
    function: int

    def to_json(self) -> dict[str, int]:
        return {"bus": self.bus, "device": self.device, "function": self.function}

    def __str__(self) -> str:
        """As error texts of the real program show it."""
        return f"PciPath {{ bus: {self.bus}, device: {self.device}, function: {self.function} }}"


@dataclass(frozen=True)
class Component:
    """One entry of the spec: its type tag and its fields in the order in which they are printed."""

    kind: str
    fields: Mapping[str, Any]

    @property
    def backend_id(self) -> str | None:
        value = self.fields.get("backend_id")
        return value if isinstance(value, str) else None

    @property
    def pci_path(self) -> PciPath | None:
        value = self.fields.get("pci_path")
        return value if isinstance(value, PciPath) else None

    @property
    def readonly(self) -> bool:
        return bool(self.fields.get("readonly", False))

    def text(self, name: str) -> str:
        """A field that is a string."""
        value = self.fields[name]
        if not isinstance(value, str):
            raise TypeError(f"field {name} of a {self.kind} is {value!r}, not a string")
        return value

    def with_fields(self, **changes: Any) -> Component:
        return replace(self, fields={**self.fields, **changes})

    def to_json(self) -> dict[str, Any]:
        return {"type": self.kind, "component": {name: _plain(value) for name, value in self.fields.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, PciPath):
        return value.to_json()
    if isinstance(value, UUID):
        return str(value)
    return value


@dataclass(frozen=True)
class Board:
    """CPUs, memory (MiB) and the rest of the virtual mainboard."""

    cpus: int
    memory_mb: int
    enable_pcie: bool
    hv_interface: Mapping[str, Any] | None = None
    cpuid: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        board: dict[str, Any] = {
            "cpus": self.cpus,
            "memory_mb": self.memory_mb,
            "chipset": {"type": "i440_fx", "value": {"enable_pcie": self.enable_pcie}},
        }
        if self.hv_interface is not None and self.hv_interface["type"] != "bhyve":
            board["guest_hv_interface"] = dict(self.hv_interface)
        board["cpuid"] = dict(self.cpuid) if self.cpuid else {"entries": list(CPUID_ENTRIES), "vendor": CPUID_VENDOR}
        return board


@dataclass(frozen=True)
class InstanceSpec:
    """Board and components; `components` is keyed by component name."""

    board: Board
    components: Mapping[str, Component]
    smbios: Mapping[str, Any] | None = None

    def of_kind(self, *kinds: str) -> dict[str, Component]:
        """The components of the given types, in the order of their names."""
        return {name: self.components[name] for name in sorted(self.components) if self.components[name].kind in kinds}

    def with_component(self, name: str, component: Component) -> InstanceSpec:
        return replace(self, components={**self.components, name: component})

    def to_json(self, version: Version) -> dict[str, Any]:
        """The `spec` value of `GET /instance/spec` for clients of the given API version."""
        spec: dict[str, Any] = {
            "board": self.board.to_json(),
            "components": {
                name: component.to_json()
                for name, component in sorted(self.components.items())
                if component.kind != "virtio_socket" or version >= VSOCK_SINCE
            },
        }
        if version < SMBIOS_SINCE:
            return {"version": "V0", "spec": spec}
        spec["smbios"] = dict(self.smbios) if self.smbios is not None else None
        return spec
