#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module: an instance at a propolis server, made, run, rebooted or ended."""

from __future__ import annotations

DOCUMENTATION = r"""
module: propolis_instance
short_description: Make, run, reboot or end an instance at a propolis server
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - One server serves one instance. A server that holds another live instance is never touched.
  - A live instance is never changed. When it differs from O(spec), a warning says how.
  - Stopping is a power cut and for good. A stopped instance is gone from its server (Destroyed), like an absent one; its disks stay.
  - Each time an instance is made its disks need a new, higher generation, see M(apiary.propolis.crucible_generation).
extends_documentation_fragment:
  - apiary.propolis.propolis_api
  - apiary.propolis.progress
attributes:
  check_mode:
    description: Can run in check mode and tell what would be done, without changing anything.
    support: full
  diff_mode:
    description: Returns the state before and after.
    support: full
  idempotent:
    description: A second run changes nothing, except with O(state=rebooted).
    support: partial
    details:
      - With O(state=rebooted) each run reboots.
options:
  server:
    description: The server as C(IP:PORT), C([IPv6]:PORT), C(NAME:PORT) or C(http://...). Propolis knows no TLS and no authentication.
    type: str
    required: true
  name:
    description: The instance's name. Needed to make one.
    type: str
  id:
    description:
      - The instance's UUID. Needed to make one.
      - Without it, whatever the server holds under O(name) is meant; without both, whatever it holds.
    type: str
  state:
    description:
      - V(present) makes the instance when it is not there. It then waits in state Creating; its disks are not opened.
      - V(running) also runs it and waits until it is Running with all disks active.
      - V(stopped) and V(absent) end it and wait until its server is free.
      - V(rebooted) resets a running one.
    type: str
    choices: [present, running, stopped, rebooted, absent]
    default: present
  spec:
    description:
      - The machine, as P(apiary.propolis.instance_spec#filter) describes it, with C(cpus), C(memory_mib) and C(disks).
      - Needed to make the instance. It holds the keys of encrypted volumes, so a task that shows it needs C(no_log).
    type: dict
  wait:
    description: Whether to wait until the instance has the wanted state.
    type: bool
    default: true
  timeout:
    description: Seconds that all of it may take.
    type: float
    default: 60
  force:
    description: Whether to end even an instance that is being migrated. The migration may end it at both servers.
    type: bool
    default: false
  server_log:
    description:
      - Path of the server's log, as M(apiary.propolis.propolis_server) returns it. When the module runs on the server's host,
        the reason of a failure is looked for in it; in any case it is named.
    type: path
seealso:
  - module: apiary.propolis.propolis_instance_info
  - module: apiary.propolis.propolis_server
"""

EXAMPLES = r"""
- name: Instance vm0 runs on alpha
  apiary.propolis.propolis_instance:
    server: 172.20.3.73:8000
    name: vm0
    id: 1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a01
    spec: "{{ propolis_instances.vm0 | apiary.propolis.instance_spec(vm0_disks) }}"
    state: running
    timeout: 120
  no_log: true

- name: Instance vm0 is gone
  apiary.propolis.propolis_instance:
    server: 172.20.3.73:8000
    id: 1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a01
    state: absent
"""

RETURN = r"""
instance:
  description: The instance as it is after this task (in check mode, as it would be). V(null) when the server holds none.
  returned: success
  type: dict
  contains:
    id:
      description: Its UUID.
      type: str
      returned: always
    name:
      description: Its name.
      type: str
      returned: always
    state:
      description: Its state, in the server's words.
      type: str
      returned: always
      sample: Running
    server:
      description: The server's address.
      type: str
      returned: always
      sample: 172.20.3.73:8000
    dialect:
      description: The age of API that was spoken.
      type: str
      returned: always
      sample: 5.0.0
failure:
  description: What went wrong.
  returned: failure
  type: dict
  contains:
    code:
      description:
        - A word to branch on. Among them are C(unreachable), C(timeout), C(not_propolis), C(unsupported_dialect), C(bad_description),
          C(server_occupied), C(state_change_refused), C(cannot_create), C(create_failed), C(instance_failed), C(fenced) and C(timed_out).
      type: str
      returned: always
    message:
      description: The sentence that is also in C(msg).
      type: str
      returned: always
    details:
      description: Numbers and names that belong to it.
      type: dict
      returned: always
"""

