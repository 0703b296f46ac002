# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: one disk of an instance as the disk request that Propolis reads."""

from __future__ import annotations

DOCUMENTATION = r"""
name: disk_request
short_description: A disk of an instance, as a disk request
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Makes the JSON object that C(propolis-cli --crucible-disks) reads a list of, with a volume construction request in it.
  - It holds the volume's key when the volume is encrypted, so tasks that show it need C(no_log).
positional: volume, generation
options:
  _input:
    description:
      - The disk, an entry of an instance's C(disks), with C(volume) or C(name), and C(slot) (0 to 7, default V(0)), C(device)
        (V(virtio), the default, or V(nvme)) and C(read_only) (default V(false)).
    type: dict
    required: true
  volume:
    description: The volume, an entry of C(crucible_volumes) with C(id), its geometry and exactly three C(targets).
    type: dict
    required: true
  generation:
    description: The generation that the disk is opened with. Each start and each move needs a new, higher one.
    type: int
    default: 1
"""

EXAMPLES = r"""
- name: The disk of the by-hand procedure
  ansible.builtin.set_fact:
    helios: "{{ {'name': 'helios-blockdev', 'slot': 1} | apiary.propolis.disk_request(crucible_volumes['helios']) }}"
"""

RETURN = r"""
_value:
  description: A dictionary with C(device), C(name), C(read_only), C(slot) and C(volume_construction_request).
  type: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError


def disk_request(disk: Mapping[str, Any], volume: Mapping[str, Any], generation: int = 1) -> dict[str, Any]:
    """See DOCUMENTATION; AnsibleFilterError with one sentence for what no server would take."""
    from ansible_collections.apiary.propolis.plugins.module_utils.propolis import spec_requests

    try:
        return spec_requests.disk_request(disk, volume, generation)
    except CollectionError as error:
        raise AnsibleFilterError(error.message) from error


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"disk_request": disk_request}
