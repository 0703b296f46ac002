# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: what the three regions of each volume agree on."""

from __future__ import annotations

DOCUMENTATION = r"""
name: volumes_surveyed
short_description: What the three regions of each volume agree on
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Takes the registered results of M(apiary.propolis.crucible_facts), run in a loop over targets as
    P(apiary.propolis.volume_targets#filter) lists them.
  - A volume is a problem when a region is missing, damaged or another one, when the three differ, or when the inventory says
    otherwise.
positional: volumes
options:
  _input:
    description: The C(results) of the registered loop.
    type: list
    elements: dict
    required: true
  volumes:
    description: The inventory's C(crucible_volumes).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: The three regions of each volume agree
  ansible.builtin.assert:
    that: surveyed.problems == []
    fail_msg: "{{ surveyed.problems | join(' ') }}"
  vars:
    surveyed: "{{ read.results | apiary.propolis.volumes_surveyed(crucible_volumes) }}"
"""

RETURN = r"""
_value:
  description:
    - C(problems), one sentence for each volume that cannot be used.
    - C(volumes), by name, C(volume_id), the geometry, C(last) (of the first target's ledger), C(lasts) (of all three, in the
      order of the targets), C(generation) (the newest one handed out), C(ledgers_agree) (whether the three ledgers have the
      same entries), C(stored_generation) and C(floors).
  type: dict
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError


def volumes_surveyed(results: Sequence[Mapping[str, Any]], volumes: Mapping[str, Any]) -> dict[str, Any]:
    """See DOCUMENTATION."""
    from ansible_collections.apiary.propolis.plugins.module_utils.crucible.survey import FoundRegion, survey_volume

    regions: dict[str, list[FoundRegion]] = {}
    for result in results:
        region = FoundRegion(result["item"], result["ansible_facts"]["crucible"]["regions"][0])
        regions.setdefault(result["item"]["volume"], []).append(region)
    surveyed, problems = {}, []
    for name, found in regions.items():
        try:
            surveyed[name] = survey_volume(name, volumes[name], found)
        except CollectionError as error:
            problems.append(error.message)
    return {"volumes": surveyed, "problems": problems}


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"volumes_surveyed": volumes_surveyed}
