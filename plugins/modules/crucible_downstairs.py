#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One downstairs process of a Crucible volume."""

from __future__ import annotations

DOCUMENTATION = r"""
module: crucible_downstairs
short_description: Keep one Crucible downstairs running
version_added: 0.1.0
author:
  - The apiary.propolis developers (!UNKNOWN)
description:
  - Starts, stops and restarts the C(crucible-downstairs run) that serves one region.
  - Ready means that its repair API, on the data port + 4000, answers for the right region. Programs of January 2023 do not
    tell which region they serve; there, the region's own file is compared and the API must list the files of an extent.
  - Before it starts, the region must be complete and the expected one, nobody else may use its directory (the program has
    no lock, and two on one directory destroy each other's data), and both ports must be free.
options:
  name:
    description: Name of the service, for example C(vm0-boot-ds0). Letters, digits, C(.), C(_) and C(-).
    type: str
    required: true
  path:
    description: Directory of the region. Needed unless the service is to be stopped.
    type: path
  address:
    description:
      - IP address to listen on, the one at which the other hosts reach this one. The program takes no host names.
      - It is also the address that is advertised to the other downstairs for repair.
    type: str
  port:
    description: Data port, at most 61535, because the repair API listens 4000 above it.
    type: int
  state:
    description: V(absent) stops it and forgets it; its log and its region stay.
    type: str
    choices: [started, stopped, restarted, absent]
    default: started
  mode:
    description: V(ro) refuses writes; it is needed for cloning from this region.
    type: str
    choices: [rw, ro]
    default: rw
  uuid:
    description: UUID that the region at O(path) must have.
    type: str
  executable:
    description: The program C(crucible-downstairs), by name or path.
    type: str
    default: crucible-downstairs
  supervisor:
    description: What keeps it running. V(process) is a detached process with a state file in O(run_dir).
    type: str
    default: process
  run_dir:
    description: Directory of state and log files, made with mode 0700.
    type: path
    required: true
  allow_wildcard:
    description: Allow V(0.0.0.0) or V(::) as O(address). Only right while all three downstairs are on one host.
    type: bool
    default: false
  timeout:
    description: Seconds to wait until it is ready, or until it has ended.
    type: float
    default: 30
extends_documentation_fragment:
  - apiary.propolis.attributes
  - apiary.propolis.attributes.storage_host
  - apiary.propolis.progress
attributes:
  check_mode:
    support: full
    details: Where there is no region yet, the program, the address and the ports are checked.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details: A restart is a change every time.
seealso:
  - module: apiary.propolis.crucible_region
"""

EXAMPLES = r"""
- name: The region is served
  apiary.propolis.crucible_downstairs:
    name: vm0-boot-ds0
    path: /var/crucible/vm0-boot
    uuid: 12345678-0000-4000-8000-000000008810
    address: 172.20.3.73
    port: 8810
    run_dir: /var/run/crucible

- name: The downstairs is stopped
  apiary.propolis.crucible_downstairs:
    name: vm0-boot-ds0
    state: stopped
    run_dir: /var/run/crucible
"""

RETURN = r"""
downstairs:
  description: The downstairs as it is now; in check mode, as far as it can be known before.
  returned: success
  type: dict
  contains:
    name:
      description: Name of the service.
      type: str
    state:
      description: Whether it runs.
      type: str
      choices: [running, stopped]
    address:
      description: Address it listens on.
      type: str
    port:
      description: Data port.
      type: int
    repair_port:
      description: Port of the repair API.
      type: int
    mode:
      description: V(rw) or V(ro).
      type: str
    path:
      description: Directory of the region.
      type: str
    uuid:
      description: UUID of the region.
      type: str
    pid:
      description: Process id, null while it does not run.
      type: int
    log:
      description: File that has its output.
      type: str
  sample:
    name: vm0-boot-ds0
    state: running
    address: 172.20.3.73
    port: 8810
    repair_port: 12810
    mode: rw
    path: /var/crucible/vm0-boot
    uuid: 12345678-0000-4000-8000-000000008810
    pid: 4242
    log: /var/run/crucible/vm0-boot-ds0.log
failure:
  description: Why the module failed.
  returned: failure
  type: dict
  contains:
    code:
      description: >-
        A word to branch on, for example V(port_in_use), V(region_in_use), V(foreign_region), V(runs_otherwise),
        V(timed_out), V(died).
      type: str
    message:
      description: The sentence of C(msg).
      type: str
    details:
      description: The values that the sentence speaks of; the last log lines where it died.
      type: dict
  sample:
    code: port_in_use
    message: "port: 172.20.3.73:8810 (port of vm0-boot-ds0) is in use by process 811 (nc -l 8810)."
    details: {port: 8810, processes: [{pid: 811, command: nc -l 8810}]}
"""