import uuid
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_failures import fail
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_progress import progress_options
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_propolis import (
    REQUEST_TIMEOUT,
    api_options,
    hide_only_secrets,
    require_requests,
)
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.errors import BadDescription
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.instance import Instance
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.instance_waits import Log
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.lifecycle import (
    Goal,
    Lifecycle,
    Plan,
    Step,
    Wanted,
    make_plan,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.server import Server
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_description import Description
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_drift import drift


def read_wanted(params: dict[str, Any]) -> Wanted:
    """What the options ask for; raises CollectionError for what cannot be read."""
    if params["timeout"] <= 0:
        raise BadDescription(f"timeout is {params['timeout']}; it must be a number of seconds above 0.")
    identity = params["id"]
    if identity is not None:
        try:
            identity = str(uuid.UUID(identity))
        except ValueError:
            raise BadDescription(f"id is {identity!r}, which is not a UUID.") from None
    spec = params["spec"]
    return Wanted(
        goal=Goal(params["state"]),
        id=identity,
        name=params["name"],
        description=Description.from_json(spec) if spec is not None else None,
        wait=params["wait"],
        force=params["force"],
    )


def warn_of_drift(module: AnsibleModule, server: Server, wanted: Wanted, plan: Plan) -> None:
    """Say how a live instance differs from what is described: nothing can be done about it while it lives."""
    if wanted.description is None or plan.before is None or Step.CREATE in plan.steps:
        return
    found = server.spec()
    for clause in drift(wanted.description, found) if found else ():
        module.warn(f"Instance {wanted.name or wanted.id} on {server}: {clause}. It changes only when it is made anew.")


def foresee(wanted: Wanted, held: Instance | None, plan: Plan) -> dict[str, Any] | None:
    """The instance as it would be after the plan."""
    if plan.after is None:
        return None
    identity = {"id": wanted.id, "name": wanted.name}
    if held is not None:
        identity = {"id": wanted.id or held.id, "name": wanted.name or held.name}
    return {**identity, "state": plan.after.value}


def run(module: AnsibleModule) -> None:
    wanted = read_wanted(module.params)
    timeout = module.params["timeout"]
    server = Server.open(module.params["server"], api=module.params["api"], timeout=min(timeout, REQUEST_TIMEOUT))
    held = server.instance()
    plan = make_plan(wanted, held, str(server))
    warn_of_drift(module, server, wanted, plan)
    changed = plan.changed
    if module.check_mode:
        if Step.CREATE in plan.steps:
            server.dialect.ensure(wanted.id, wanted.name, wanted.description)  # refuses what this age cannot express
        after = foresee(wanted, held, plan)
    else:
        lifecycle = Lifecycle(server, wanted, timeout=timeout, log=Log(module.params["server_log"]))
        try:
            lifecycle.carry_out(plan)
            now = server.instance()
        except CollectionError as error:
            fail(module, error, changed=lifecycle.changed)
        changed = lifecycle.changed
        after = {"id": now.id, "name": now.name, "state": now.state.value} if now else None
    before = {"state": plan.before.value if plan.before else None}
    facts = {"server": str(server.address), "dialect": server.dialect.label}
    module.exit_json(
        changed=changed,
        instance={**after, **facts} if after else None,
        diff={"before": before, "after": {"state": after["state"] if after else None}},
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "server": {"type": "str", "required": True},
            "name": {"type": "str"},
            "id": {"type": "str"},
            "state": {
                "type": "str",
                "choices": ["present", "running", "stopped", "rebooted", "absent"],
                "default": "present",
            },
            "spec": {"type": "dict", "no_log": True},
            "wait": {"type": "bool", "default": True},
            "timeout": {"type": "float", "default": 60},
            "force": {"type": "bool", "default": False},
            "server_log": {"type": "path"},
            **api_options(),
            **progress_options(),
        },
        supports_check_mode=True,
    )
    require_requests(module)
    hide_only_secrets(module, module.params["spec"])
    try:
        run(module)
    except CollectionError as error:
        fail(module, error)


if __name__ == "__main__":
    main()
