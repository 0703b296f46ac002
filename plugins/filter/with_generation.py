# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: a volume construction request or disk request with another generation."""

from __future__ import annotations

DOCUMENTATION = r"""
name: with_generation
short_description: A volume construction request or disk request with another generation
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Returns the same request with the given generation in every region that is written to. Read-only parents keep theirs,
    as Crucible asks for.
  - This is the step of a migration in which the by-hand procedure copies a file and edits C(gen).
positional: generation
options:
  _input:
    description: A volume construction request, a disk request that holds one, or a list of either.
    type: raw
    required: true
  generation:
    description: The generation, 1 or more.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: The disks as the destination has to open them
  ansible.builtin.set_fact:
    disks_of_destination: "{{ disks_of_source | apiary.propolis.with_generation(13) }}"
"""

RETURN = r"""
_value:
  description: What was given, with the new generation.
  type: raw
"""

from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError


def with_generation(request: Any, generation: int) -> Any:
    """See DOCUMENTATION; AnsibleFilterError with one sentence for what is no request."""
    from ansible_collections.apiary.propolis.plugins.module_utils.crucible import vcr

    try:
        return vcr.with_generation(request, generation)
    except CollectionError as error:
        raise AnsibleFilterError(error.message) from error


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"with_generation": with_generation}
