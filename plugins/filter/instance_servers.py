# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: every propolis server that may hold an instance."""

from __future__ import annotations

DOCUMENTATION = r"""
name: instance_servers
short_description: Every propolis server that may hold an instance
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - One server serves one instance, on the same port of whichever host. This lists the server of an instance on each host.
positional: hosts, hostvars
options:
  _input:
    description: The instance, an entry of the inventory's C(propolis_instances). Its C(hosts), when given, limits the list.
    type: dict
    required: true
  hosts:
    description: Names of the hosts where propolis servers can run, usually C(groups['propolis_servers']).
    type: list
    elements: str
    required: true
  hostvars:
    description: C(hostvars), for the addresses of the hosts.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Ask every server that may hold vm0
  apiary.propolis.propolis_instance_info:
    servers: "{{ propolis_instances.vm0 | apiary.propolis.instance_servers(groups['propolis_servers'], hostvars) }}"
  delegate_to: localhost
"""

RETURN = r"""
_value:
  description: A list of dictionaries with C(name), the host, and C(address), C(IP:port).
  type: list
  elements: dict
"""

from collections.abc import Mapping, Sequence
from typing import Any


def instance_servers(
    instance: Mapping[str, Any], hosts: Sequence[str], hostvars: Mapping[str, Any]
) -> list[dict[str, str]]:
    """See DOCUMENTATION. The address is the host's ``propolis_server_address``, else ``ansible_host``."""
    servers = []
    for host in instance.get("hosts") or hosts:
        facts = hostvars[host]
        address = str(facts.get("propolis_server_address") or facts.get("ansible_host") or host)
        bracketed = f"[{address}]" if ":" in address else address
        servers.append({"name": str(host), "address": f"{bracketed}:{int(instance.get('port', 12400))}"})
    return servers


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"instance_servers": instance_servers}
