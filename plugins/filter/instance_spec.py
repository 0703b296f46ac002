# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: an instance of the inventory and its disk requests as the description of a machine."""

from __future__ import annotations

DOCUMENTATION = r"""
name: instance_spec
short_description: The description of a machine, in words of no particular age of server
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Makes what the module M(apiary.propolis.propolis_instance) takes as O(apiary.propolis.propolis_instance#module:spec).
    The module turns it into the request that the server's age wants.
  - Everything is checked here, before a server is asked.
  - It holds the keys of encrypted volumes, so tasks that show it need C(no_log).
positional: disk_requests
options:
  _input:
    description:
      - An entry of C(propolis_instances). Used are C(vcpus) (or C(cpus), default V(4)) and C(memory_mib) (default V(1024)), and
        the optional C(description), C(metadata), C(nics), C(enable_pcie), C(pvpanic), C(boot_order), C(smbios) and C(cloud_init).
      - Other members are left alone, but one that looks like a misspelt one of these is refused.
    type: dict
    required: true
  disk_requests:
    description: Its disks, as P(apiary.propolis.disk_requests#filter) makes them.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: The machine vm0
  ansible.builtin.set_fact:
    vm0: "{{ propolis_instances.vm0 | apiary.propolis.instance_spec(vm0_disks) }}"
"""

RETURN = r"""
_value:
  description: A dictionary with C(cpus), C(memory_mib), C(disks) and the optional members that were given.
  type: dict
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError


def instance_spec(instance: Mapping[str, Any], disk_requests: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """See DOCUMENTATION; AnsibleFilterError with one sentence for what no server would take."""
    from ansible_collections.apiary.propolis.plugins.module_utils.propolis import spec_requests

    try:
        return spec_requests.instance_description(instance, disk_requests)
    except CollectionError as error:
        raise AnsibleFilterError(error.message) from error


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"instance_spec": instance_spec}
