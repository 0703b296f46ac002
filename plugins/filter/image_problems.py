# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: volumes whose regions were made from different images."""

from __future__ import annotations

DOCUMENTATION = r"""
name: image_problems
short_description: Volumes whose regions were made from different images
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Compares the checksums of the images over all hosts of a volume. Crucible itself does not notice different replicas before a guest
    reads what differs.
options:
  _input:
    description: The C(results) of M(apiary.propolis.crucible_region) of all hosts in one list, looped over targets.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: The regions of each volume were made from one image
  ansible.builtin.assert:
    that: regions.results | apiary.propolis.image_problems == []
"""

RETURN = r"""
_value:
  description: One sentence for each volume, with the checksum on each host; an empty list when all is well.
  type: list
  elements: str
"""

from collections.abc import Mapping, Sequence
from typing import Any


def image_problems(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """See DOCUMENTATION."""
    from ansible_collections.apiary.propolis.plugins.module_utils.crucible.survey import different_images

    images: dict[str, list[tuple[str, str]]] = {}
    for result in results:
        if result.get("image"):
            target = result["item"]
            images.setdefault(target["volume"], []).append((target["host"], result["image"]["sha256"]))
    found = (different_images(name, pairs) for name, pairs in images.items())
    return [problem for problem in found if problem]


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"image_problems": image_problems}
