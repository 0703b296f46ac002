# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of a scenario, and its hosts, for checks of what is true on them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

INVENTORY = os.environ["MOLECULE_INVENTORY"]


class Inventory:
    """What ansible-inventory says, variables resolved by Ansible itself."""

    def __init__(self) -> None:
        listed = subprocess.run(
            ["ansible-inventory", "-i", INVENTORY, "--list"], capture_output=True, text=True, check=True
        )
        self._all: dict[str, Any] = json.loads(listed.stdout)
        self._resolved: dict[str, Any] = {}

    def group(self, name: str) -> list[str]:
        return sorted(self._all[name]["hosts"])

    def variable(self, host: str, name: str) -> Any:
        """One variable of a host, as a task would see it."""
        key = f"{host}/{name}"
        if key not in self._resolved:
            command = ["ansible", "-i", INVENTORY, host, "-m", "ansible.builtin.debug", "-a", f"var={name}"]
            environment = os.environ | {
                "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
                "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
            }
            environment |= {
                "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
                "ANSIBLE_FORCE_COLOR": "0",
                "ANSIBLE_NOCOLOR": "1",
            }
            shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
            self._resolved[key] = json.loads(shown[shown.index("{") :])[name]
        return self._resolved[key]

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
        found = self._all["_meta"]["hostvars"][host]
        if "migration_moves" in found:
            moves: Mapping[str, str] = self.variable(host, "migration_moves")
            return moves
        return {self.variable(host, "migration_instance"): self.variable(host, "migration_destination")}

    def host(self, name: str) -> Host:
        return testinfra.get_host(f"ansible://{name}?ansible_inventory={INVENTORY}")


@pytest.fixture(scope="session")
def inventory() -> Inventory:
    return Inventory()
