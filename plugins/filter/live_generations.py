# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: the generations that live servers use."""

from __future__ import annotations

DOCUMENTATION = r"""
name: live_generations
short_description: The generations that live servers use, as floors of new ones
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - A session that has not written is invisible on disk. What live servers say of their disks is a floor of its own.
positional: surveyed
options:
  _input:
    description: The C(servers) of M(apiary.propolis.propolis_instance_info).
    type: list
    elements: dict
    required: true
  surveyed:
    description: What P(apiary.propolis.volumes_surveyed#filter) found, for the ids of the volumes.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: The floors are known
  ansible.builtin.debug:
    msg: "{{ asked.servers | apiary.propolis.live_generations(surveyed) }}"
"""

RETURN = r"""
_value:
  description: By volume name, a list of C(generation) and C(source).
  type: dict
"""

from collections.abc import Mapping, Sequence
from typing import Any


def live_generations(servers: Sequence[Mapping[str, Any]], surveyed: Mapping[str, Any]) -> dict[str, list[Any]]:
    """See DOCUMENTATION."""
    return {
        name: [
            {"generation": disk["floor"], "source": f"disk {disk['name']} on {server['name']}"}
            for server in servers
            for disk in server["disks"]
            if disk["floor"] and str(disk["volume"]) == volume["volume_id"]
        ]
        for name, volume in surveyed.items()
    }


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"live_generations": live_generations}
