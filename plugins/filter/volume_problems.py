# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: what is wrong with the volumes of an inventory."""

from __future__ import annotations

DOCUMENTATION = r"""
name: volume_problems
short_description: What is wrong with the volumes of an inventory
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Looks at every volume whole, and at what two volumes take from each other, before anything is changed.
positional: hostvars
options:
  _input:
    description: The inventory's C(crucible_volumes), a dictionary by volume name.
    type: dict
    required: true
  hostvars:
    description: C(hostvars), for the addresses of the target hosts.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Each volume is complete and its targets make sense
  ansible.builtin.assert:
    that: crucible_volumes | apiary.propolis.volume_problems(hostvars) == []
"""

RETURN = r"""
_value:
  description: One sentence for each problem, without secrets; an empty list when all is well.
  type: list
  elements: str
"""

from collections.abc import Mapping
from typing import Any

from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError


def volume_problems(volumes: Mapping[str, Any], hostvars: Mapping[str, Any]) -> list[str]:
    """See DOCUMENTATION."""
    from ansible_collections.apiary.propolis.plugins.module_utils.crucible import inventory
    from ansible_collections.apiary.propolis.plugins.module_utils.crucible.placement import placed_targets

    try:
        targets = placed_targets(volumes, hostvars)
    except CollectionError as error:
        return [error.message]
    return inventory.volume_problems(volumes, targets)


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"volume_problems": volume_problems}
