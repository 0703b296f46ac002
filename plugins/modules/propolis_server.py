#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module: one propolis-server process on this host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: propolis_server
short_description: One propolis-server process on this host
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Keeps a server started, stopped, restarted or absent under a supervisor. One server serves one instance.
  - Started means that it answers C(GET /instance).
  - A server that holds a live instance, or that does not answer so that nobody can tell, is never stopped or restarted unless
    O(force=true). So a changed option of a server in use is a failure, not a dead instance.
  - The bootrom and the program are looked at before anything is started. A server itself looks at its bootrom only when the first
    instance is made, and may die of it.
  - Needs nothing but Python's standard library.
extends_documentation_fragment:
  - apiary.propolis.progress
attributes:
  check_mode:
    description: Can run in check mode and tell what would be done, without changing anything.
    support: full
    details: A server that runs and would be left as it is has to answer also in check mode.
  diff_mode:
    description: Returns state, command line and configuration file before and after.
    support: full
  idempotent:
    description: A second run changes nothing, except with O(state=restarted).
    support: partial
    details:
      - With O(state=restarted) each run restarts.
options:
  name:
    description: Name of the service, of its log and of its files in O(run_dir).
    type: str
    required: true
  address:
    description:
      - IP address to listen on. Needed unless O(state) is V(stopped) or V(absent).
      - There is no authentication and no encryption, so it must be an address that only trusted hosts can reach.
    type: str
  port:
    description: TCP port to listen on.
    type: int
    default: 12400
  state:
    description:
      - V(started) starts the server unless it runs as described. One that runs otherwise is restarted.
      - V(restarted) restarts it in any case.
      - V(stopped) ends it; V(absent) also forgets it and removes its configuration file. The log stays.
    type: str
    choices: [started, stopped, restarted, absent]
    default: started
  executable:
    description: Path or name of the program.
    type: str
    default: propolis-server
  bootrom:
    description:
      - Path of the bootrom on this host. Needed to start a server of today.
      - With O(config) it is the default of C(bootrom) in there.
    type: path
  config:
    description:
      - The configuration of a server of January 2023 to December 2024 as a dictionary, such as C(bootrom), C(chipset), C(block_dev)
        and C(dev). It is written as TOML, and the server is started as C(run CONFIG.toml ADDRESS).
      - Both ends of a migration need the same devices in it.
    type: dict
  api:
    description: V(2023-01) starts a server of that form also without O(config). With V(auto) O(config) decides.
    type: str
    choices: [auto, '2023-01']
    default: auto
  vnc_address:
    description:
      - C(IP:PORT) to listen on for VNC.
      - Servers of January 2023 listen on port 5900 of all addresses when they are told none, so two on a host need it.
    type: str
  supervisor:
    description: What keeps the process. V(process) is a detached process with its state and log in O(run_dir).
    type: str
    default: process
  run_dir:
    description: Directory for the log, the configuration file and the state of the process. It is also the server's working directory.
    type: path
    default: /var/run/propolis
  timeout:
    description: Seconds that a server may take to become ready, or to end.
    type: float
    default: 30
  force:
    description: Whether to end a server even when its instance dies with it, or when it does not answer.
    type: bool
    default: false
  allow_wildcard:
    description: Whether to accept an O(address) of V(0.0.0.0) or V(::). Consoles cannot follow an instance that moves to such a server.
    type: bool
    default: false
seealso:
  - module: apiary.propolis.propolis_instance
"""

EXAMPLES = r"""
- name: A server of today runs
  apiary.propolis.propolis_server:
    name: propolis-vm0
    address: 172.20.3.73
    port: 8000
    executable: /opt/propolis/propolis-server
    bootrom: /opt/propolis/OVMF_CODE.fd
    run_dir: /var/lib/propolis/vm0

- name: A server of January 2023 runs
  apiary.propolis.propolis_server:
    name: propolis-vm0
    address: 172.20.3.73
    port: 8000
    config:
      bootrom: /opt/propolis/OVMF_CODE.fd
      chipset: {enable-pcie: true}
    vnc_address: 127.0.0.1:5901
    run_dir: /var/lib/propolis/vm0
"""

RETURN = r"""
server:
  description: The server as it is after this task (in check mode, as it was found).
  returned: success
  type: dict
  contains:
    name:
      description: Name of the service.
      type: str
      returned: always
    state:
      description: V(running), V(stopped) or V(died).
      type: str
      returned: always
    address:
      description: Where it listens, as C(IP:PORT). V(null) when no address was given.
      type: str
      returned: always
    port:
      description: Its port.
      type: int
      returned: always
    pid:
      description: Its process. V(null) when it does not run.
      type: int
      returned: always
    log:
      description: Path of its log.
      type: str
      returned: always
    argv:
      description: Its command line.
      type: list
      elements: str
      returned: always
