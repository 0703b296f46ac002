#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module: what propolis servers hold."""

from __future__ import annotations

DOCUMENTATION = r"""
module: propolis_instance_info
short_description: What propolis servers hold
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Asks any number of servers, all at once, for their instance, its migrations, its disks with the generations in use, and its spec.
  - A server that is away, hangs or is no propolis server is an answer too and does not fail the task.
  - Secrets are taken out of the spec unless they are asked for.
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
  server:
    description: One server, as C(IP:PORT) or C(http://...).
    type: str
  servers:
    description: Several servers.
    type: list
    elements: dict
    suboptions:
      name:
        description: What people call it, such as its inventory name. The default is its address.
        type: str
      address:
        description: Its address, as in O(server).
        type: str
        required: true
  timeout:
    description: Seconds that each request to each server may take.
    type: float
    default: 10
  keys:
    description:
      - By the UUID of a volume, the key that its disks should have, as base64.
      - Only whether they have it is told, in RV(servers[].disks[].key_fits). With another key a machine runs, and each of its
        reads and writes fails.
    type: dict
    default: {}
  include_spec:
    description: Whether RV(servers[].spec) keeps its secrets. Use C(no_log) for the task then.
    type: bool
    default: false
seealso:
  - module: apiary.propolis.propolis_instance
"""

EXAMPLES = r"""
- name: It is known what alpha and beta hold
  apiary.propolis.propolis_instance_info:
    servers:
      - {name: alpha, address: "172.20.3.73:8000"}
      - {name: beta, address: "172.20.3.71:8000"}
  register: held

- name: The generations in use are shown
  ansible.builtin.debug:
    msg: "{{ held.servers | map(attribute='disks') | flatten | map(attribute='generation') }}"
"""

RETURN = r"""
servers:
  description: One entry for each server, in the order asked for.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: What it is called.
      type: str
      returned: always
    address:
      description: Its address as it was given.
      type: str
      returned: always
    reachable:
      description: Whether it answered. A server that hangs is not reachable; another program that answers is, with an error.
      type: bool
      returned: always
    error:
      description: The first thing that went wrong, in one sentence. V(null) when nothing did.
      type: str
      returned: always
    failure:
      description: The same as C(code), C(message) and C(details).
      type: dict
      returned: always
    dialect:
      description: The age of API that it speaks.
      type: str
      returned: always
      sample: 5.0.0
    could_not_tell:
      description: What the signs of its age leave open.
      type: list
      elements: str
      returned: always
    instance:
      description: C(id), C(name) and C(state). An instance that is Destroyed or Failed stays readable. V(null) when there is none.
      type: dict
      returned: always
    migration:
      description: C(in) and C(out), the last migrations, each V(null) or a dictionary of C(id) and C(state).
        V(null) for servers of 2023, which answer only who knows the id.
      type: dict
      returned: always
    disks:
      description: The Crucible disks of a live instance.
      type: list
      elements: dict
      returned: always
      contains:
        name:
          description: The disk's name.
          type: str
          returned: always
        backend:
          description: The name of its backend.
          type: str
          returned: always
        device:
          description: V(virtio) or V(nvme).
          type: str
          returned: always
        read_only:
          description: Whether it is read-only.
          type: bool
          returned: always
        volume:
          description: The volume's UUID.
          type: str
          returned: always
        generation:
          description: The generation in use. Below API 5.0.0 it is the one in the spec.
          type: int
          returned: always
        floor:
          description: The highest generation known to be used or promised here. A new one must be higher.
          type: int
          returned: always
        active:
          description: Whether the disk is open. V(null) when the server cannot tell.
          type: bool
          returned: always
        state:
          description: The state of its upstairs (API 5.0.0 and later). V(disabled) means that another session has fenced it.
          type: str
          returned: always
        targets:
          description: Its downstairs with C(address), C(repair_address), C(state), C(step) and C(mode).
          type: list
          elements: dict
          returned: always
        key_fits:
          description: Whether the disk has the key in O(keys). V(null) where no key is given for its volume.
          type: bool
          returned: always
    spec:
      description: The server's own answer about the instance's spec.
      type: dict
      returned: always
failure:
  description: What went wrong with the task as a whole.
  returned: failure
  type: dict
"""

from uuid import UUID

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_failures import fail
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_propolis import api_options, require_requests
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.dialects import choose
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.errors import BadDescription
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.survey import Place, survey


def _volume(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise BadDescription(f"keys has an entry for {text!r}; it must be the UUID of a volume.") from None


def run(module: AnsibleModule) -> None:
    params = module.params
    if params["timeout"] <= 0:
        raise BadDescription(f"timeout is {params['timeout']}; it must be a number of seconds above 0.")
    choose(params["api"])  # a word that is no API is the user's mistake, not every server's
    asked = [{"name": None, "address": params["server"]}] if params["server"] else params["servers"]
    places = [Place(one["name"] or one["address"], one["address"]) for one in asked]
    keys = {_volume(volume): str(key) for volume, key in params["keys"].items()}
    reports = survey(
        places, api=params["api"], timeout=params["timeout"], with_secrets=params["include_spec"], keys=keys
    )
    module.exit_json(changed=False, servers=[report.as_dict() for report in reports])


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "server": {"type": "str"},
            "servers": {
                "type": "list",
                "elements": "dict",
                "options": {"name": {"type": "str"}, "address": {"type": "str", "required": True}},
            },
            "timeout": {"type": "float", "default": 10},
            "keys": {"type": "dict", "default": {}, "no_log": True},
            "include_spec": {"type": "bool", "default": False},
            **api_options(),
        },
        mutually_exclusive=[("server", "servers")],
        required_one_of=[("server", "servers")],
        supports_check_mode=True,
    )
    require_requests(module)
    try:
        run(module)
    except CollectionError as error:
        fail(module, error)


if __name__ == "__main__":
    main()
