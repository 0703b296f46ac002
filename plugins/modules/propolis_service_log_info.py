#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module: the end of the logs of services on this host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: propolis_service_log_info
short_description: The end of the logs of services on this host
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Reads what services that this collection keeps, propolis servers and downstairs, have written since they were last started, as far as
    their supervisor knows it.
  - A log that cannot be read is an answer too and does not fail the task.
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
  services:
    description: The services.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the service.
        type: str
        required: true
      run_dir:
        description: Directory of its state and log.
        type: path
        required: true
      supervisor:
        description: What keeps it.
        type: str
        default: process
  max_bytes:
    description: How much of the end of each log, at most. A supervisor may keep less at hand, V(process) gives 64 KiB.
    type: int
    default: 65536
  secrets:
    description: Texts, such as keys of volumes, that are taken out. Servers quote what they were sent when they do not understand it.
    type: list
    elements: str
    default: []
seealso:
  - module: apiary.propolis.propolis_server
  - module: apiary.propolis.crucible_downstairs
"""

EXAMPLES = r"""
- name: The log of a server is known
  apiary.propolis.propolis_service_log_info:
    services: [{name: propolis-server-vm0, run_dir: /var/lib/propolis/vm0}]
  register: logs
"""

RETURN = r"""
logs:
  description: One entry for each service, in the order asked for.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the service.
      type: str
      returned: always
    text:
      description: The end of its log, empty when there is none.
      type: str
      returned: always
    problem:
      description: Why it could not be read, in one sentence. V(null) when it could.
      type: str
      returned: always
failure:
  description: What went wrong with the task as a whole.
  returned: failure
  type: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.redaction import scrub
from ansible_collections.apiary.propolis.plugins.module_utils.supervisors import choose

_LINES = 100_000  # more than any end of a log has
_CUT = 60_000  # bytes; what is longer than this may have been cut by its supervisor


def read_end(service: Mapping[str, Any], max_bytes: int, secrets: set[str]) -> dict[str, Any]:
    """The end of one log. It is scrubbed before it is cut, and a line that was cut before is left out: no half of a secret
    may be left over."""
    try:
        lines = choose(service["supervisor"], service["run_dir"]).logs(service["name"], _LINES)
    except (CollectionError, OSError) as error:
        return {"name": service["name"], "text": "", "problem": str(error)}
    if sum(len(line) for line in lines) > _CUT:
        del lines[0]
    text = scrub("".join(f"{line}\n" for line in lines), secrets)
    return {"name": service["name"], "text": text.encode()[-max_bytes:].decode(errors="ignore"), "problem": None}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "services": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "run_dir": {"type": "path", "required": True},
                    "supervisor": {"type": "str", "default": "process"},
                },
            },
            "max_bytes": {"type": "int", "default": 65536},
            "secrets": {"type": "list", "elements": "str", "default": [], "no_log": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    secrets = {secret for secret in params["secrets"] if secret}
    module.exit_json(
        changed=False, logs=[read_end(service, max(params["max_bytes"], 1), secrets) for service in params["services"]]
    )


if __name__ == "__main__":
    main()