pending:
  description: Whether there is something left to do for a run that is not in check mode.
  returned: success
  type: bool
failure:
  description: What went wrong.
  returned: failure
  type: dict
  contains:
    code:
      description:
        - A word to branch on. Among them are C(executable_missing), C(executable_not_executable), C(bootrom_unusable), C(bad_address),
          C(wildcard_address), C(port_in_use), C(holds_instance), C(server_deaf), C(ended_at_once) and C(not_ready).
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

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_failures import fail
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_progress import progress_options
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.address import Address
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.errors import BadAddress, BadDescription
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.server_process import Definition, ServerService
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.server_states import (
    ServerGoal,
    carry_out_server,
    foresee_server,
    plan_server,
)
from ansible_collections.apiary.propolis.plugins.module_utils.supervisors import choose
from ansible_collections.apiary.propolis.plugins.module_utils.supervisors.service import Status

NOWHERE = "0.0.0.0"  # noqa: S104 - stands for an address that was not given; nothing is started with it


def define(params: dict[str, Any]) -> Definition:
    """What the options describe; raises CollectionError."""
    if params["timeout"] <= 0:
        raise BadDescription(f"timeout is {params['timeout']}; it must be a number of seconds above 0.")
    if not 1 <= params["port"] <= 65535:
        raise BadAddress(f"port is {params['port']}; it must be from 1 to 65535.")
    config = params["config"]
    if config is None and params["api"] == "2023-01":
        config = {}
    return Definition(
        name=params["name"],
        address=Address((params["address"] or NOWHERE).strip("[]"), params["port"]),
        executable=params["executable"],
        bootrom=params["bootrom"],
        run_dir=Path(params["run_dir"]),
        config=config,
        vnc_address=params["vnc_address"],
        allow_wildcard=params["allow_wildcard"],
    )


def describe(status: Status, definition: Definition, *, has_address: bool) -> dict[str, Any]:
    """The return value ``server``."""
    return {
        "name": definition.name,
        "state": status.state,
        "address": str(definition.address) if has_address else None,
        "port": definition.address.port,
        "pid": status.pid if status.running else None,
        "log": str(status.log) if status.log else None,
        "argv": list(status.argv),
    }


def run(module: AnsibleModule) -> None:
    params = module.params
    definition = define(params)
    supervisor = choose(params["supervisor"], params["run_dir"])
    service = ServerService(definition, supervisor, timeout=params["timeout"], force=params["force"])
    plan = plan_server(ServerGoal(params["state"]), service)
    before = {"state": plan.status.state, "argv": list(plan.status.argv), "config": service.written_config()}
    wanted = dict(before)
    if plan.start:
        wanted = {"state": "running", "argv": list(definition.argv), "config": definition.config_content}
    elif plan.stop or plan.forget:
        wanted = {**before, "state": "stopped", "argv": [], "config": None if plan.forget else before["config"]}
    status = foresee_server(plan, service) if module.check_mode else carry_out_server(plan, service)
    module.exit_json(
        changed=plan.changed,
        pending=module.check_mode and plan.changed,
        server=describe(status, definition, has_address=params["address"] is not None),
        diff={"before": before, "after": wanted},
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "address": {"type": "str"},
            "port": {"type": "int", "default": 12400},
            "state": {
                "type": "str",
                "choices": ["started", "stopped", "restarted", "absent"],
                "default": "started",
            },
            "executable": {"type": "str", "default": "propolis-server"},
            "bootrom": {"type": "path"},
            "config": {"type": "dict"},
            "api": {"type": "str", "choices": ["auto", "2023-01"], "default": "auto"},
            "vnc_address": {"type": "str"},
            "supervisor": {"type": "str", "default": "process"},
            "run_dir": {"type": "path", "default": "/var/run/propolis"},
            "timeout": {"type": "float", "default": 30},
            "force": {"type": "bool", "default": False},
            "allow_wildcard": {"type": "bool", "default": False},
            **progress_options(),
        },
        required_if=[("state", "started", ["address"]), ("state", "restarted", ["address"])],
        supports_check_mode=True,
    )
    try:
        run(module)
    except CollectionError as error:
        fail(module, error)


if __name__ == "__main__":
    main()
