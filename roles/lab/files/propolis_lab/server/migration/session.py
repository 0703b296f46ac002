# SPDX-License-Identifier: GPL-3.0-or-later
"""What both ends of a migration share: publishing a phase, injected faults, the history, and the words of the
preamble."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from propolis_lab.server.environment import Environment
from propolis_lab.server.instance_spec import Board, Component, InstanceSpec, PciPath
from propolis_lab.server.publisher import MigrationState, MigrationStatus
from propolis_lab.server.slot import Vm


@dataclass(frozen=True)
class Session:
    """One migration as seen from one end; `role` is `source` or `destination`."""

    id: UUID
    role: str
    vm: Vm
    environment: Environment

    def publish(self, state: MigrationState) -> None:
        status = MigrationStatus(self.id, state)
        if self.role == "source":
            self.vm.publisher.publish(migration_out=status)
        else:
            self.vm.publisher.publish(migration_in=status)

    def note(self, phase: str, at: str) -> None:
        self.environment.history.record(
            "migration", self.vm.properties.id, role=self.role, migration_id=str(self.id), phase=phase, at=at
        )

    @asynccontextmanager
    async def phase(self, name: str, *states: MigrationState) -> AsyncIterator[None]:
        """Publish the states, and let faults take effect before and after what is done inside."""
        self.note(name, "begin")
        for state in states:
            self.publish(state)
        await self.environment.faults.reach(self.role, name)
        yield
        await self.environment.faults.reach(self.role, name, "end")
        self.note(name, "end")


def spec_to_json(spec: InstanceSpec) -> dict[str, Any]:
    """A spec for the preamble; keeps what the API's form does not distinguish."""
    board = spec.board
    return {
        "board": {
            "cpus": board.cpus,
            "memory_mb": board.memory_mb,
            "enable_pcie": board.enable_pcie,
            "hv_interface": dict(board.hv_interface) if board.hv_interface else None,
            "cpuid": dict(board.cpuid) if board.cpuid else None,
        },
        "components": {name: part.to_json() for name, part in spec.components.items()},
    }


def spec_from_json(value: dict[str, Any]) -> InstanceSpec:
    """The inverse; SMBIOS data does not travel, as in the real preamble."""
    components: dict[str, Component] = {}
    for name, part in value["components"].items():
        fields = dict(part["component"])
        if "pci_path" in fields:
            fields["pci_path"] = PciPath(**fields["pci_path"])
        components[name] = Component(part["type"], fields)
    return InstanceSpec(Board(**value["board"]), components)