import uuid as uuids
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_failures import fail
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_progress import progress_options
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.errors import InvalidValueError
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.region import read_definition
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.serving import Downstairs, Keeper, described
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError
from ansible_collections.apiary.propolis.plugins.module_utils.supervisors import choose
from ansible_collections.apiary.propolis.plugins.module_utils.supervisors.service import Supervisor


def wanted_from(params: dict[str, Any]) -> Downstairs:
    """The options as a description of a downstairs. Raises InvalidValueError."""
    uuid = params["uuid"]
    if uuid is not None:
        try:
            uuid = str(uuids.UUID(uuid))
        except ValueError:
            raise InvalidValueError("uuid", uuid, "a UUID") from None
    return Downstairs(
        name=params["name"],
        path=Path(params["path"]),
        address=params["address"],
        port=params["port"],
        mode=params["mode"],
        executable=params["executable"],
        uuid=uuid,
        allow_wildcard=params["allow_wildcard"],
    )


def run(module: AnsibleModule, wanted: Downstairs, supervisor: Supervisor) -> dict[str, Any]:
    """Bring it into state started or restarted."""
    keeper = Keeper(wanted, supervisor, module.params["timeout"])
    if module.check_mode and keeper.awaits_region():
        keeper.check_place()
        told = {"state": "running", **described(wanted, None, wanted.uuid)}
        return {"changed": True, "downstairs": told, "diff": difference(False, True)}
    restart = module.params["state"] == "restarted"
    was_running = supervisor.status(wanted.name).running
    changed = restart or keeper.needs_start()
    if module.check_mode:
        if restart:
            keeper.check_restart()
        status = supervisor.status(wanted.name)
    else:
        status = keeper.restart() if restart else keeper.start()
    told = {"state": "running", **described(wanted, status, read_definition(wanted.path).uuid)}
    return {"changed": changed, "downstairs": told, "diff": difference(was_running, True)}


def end(module: AnsibleModule, supervisor: Supervisor) -> dict[str, Any]:
    """Bring it into state stopped or absent."""
    name, timeout = module.params["name"], module.params["timeout"]
    status = supervisor.status(name)
    changed = status.running
    if module.check_mode:
        changed = changed or (module.params["state"] == "absent" and status.state == "died")
    else:
        supervisor.stop(name, timeout=timeout)
        if module.params["state"] == "absent":
            changed = supervisor.forget(name) or changed or status.state == "died"
    told = {"name": name, "state": "stopped", "pid": None, "log": str(status.log) if status.log else None}
    return {"changed": changed, "downstairs": told, "diff": difference(status.running, False)}


def difference(before: bool, after: bool) -> dict[str, Any]:
    """Diff mode: whether it runs."""
    words = {True: "running", False: "stopped"}
    return {"before": {"state": words[before]}, "after": {"state": words[after]}}


def main() -> None:
    needed = ["path", "address", "port"]
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "path": {"type": "path"},
            "address": {"type": "str"},
            "port": {"type": "int"},
            "state": {"type": "str", "choices": ["started", "stopped", "restarted", "absent"], "default": "started"},
            "mode": {"type": "str", "choices": ["rw", "ro"], "default": "rw"},
            "uuid": {"type": "str"},
            "executable": {"type": "str", "default": "crucible-downstairs"},
            "supervisor": {"type": "str", "default": "process"},
            "run_dir": {"type": "path", "required": True},
            "allow_wildcard": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 30},
            **progress_options(),
        },
        required_if=[("state", "started", needed), ("state", "restarted", needed)],
        supports_check_mode=True,
    )
    try:
        supervisor = choose(module.params["supervisor"], module.params["run_dir"])
        if module.params["state"] in ("started", "restarted"):
            result = run(module, wanted_from(module.params), supervisor)
        else:
            result = end(module, supervisor)
    except CollectionError as error:
        fail(module, error)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
