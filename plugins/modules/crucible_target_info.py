#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module: what downstairs answer, asked from the host where the module runs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: crucible_target_info
short_description: Whether this host reaches downstairs, and what they serve
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Asks any number of downstairs, all at once, over their repair API on the data port + 4000, and opens a TCP connection to
    their data port.
  - Run it on a migration's destination, it tells whether the destination will be able to open its disks. It never says hello
    in Crucible's protocol, since that alone can let a second session in.
  - A downstairs that does not answer is an answer too and does not fail the task.
attributes:
  check_mode:
    description: Changes nothing, in check mode too.
    support: full
  diff_mode:
    description: There is nothing that changes.
    support: none
  idempotent:
    description: Changes nothing, however often it runs.
    support: full
options:
  targets:
    description: The downstairs.
    type: list
    elements: dict
    required: true
    suboptions:
      address:
        description: IP address.
        type: str
        required: true
      port:
        description: Data port.
        type: int
        required: true
  timeout:
    description: Seconds that each question may take.
    type: float
    default: 5
seealso:
  - module: apiary.propolis.crucible_facts
  - module: apiary.propolis.crucible_downstairs
"""

EXAMPLES = r"""
- name: It is known whether beta reaches the three downstairs
  apiary.propolis.crucible_target_info:
    targets:
      - {address: 172.20.3.73, port: 8810}
      - {address: 172.20.3.73, port: 8820}
      - {address: 172.20.3.73, port: 8830}
  delegate_to: beta
  register: seen_from_beta
"""

RETURN = r"""
targets:
  description: One entry for each downstairs, in the order asked for.
  returned: success
  type: list
  elements: dict
  contains:
    address:
      description: IP address.
      type: str
      returned: always
    port:
      description: Data port.
      type: int
      returned: always
    reachable:
      description: Whether it answered on both ports.
      type: bool
      returned: always
    error:
      description: The first thing that went wrong, in one sentence. V(null) when nothing did.
      type: str
      returned: always
    uuid:
      description: Id of the region that it serves. V(null) from programs before February 2024, which do not tell it.
      type: str
      returned: always
    geometry:
      description: C(block_size), C(blocks_per_extent), C(extent_count) and C(encrypted) of the region, or V(null) likewise.
      type: dict
      returned: always
    read_only:
      description: Whether it was started read-only, or V(null) likewise.
      type: bool
      returned: always
failure:
  description: What went wrong with the task as a whole.
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_failures import fail
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.targets import look_at_targets
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError


def main():
    module = AnsibleModule(
        argument_spec={
            "targets": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "address": {"type": "str", "required": True},
                    "port": {"type": "int", "required": True},
                },
            },
            "timeout": {"type": "float", "default": 5},
        },
        supports_check_mode=True,
    )
    try:
        asked = [(target["address"], target["port"]) for target in module.params["targets"]]
        seen = look_at_targets(asked, timeout=module.params["timeout"])
    except CollectionError as error:
        fail(module, error)
    module.exit_json(changed=False, targets=[target.as_dict() for target in seen])


if __name__ == "__main__":
    main()
