#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module: what a migration depends on at a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: propolis_host_info
short_description: What a migration depends on at a host
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Tells memory, processor and clock of the host where it runs.
  - What the host cannot tell is V(null) and does not fail the task.
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
  asked_at:
    description: The time on the controller, in seconds since 1970, for RV(host.clock_offset).
    type: float
seealso:
  - module: apiary.propolis.crucible_target_info
"""

EXAMPLES = r"""
- name: It is known whether beta has room
  apiary.propolis.propolis_host_info:
  delegate_to: beta
  register: beta_is
"""

RETURN = r"""
host:
  description: The facts.
  returned: success
  type: dict
  contains:
    system:
      description: Name of the operating system.
      type: str
      returned: always
      sample: SunOS
    cpu:
      description: C(vendor), C(family) and C(model) of the processor, each V(null) where the host does not tell.
      type: dict
      returned: always
    memory:
      description: C(total_mib) and C(available_mib), each V(null) where the host does not tell.
      type: dict
      returned: always
    clock:
      description: Seconds since 1970.
      type: float
      returned: always
    clock_offset:
      description: How many seconds the clock is ahead of O(asked_at), or V(null). It holds the time that the asking took.
      type: float
      returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.apiary.propolis.plugins.module_utils.host_facts import host_facts


def main() -> None:
    module = AnsibleModule(argument_spec={"asked_at": {"type": "float"}}, supports_check_mode=True)
    facts, asked_at = host_facts(), module.params["asked_at"]
    offset = None if asked_at is None else round(facts.clock - asked_at, 3)
    module.exit_json(changed=False, host={**facts.as_dict(), "clock_offset": offset})


if __name__ == "__main__":
    main()
