# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: the plan of a move."""

from __future__ import annotations

DOCUMENTATION = r"""
name: migration_plan
short_description: The plan of a move, each precondition with ok, warned or refused and why
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Judges what all servers, the three downstairs as the destination sees them, and the three regions say.
positional: intent, instance, servers, seen, surveyed
options:
  _input:
    description: Name of the instance.
    type: str
    required: true
  intent:
    description: What P(apiary.propolis.migration_intent#filter) returned.
    type: dict
    required: true
  instance:
    description: The instance, an entry of the inventory's C(propolis_instances).
    type: dict
    required: true
  servers:
    description: The C(servers) of M(apiary.propolis.propolis_instance_info).
    type: list
    elements: dict
    required: true
  targets:
    description: The targets of the instance's volumes, as P(apiary.propolis.volume_targets#filter) lists them.
    type: list
    elements: dict
    required: true
  seen:
    description: The C(targets) of M(apiary.propolis.crucible_target_info) run on the destination for these targets, in their order.
    type: list
    elements: dict
    required: true
  surveyed:
    description: What P(apiary.propolis.volumes_surveyed#filter) found.
    type: dict
    required: true
  mib_per_second:
    description: What the network between the two hosts carries.
    type: float
    default: 110
"""

EXAMPLES = r"""
- name: Nothing stands against the move
  ansible.builtin.assert:
    that: plan.refused == []
    fail_msg: "{{ plan.refused | join(' ') }}"
"""

RETURN = r"""
_value:
  description: C(checks) (C(name), C(outcome), C(sentence)), C(refused) and C(warned) (sentences), C(text) (all of it for people) and
    C(prediction) (C(seconds), C(pause_seconds)).
  type: dict
"""

from collections.abc import Mapping, Sequence
from typing import Any

Answer = Mapping[str, Any]


def migration_plan(
    name: str,
    intent: Answer,
    instance: Answer,
    servers: Sequence[Answer],
    targets: Sequence[Answer],
    seen: Sequence[Answer],
    surveyed: Answer,
    mib_per_second: float = 110,
) -> dict[str, Any]:
    """See DOCUMENTATION."""
    from ansible_collections.apiary.propolis.plugins.module_utils.propolis.preflight import (
        Move,
        Outcome,
        Replica,
        check,
        predict,
    )

    by_name = {str(server["name"]): server for server in servers}
    replicas = [
        Replica(target["volume"], target["host"], target["address"], int(target["port"]), target["region"], answer)
        for target, answer in zip(targets, seen, strict=bool(seen))
    ]
    move = Move(
        name,
        str(instance["id"]).lower(),
        int(instance["memory_mib"]),
        by_name[intent["source"]],
        by_name[intent["destination"]],
        [by_name[other] for other in intent["others"]],
        replicas,
        surveyed,
    )
    checks = check(move) if intent["needed"] and not intent["adopts"] else []
    prediction = predict(move.memory_mib, float(mib_per_second))
    head = (
        f"Plan: move {name} from {intent['source']} to {intent['destination']}, in about {prediction.seconds:.1f} s, with the "
        f"guest paused for about {prediction.pause_seconds:.2f} s of it (at {mib_per_second:g} MiB/s)."
    )
    return {
        "checks": [one.as_dict() for one in checks],
        "refused": [one.sentence for one in checks if one.outcome is Outcome.REFUSED],
        "warned": [one.sentence for one in checks if one.outcome is Outcome.WARNED],
        "text": "\n".join([head, *(f"{one.outcome.value:<8}{one.sentence}" for one in checks)]),
        "prediction": prediction.as_dict(),
    }


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"migration_plan": migration_plan}
