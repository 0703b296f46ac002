# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: the inventory's volumes as one flat list of targets."""

from __future__ import annotations

DOCUMENTATION = r"""
name: volume_targets
short_description: The targets of volumes, as one flat list
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Lists every target of every volume with the address, region directory, region uuid and service name that it has on its host.
  - So one P(ansible.builtin.selectattr#filter) gives what belongs on a host, or all three targets of a volume.
positional: hostvars
options:
  _input:
    description: The inventory's C(crucible_volumes), a dictionary by volume name.
    type: dict
    required: true
  hostvars:
    description: C(hostvars), for the addresses and directories of the hosts.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: What belongs on this host
  ansible.builtin.debug:
    msg: "{{ crucible_volumes | apiary.propolis.volume_targets(hostvars) | selectattr('host', 'eq', inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: A list of dictionaries with C(volume), C(volume_id), C(index), C(host), C(address), C(port), C(path), C(region) and C(service).
  type: list
  elements: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError


def volume_targets(volumes: Mapping[str, Any], hostvars: Mapping[str, Any]) -> list[dict[str, Any]]:
    """See DOCUMENTATION; AnsibleFilterError with one sentence when a target cannot be placed."""
    from ansible_collections.apiary.propolis.plugins.module_utils.crucible.placement import placed_targets

    try:
        return [target.as_dict() for target in placed_targets(volumes, hostvars)]
    except CollectionError as error:
        raise AnsibleFilterError(error.message) from error


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"volume_targets": volume_targets}
