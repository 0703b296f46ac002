# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of a scenario, and its hosts, for checks of what is true on them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pytest
import testinfra
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar
from ansible.vars.manager import VariableManager
from testinfra.host import Host

INVENTORY = os.environ["MOLECULE_INVENTORY"]


class Inventory:
    """Hosts, groups and variables, the latter resolved by Ansible itself."""

    def __init__(self) -> None:
        init_plugin_loader()
        self._loader = DataLoader()
        self._inventory = InventoryManager(self._loader, sources=[INVENTORY])
        self._variables = VariableManager(self._loader, self._inventory)

    def group(self, name: str) -> list[str]:
        return sorted(host.name for host in self._inventory.get_hosts(name))

    def has(self, host: str, name: str) -> bool:
        return name in self._of(host)

    def variable(self, host: str, name: str) -> Any:
        """One variable of a host, as a task would see it."""
        variables = self._of(host)
        return Templar(self._loader, variables).template(variables[name])

    def _of(self, host: str) -> dict[str, Any]:
        found: dict[str, Any] = self._variables.get_vars(host=self._inventory.get_host(host))
        return found

    @property
    def volumes(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.variable(self.group("crucible_downstairs")[0], "crucible_volumes")
        return found

    @property
    def instances(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.variable(self.group("propolis_servers")[0], "propolis_instances")
        return found

    @property
    def moves(self) -> Mapping[str, str]:
        """Instance → destination."""
        host = self.group("propolis_servers")[0]
        if self.has(host, "migration_moves"):
            moves: Mapping[str, str] = self.variable(host, "migration_moves")
            return moves
        return {self.variable(host, "migration_instance"): self.variable(host, "migration_destination")}

    def host(self, name: str) -> Host:
        return testinfra.get_host(f"ansible://{name}?ansible_inventory={INVENTORY}")


@pytest.fixture(scope="session")
def inventory() -> Inventory:
    return Inventory()
