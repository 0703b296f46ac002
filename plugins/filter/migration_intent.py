# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: what a run that shall move an instance has to do."""

from __future__ import annotations

DOCUMENTATION = r"""
name: migration_intent
short_description: What a run that shall move an instance has to do
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Decides, from what all servers and the ledgers say, where the instance is moved from, whether a move is needed at all, whether
    one of ours is under way, and which id the migration has.
positional: instance, destination, servers, surveyed, controller
options:
  _input:
    description: Name of the instance.
    type: str
    required: true
  instance:
    description: The instance, an entry of the inventory's C(propolis_instances).
    type: dict
    required: true
  destination:
    description: Name of the destination.
    type: str
    required: true
  servers:
    description: The C(servers) of M(apiary.propolis.propolis_instance_info).
    type: list
    elements: dict
    required: true
  surveyed:
    description: What P(apiary.propolis.volumes_surveyed#filter) found, for the newest entries of the ledgers.
    type: dict
    required: true
  controller:
    description: Who runs this.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: It is known what there is to do
  ansible.builtin.debug:
    msg: "{{ 'vm0' | apiary.propolis.migration_intent(propolis_instances.vm0, 'beta', asked.servers, surveyed, 'desk') }}"
"""

RETURN = r"""
_value:
  description:
    - C(source), C(destination), C(others), C(needed), C(adopts) and C(migration_id).
    - C(problem), V(null) or a dictionary of C(code), C(sentence) and C(next_step). Another controller that moves the instance is
      such a problem, from the moment in which it has its number.
  type: dict
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any


def migration_intent(
    name: str,
    instance: Mapping[str, Any],
    destination: str,
    servers: Sequence[Mapping[str, Any]],
    surveyed: Mapping[str, Any],
    controller: str,
) -> dict[str, Any]:
    """See DOCUMENTATION."""
    from ansible_collections.apiary.propolis.plugins.module_utils.propolis.intent import Asker, decide

    newest = [volume["newest"] for volume in surveyed.values() if volume["newest"]]
    asker = Asker(controller, time.time())
    return decide(name, str(instance["id"]).lower(), destination, servers, newest, asker).as_dict()


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"migration_intent": migration_intent}
