# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: the closing lines about a move."""

from __future__ import annotations

DOCUMENTATION = r"""
name: migration_closing
short_description: The closing lines about a move
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Says where the instance runs now, at which generation, what was changed and what to do next, with commands that can be pasted.
positional: playbook_dir, inventories, environment, teardown
options:
  _input:
    description: What P(apiary.propolis.migration_ending#filter) returned.
    type: dict
    required: true
  playbook_dir:
    description: The directory of the playbook that runs.
    type: path
    required: true
  inventories:
    description: The inventory sources of the command that runs.
    type: list
    elements: str
    required: true
  environment:
    description: Names of environment variables that the inventory reads. Those that are set are repeated in the commands.
    type: list
    elements: str
    default: []
  teardown:
    description: The playbook that takes all down.
    type: str
    default: teardown
  planned:
    description: Whether it was only planned, in check mode.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: The user knows how it ended
  ansible.builtin.debug:
    msg: "{{ ending | apiary.propolis.migration_closing(playbook_dir, ansible_inventory_sources) }}"
"""

RETURN = r"""
_value:
  description: Lines, as one text.
  type: str
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def migration_closing(
    ending: Mapping[str, Any],
    playbook_dir: str,
    inventories: Sequence[str],
    environment: Sequence[str] = (),
    teardown: str = "teardown",
    planned: bool = False,
) -> str:
    """See DOCUMENTATION."""
    from ansible_collections.apiary.propolis.plugins.module_utils.propolis.migration_ending import Ending, closing
    from ansible_collections.apiary.propolis.plugins.module_utils.typed_command import Typed

    program = Path(sys.executable).parent / "ansible-playbook"
    typed = Typed(Path.cwd(), program, Path(playbook_dir), list(inventories), dict(os.environ), list(environment))
    read = Ending.from_dict(ending)
    commands = {
        "console": typed.command("console", {"instance": read.instance}),
        "status": typed.command("status", {}),
        "teardown": typed.command(teardown, {}),
    }
    return "\n".join(closing(read, commands, planned=planned))


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"migration_closing": migration_closing}
