# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: where instances are."""

from __future__ import annotations

DOCUMENTATION = r"""
name: instances_located
short_description: Where instances are, from what all servers said
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Takes the registered results of M(apiary.propolis.propolis_instance_info), run in a loop over instance names.
  - It is a problem when no server holds an instance and one of them could not be asked, since it may be there.
positional: instances
options:
  _input:
    description: The C(results) of the registered loop.
    type: list
    elements: dict
    required: true
  instances:
    description: The inventory's C(propolis_instances), for the ids.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: It is known on which server each instance is
  ansible.builtin.assert:
    that: located.problems == []
    fail_msg: "{{ located.problems | join(' ') }}"
  vars:
    located: "{{ asked.results | apiary.propolis.instances_located(propolis_instances) }}"
"""

RETURN = r"""
_value:
  description:
    - C(problems), one sentence for each instance that cannot be located.
    - C(instances), by name, C(name) (the host), C(address) and C(state). Instances that run nowhere are left out.
  type: dict
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError


def instances_located(results: Sequence[Mapping[str, Any]], instances: Mapping[str, Any]) -> dict[str, Any]:
    """See DOCUMENTATION."""
    from ansible_collections.apiary.propolis.plugins.module_utils.propolis.location import locate

    located, problems = {}, []
    for result in results:
        name = result["item"]
        try:
            found = locate(name, str(instances[name]["id"]).lower(), result["servers"])
        except CollectionError as error:
            problems.append(error.message)
        else:
            located |= {name: asdict(found)} if found else {}
    return {"instances": located, "problems": problems}


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"instances_located": instances_located}
