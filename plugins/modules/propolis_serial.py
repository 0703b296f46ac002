#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module: the serial console of an instance."""

from __future__ import annotations

DOCUMENTATION = r"""
module: propolis_serial
short_description: Watch the serial console of an instance and type into it
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Waits until the console shows a pattern, types lines, and keeps the output in a file.
  - Follows the instance when it is migrated. The output is read by its offset, so nothing is lost or seen twice on the way.
  - A server of January 2023 begins a new history at the destination of a move. What is shown there is read from its beginning.
extends_documentation_fragment:
  - apiary.propolis.propolis_api
  - apiary.propolis.progress
requirements:
  - websocket-client (Python library, on the host where the module runs)
attributes:
  check_mode:
    description: In check mode nothing is asked of the server, nothing is typed, and nothing is waited for.
    support: full
  diff_mode:
    description: There is nothing that has a before and an after.
    support: none
  idempotent:
    description: Watching changes nothing. Lines are typed each time.
    support: partial
    details:
      - Changed when lines were typed.
options:
  server:
    description: The server that holds the instance, as C(IP:PORT) or C(http://...).
    type: str
    required: true
  expect:
    description:
      - A regular expression (Python, with C(^) and C($) at lines) that is waited for.
      - Without it, the console is watched for O(timeout) seconds when there is O(capture), else only typed into.
    type: str
  send:
    description:
      - Lines to type. A carriage return is typed after each.
      - They may be seen in the output; a task that types a password needs C(no_log).
    type: list
    elements: str
    default: []
  from_start:
    description: Look at the output from this byte on, counted from the instance's start. V(0) is all of it.
    type: int
  most_recent:
    description: Look at so many of the last bytes too. Without this and O(from_start), only what is new is looked at.
    type: int
  timeout:
    description: Seconds that all of it may take.
    type: float
    default: 60
  ask_timeout:
    description: Seconds that a server may take for one ordinary answer.
    type: float
    default: 5
  capture:
    description: Path of a file that gets the output. It is made anew, with mode 0600, and must not be a symbolic link.
    type: path
  servers:
    description: Other servers where the instance may be moved to. They are needed when its servers listen on a wildcard address.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What people call it. The default is its address.
        type: str
      address:
        description: Its C(IP:PORT).
        type: str
        required: true
seealso:
  - module: apiary.propolis.propolis_instance
  - module: apiary.propolis.propolis_migration
"""

EXAMPLES = r"""
- name: The instance has booted
  apiary.propolis.propolis_serial:
    server: 172.20.3.73:8000
    expect: 'login: $'
    from_start: 0
    timeout: 120
  delegate_to: localhost

- name: It is known since when the instance is up
  apiary.propolis.propolis_serial:
    server: 172.20.3.73:8000
    send: [uptime]
    expect: 'up (?P<days>\d+) day'
  register: console
  delegate_to: localhost
"""

RETURN = r"""
match:
  description: What the pattern matched. V(null) without O(expect).
  returned: success
  type: str
groups:
  description: The groups of the pattern, in their order.
  returned: success
  type: list
  elements: str
named_groups:
  description: The named groups of the pattern.
  returned: success
  type: dict
output:
  description: The end of the output, at most 2000 characters.
  returned: success
  type: str
offset:
  description: The offset of the first byte that was not read yet; a later task may go on there with O(from_start).
  returned: success
  type: int
server:
  description: C(name) and C(address) of the server that held the instance at the end.
  returned: success
  type: dict
moves:
  description: The servers that the instance was followed to.
  returned: success
  type: list
  elements: str
lost:
  description: The number of bytes that the server did not have any more when they were asked for.
  returned: success
  type: int
failure:
  description: What went wrong.
  returned: failure
  type: dict
  contains:
    code:
      description:
        - A word to branch on. Among them are C(timed_out), C(console_ended), C(no_instance), C(moved_away), C(unreachable),
          C(capture_failed) and C(bad_description).
      type: str
      returned: always
    message:
      description: The sentence that is also in C(msg).
      type: str
      returned: always
    details:
      description: The last output and numbers that belong to it.
      type: dict
      returned: always
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_failures import fail
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_progress import progress_options
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_propolis import api_options, require_requests
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.migration_request import read_server
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.serial import Wish, listen
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.serial_output import compile_pattern
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.serial_socket import HAS_WEBSOCKET


def require_websocket(module: AnsibleModule) -> None:
    """End the module when the Python library websocket-client is not there."""
    if not HAS_WEBSOCKET:
        message = missing_required_lib("websocket-client", url="https://pypi.org/project/websocket-client/")
        failure = {"code": "missing_library", "message": message, "details": {"library": "websocket-client"}}
        module.fail_json(msg=message, failure=failure)


def read_wish(params: dict[str, Any]) -> Wish:
    """What the options ask for; raises CollectionError for what cannot be meant."""
    wish = Wish(
        server=read_server({"address": params["server"]}, "server"),
        expect=params["expect"],
        send=tuple(params["send"]),
        from_start=params["from_start"],
        most_recent=params["most_recent"],
        timeout=params["timeout"],
        capture=Path(params["capture"]) if params["capture"] else None,
        others=tuple(read_server(server, f"servers[{index}]") for index, server in enumerate(params["servers"])),
        api=params["api"],
        ask_timeout=params["ask_timeout"],
    )
    wish.check()
    if wish.expect is not None:
        compile_pattern(wish.expect)
    return wish


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "server": {"type": "str", "required": True},
            "expect": {"type": "str"},
            "send": {"type": "list", "elements": "str", "default": []},
            "from_start": {"type": "int"},
            "most_recent": {"type": "int"},
            "timeout": {"type": "float", "default": 60},
            "ask_timeout": {"type": "float", "default": 5},
            "capture": {"type": "path"},
            "servers": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"name": {"type": "str"}, "address": {"type": "str", "required": True}},
            },
            **api_options(),
            **progress_options(),
        },
        supports_check_mode=True,
    )
    require_requests(module)
    require_websocket(module)
    try:
        wish = read_wish(module.params)
        if module.check_mode:
            nothing = {
                "match": None,
                "groups": [],
                "named_groups": {},
                "output": "",
                "offset": 0,
                "moves": [],
                "lost": 0,
            }
            server = {"name": wish.server.name, "address": wish.server.address}
            module.exit_json(changed=bool(wish.send), server=server, **nothing)
        heard = listen(wish)
    except CollectionError as error:
        fail(module, error)
    module.exit_json(
        changed=heard.sent > 0,
        match=heard.match,
        groups=list(heard.groups),
        named_groups=heard.named_groups,
        output=heard.output,
        offset=heard.offset,
        server={"name": heard.server.name, "address": heard.server.address},
        moves=list(heard.moves),
        lost=heard.lost,
    )


if __name__ == "__main__":
    main()
