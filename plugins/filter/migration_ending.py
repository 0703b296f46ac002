# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: how a run that should move an instance ended."""

from __future__ import annotations

DOCUMENTATION = r"""
name: migration_ending
short_description: How a run that should move an instance ended
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Puts what stopped a run, or what its move returned, into one shape.
  - The first that says something counts, in the order problem, plan, allocation, move.
positional: intent, plan, allocation, moved, policy, numbers
options:
  _input:
    description: Name of the instance.
    type: str
    required: true
  intent:
    description: What P(apiary.propolis.migration_intent#filter) returned.
    type: dict
    required: true
  plan:
    description: What P(apiary.propolis.migration_plan#filter) returned. Empty when it came to none.
    type: dict
    default: {}
  allocation:
    description:
      - The failed result of the loop over M(apiary.propolis.crucible_generation), whose items have the name of the volume as C(volume).
      - Empty when it did not fail.
    type: dict
    default: {}
  moved:
    description: What M(apiary.propolis.propolis_migration) returned. Empty when it was not run.
    type: dict
    default: {}
  policy:
    description: V(leave), V(restart_on_source) or V(restart_on_destination).
    type: str
    default: leave
  numbers:
    description: The generations that were handed out for the move, by volume; what is not used of them is said.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: It is known how it ended
  ansible.builtin.debug:
    msg: "{{ ('vm0' | apiary.propolis.migration_ending(intent, moved=moved)).sentence }}"
"""

RETURN = r"""
_value:
  description:
    - C(verdict), C(sentence), C(account) (the sentence without what to do), C(next_steps), C(runs_on), C(migration_id), C(generations),
      C(generations_before), C(pause_seconds), C(total_seconds) and C(warnings), as M(apiary.propolis.propolis_migration) returns them.
    - C(failure), V(null) or C(code), C(message) and C(details).
    - C(restart_on), the server where the policy has it started again, or V(null).
    - C(restarted), V(null), for whoever starts it.
  type: dict
"""

from collections.abc import Mapping
from typing import Any

Answer = Mapping[str, Any]


def migration_ending(
    name: str,
    intent: Answer,
    plan: Answer | None = None,
    allocation: Answer | None = None,
    moved: Answer | None = None,
    policy: str = "leave",
    numbers: Answer | None = None,
) -> dict[str, Any]:
    """See DOCUMENTATION."""
    from ansible_collections.apiary.propolis.plugins.module_utils.propolis import migration_ending as endings

    problem, source = intent["problem"], intent["source"]
    if problem:
        ending = endings.not_begun(name, problem["code"], problem["sentence"], problem["next_step"], None)
    elif plan and plan.get("refused"):
        ending = endings.refused(name, source, plan["checks"])
    elif allocation:
        ending = endings.not_allocated(name, source, allocation)
    else:
        ending = endings.of_move(name, moved or {}, policy, numbers)
    return ending.as_dict()


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"migration_ending": migration_ending}
