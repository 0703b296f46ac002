# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: a volume of the inventory as the volume construction request that an upstairs reads."""

from __future__ import annotations

DOCUMENTATION = r"""
name: volume_construction_request
short_description: A volume, as a volume construction request
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Checks a volume of the inventory and makes the JSON object of an upstairs from it, with every key that it may have.
  - The real upstairs ends with a panic, and Propolis with it, for most mistakes in such a request. Here they are sentences.
    Refused are another number of targets than three, a target given twice, ports 4000 apart on one address, ports above
    61535, host names, wildcard addresses, geometries that no region can have, and a key that is not base64 of 32 bytes or
    that belongs to a plain volume.
  - It holds the volume's key when the volume is encrypted, so tasks that show it need C(no_log).
positional: generation, addresses
options:
  _input:
    description:
      - The volume, an entry of C(crucible_volumes) with C(id), C(block_size) (default V(512)), C(blocks_per_extent),
        C(extent_count) and exactly three C(targets).
      - A target is C(IP:port), or a mapping with C(host), C(port) and C(address).
      - It may have C(key), C(read_only), C(encrypted), C(allow_wildcard), C(flush_timeout), C(cert_pem), C(key_pem),
        C(root_cert_pem) and C(control). Other keys are left alone.
    type: dict
    required: true
  generation:
    description: The generation. Each start and each move needs a new, higher one.
    type: int
    default: 1
  addresses:
    description: IP addresses of target hosts by their inventory name, for targets that give no C(address).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: The request of the by-hand procedure
  ansible.builtin.set_fact:
    request: "{{ helios | apiary.propolis.volume_construction_request(generation=1) }}"
  vars:
    helios:
      id: 0cedae45-3d6e-4d90-b2cb-56f1a1a42a89
      blocks_per_extent: 64000
      extent_count: 64
      targets: ["172.20.3.73:8810", "172.20.3.73:8820", "172.20.3.73:8830"]
"""

RETURN = r"""
_value:
  description: A dictionary with C(type), C(id), C(block_size), C(sub_volumes) and C(read_only_parent).
  type: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError


def volume_construction_request(
    volume: Mapping[str, Any], generation: int = 1, addresses: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """See DOCUMENTATION; AnsibleFilterError with one sentence for what no upstairs would take."""
    from ansible_collections.apiary.propolis.plugins.module_utils.crucible.volume import Volume

    try:
        return Volume.from_mapping(volume, addresses).construction_request(generation)
    except CollectionError as error:
        raise AnsibleFilterError(error.message) from error


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"volume_construction_request": volume_construction_request}
