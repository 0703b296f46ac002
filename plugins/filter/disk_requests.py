# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: all disks of an instance as disk requests, with what they may not share checked."""

from __future__ import annotations

DOCUMENTATION = r"""
name: disk_requests
short_description: The disks of an instance, as disk requests
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Makes the list that C(propolis-cli --crucible-disks) reads from a file.
  - A volume, a slot or a target that two disks share is refused; so is a volume that is not defined.
  - The list holds the keys of encrypted volumes, so tasks that show it need C(no_log).
positional: volumes, generations
options:
  _input:
    description: The instance's C(disks), see P(apiary.propolis.disk_request#filter). The default C(slot) is the place in the list.
    type: list
    elements: dict
    required: true
  volumes:
    description: The inventory's C(crucible_volumes).
    type: dict
    required: true
  generations:
    description: The generation of each volume, by its name or id. Volumes that are not in it get V(1).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: The disks of vm0, opened with the generations that were allocated
  ansible.builtin.set_fact:
    vm0_disks: "{{ propolis_instances.vm0.disks | apiary.propolis.disk_requests(crucible_volumes, {'vm0-boot': 7}) }}"
"""

RETURN = r"""
_value:
  description: A list of disk requests, in the order of the disks.
  type: list
  elements: dict
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError


def disk_requests(
    disks: Sequence[Mapping[str, Any]],
    volumes: Mapping[str, Mapping[str, Any]],
    generations: Mapping[str, int] | None = None,
) -> list[dict[str, Any]]:
    """See DOCUMENTATION; AnsibleFilterError with one sentence for what no server would take."""
    from ansible_collections.apiary.propolis.plugins.module_utils.propolis import spec_requests

    try:
        return spec_requests.disk_requests(disks, volumes, generations)
    except CollectionError as error:
        raise AnsibleFilterError(error.message) from error


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"disk_requests": disk_requests}
