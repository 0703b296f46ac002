# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: what is wrong with the instances of an inventory."""

from __future__ import annotations

DOCUMENTATION = r"""
name: instance_problems
short_description: What is wrong with the instances of an inventory
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Looks at every instance, and at what two of them take from each other (an id, a volume), before anything is changed.
positional: volumes, hosts
options:
  _input:
    description: The inventory's C(propolis_instances), a dictionary by instance name.
    type: dict
    required: true
  volumes:
    description: The inventory's C(crucible_volumes), a dictionary by volume name.
    type: dict
    required: true
  hosts:
    description: Names of the hosts where propolis servers can run, usually C(groups['propolis_servers']).
    type: list
    elements: str
    required: true
  names:
    description: Names of instances that somebody asked for.
    type: list
    elements: str
    default: []
  moves:
    description: Moves that somebody asked for, destinations by instance name.
    type: dict
    default: {}
  generations:
    description: Generations that somebody asked for, numbers by volume name.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Each instance and each of its volumes is known
  ansible.builtin.assert:
    that: propolis_instances | apiary.propolis.instance_problems(crucible_volumes, groups['propolis_servers']) == []
"""

RETURN = r"""
_value:
  description: One sentence for each problem; an empty list when all is well.
  type: list
  elements: str
"""

from collections.abc import Mapping, Sequence
from typing import Any


def instance_problems(
    instances: Mapping[str, Any],
    volumes: Mapping[str, Any],
    hosts: Sequence[str],
    names: Sequence[str] = (),
    moves: Mapping[str, str] | None = None,
    generations: Mapping[str, Any] | None = None,
) -> list[str]:
    """See DOCUMENTATION."""
    from ansible_collections.apiary.propolis.plugins.module_utils.propolis import inventory

    return [
        *inventory.instance_problems(instances, volumes, names, hosts),
        *inventory.move_problems(instances, moves or {}, hosts),
        *inventory.generation_problems(generations or {}, volumes),
    ]


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"instance_problems": instance_problems}
