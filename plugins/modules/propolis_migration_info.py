#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module: how an instance stands, over all servers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: propolis_migration_info
short_description: How an instance stands, over all servers
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Asks every server that may hold an instance, at once, and gives the verdict that a move would end with now.
  - Two running copies, a leftover, a session of its volumes elsewhere and a migration under way are named.
  - A bad verdict is an answer and does not fail the task.
extends_documentation_fragment:
  - apiary.propolis.propolis_api
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
  instance:
    description: The instance.
    type: dict
    required: true
    suboptions:
      id:
        description: Its UUID.
        type: str
        required: true
      name:
        description: What people call it. The default is its id.
        type: str
  servers:
    description: All servers that may hold it.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What people call it, such as its inventory name. The default is its address.
        type: str
      address:
        description: Its C(IP:PORT).
        type: str
        required: true
  timeout:
    description: Seconds that a server may take for one answer before it counts as deaf.
    type: float
    default: 5
seealso:
  - module: apiary.propolis.propolis_migration
  - module: apiary.propolis.propolis_instance_info
"""

EXAMPLES = r"""
- name: It is known how vm0 stands
  apiary.propolis.propolis_migration_info:
    instance: {id: 1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a01, name: vm0}
    servers:
      - {name: alpha, address: "172.20.3.73:8000"}
      - {name: beta, address: "172.20.3.71:8000"}
  delegate_to: localhost
  register: stands

- name: Two copies are an alarm
  ansible.builtin.assert:
    that: stands.verdict != 'split_brain'
    fail_msg: "{{ stands.sentence }}"
"""

RETURN = r"""
status:
  description:
    - How it stands in one word, V(running), V(moving), V(starting), V(created), V(stopped), V(lost) or V(gone), else the verdict.
    - V(stopped) is said of an instance that no server holds, too. V(lost) is one that runs nowhere although nobody stopped it.
    - V(gone) is one that was moved and then stopped or lost, when the server that could say which was ended or started anew since.
  returned: success
  type: str
  sample: running
alarm:
  description: Whether a person has to look at it, such as at two copies or at one that nobody can locate.
  returned: success
  type: bool
verdict:
  description: The verdict, one of those of M(apiary.propolis.propolis_migration).
  returned: success
  type: str
  sample: already_there
good:
  description: Whether the instance runs at one place and nothing is left to do.
  returned: success
  type: bool
sentence:
  description: Where it runs, at which generation, and what to do next.
  returned: success
  type: str
next_steps:
  description: What to do next, step by step.
  returned: success
  type: list
  elements: str
runs_on:
  description: The name of the server where it is known to run, or V(null).
  returned: success
  type: str
servers:
  description: What each server said, C(name), C(address), C(reach), C(state) and C(error).
  returned: success
  type: list
  elements: dict
failure:
  description: What went wrong with the task as a whole.
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_failures import fail
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_propolis import api_options, require_requests
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.observation import ServerName
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.observe import Observer
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.status import standing
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.verdict import InstanceName


def run(module):
    params = module.params
    asked = params["instance"]
    instance = InstanceName(asked["id"].lower(), asked["name"] or asked["id"])
    servers = [ServerName(one["name"] or one["address"], one["address"]) for one in params["servers"]]
    found = standing(instance, servers, Observer(api=params["api"], timeout=params["timeout"]))
    verdict = found.verdict
    module.exit_json(
        changed=False,
        status=found.word,
        alarm=found.is_alarm,
        verdict=verdict.code.value,
        good=verdict.is_good,
        sentence=verdict.sentence,
        next_steps=list(verdict.next_steps),
        runs_on=verdict.runs_on.name if verdict.runs_on else None,
        servers=[
            {
                "name": seen.server.name,
                "address": seen.server.address,
                "reach": seen.reach.value,
                "state": seen.state.value if seen.state else None,
                "error": seen.error,
            }
            for seen in found.sightings
        ],
    )


def main():
    module = AnsibleModule(
        argument_spec={
            "instance": {
                "type": "dict",
                "required": True,
                "options": {"id": {"type": "str", "required": True}, "name": {"type": "str"}},
            },
            "servers": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {"name": {"type": "str"}, "address": {"type": "str", "required": True}},
            },
            "timeout": {"type": "float", "default": 5},
            **api_options(),
        },
        supports_check_mode=True,
    )
    require_requests(module)
    try:
        run(module)
    except CollectionError as error:
        fail(module, error)


if __name__ == "__main__":
    main()
