# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: volumes ready to be rendered as construction requests."""

from __future__ import annotations

DOCUMENTATION = r"""
name: volumes_complete
short_description: Volumes with the geometry of their regions and the addresses of their targets
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Puts what P(apiary.propolis.volumes_surveyed#filter) found into the inventory's volumes, and the hosts' addresses into their
    targets. The result holds the keys of encrypted volumes; do not make a fact of it.
positional: volumes, hostvars
options:
  _input:
    description: What P(apiary.propolis.volumes_surveyed#filter) returned.
    type: dict
    required: true
  volumes:
    description: The inventory's C(crucible_volumes).
    type: dict
    required: true
  hostvars:
    description: C(hostvars), for the addresses of the target hosts.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: The disk request of vm0 is known
  ansible.builtin.debug:
    msg: "{{ surveyed | apiary.propolis.volumes_complete(crucible_volumes, hostvars) }}"
  no_log: true
"""

RETURN = r"""
_value:
  description: Volumes by name, as filters such as P(apiary.propolis.disk_requests#filter) take them.
  type: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError

_GEOMETRY = ("block_size", "blocks_per_extent", "extent_count", "encrypted")


def volumes_complete(
    surveyed: Mapping[str, Any], volumes: Mapping[str, Any], hostvars: Mapping[str, Any]
) -> dict[str, Any]:
    """See DOCUMENTATION."""
    from ansible_collections.apiary.propolis.plugins.module_utils.crucible.placement import placed_targets

    try:
        targets = placed_targets({name: volumes[name] for name in surveyed}, hostvars)
    except CollectionError as error:
        raise AnsibleFilterError(error.message) from error
    return {
        name: {
            **volumes[name],
            **{field: region[field] for field in _GEOMETRY},
            "targets": [
                {"host": target.host, "address": target.address, "port": target.port}
                for target in targets
                if target.volume == name
            ],
        }
        for name, region in surveyed.items()
    }


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"volumes_complete": volumes_complete}
