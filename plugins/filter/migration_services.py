# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: the services that a move of an instance has to do with, by host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: migration_services
short_description: The services that a move of an instance has to do with, by host
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Names the servers of both ends and the downstairs of the instance's volumes, with the directories where their logs are.
positional: ends, targets, hostvars
options:
  _input:
    description: Name of the instance.
    type: str
    required: true
  ends:
    description: Inventory names of the source and the destination.
    type: list
    elements: str
    required: true
  targets:
    description: The targets of the instance's volumes, as P(apiary.propolis.volume_targets#filter) lists them.
    type: list
    elements: dict
    required: true
  hostvars:
    description: C(hostvars), for the directories of the hosts.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Where the logs are
  ansible.builtin.debug:
    msg: "{{ 'vm0' | apiary.propolis.migration_services(['alpha', 'beta'], targets, hostvars) }}"
"""

RETURN = r"""
_value:
  description: A list of dictionaries with C(host) and C(services), a list of C(name), C(run_dir) and C(supervisor).
  type: list
  elements: dict
"""

from collections.abc import Mapping, Sequence
from typing import Any


def migration_services(
    instance: str, ends: Sequence[str], targets: Sequence[Mapping[str, Any]], hostvars: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """See DOCUMENTATION. The defaults are those of the roles, which other roles cannot see."""
    from ansible_collections.apiary.propolis.plugins.module_utils.crucible.placement import DEFAULT_ROOT
    from ansible_collections.apiary.propolis.plugins.module_utils.propolis.inventory import DEFAULT_SERVER_ROOT

    found: dict[str, list[dict[str, str]]] = {}
    for host in dict.fromkeys(ends):
        facts = hostvars[host]
        root = facts.get("propolis_server_root") or DEFAULT_SERVER_ROOT
        supervisor = facts.get("propolis_server_supervisor") or "process"
        service = {"name": f"propolis-server-{instance}", "run_dir": f"{root}/{instance}", "supervisor": supervisor}
        found.setdefault(host, []).append(service)
    for target in targets:
        facts = hostvars[target["host"]]
        root = facts.get("crucible_downstairs_root") or DEFAULT_ROOT
        run_dir = facts.get("crucible_downstairs_run_dir") or f"{root}/run"
        supervisor = facts.get("crucible_downstairs_supervisor") or "process"
        service = {"name": target["service"], "run_dir": run_dir, "supervisor": supervisor}
        found.setdefault(target["host"], []).append(service)
    return [{"host": host, "services": services} for host, services in found.items()]


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"migration_services": migration_services}
