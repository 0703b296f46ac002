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
positional: intent, instance, servers, targets, seen, surveyed, mib_per_second, timeout, explicit, hosts, any_cpu, source_log, programs, requests
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
  timeout:
    description: Seconds that the move may take, for the step that follows it.
    type: float
    default: 600
  explicit:
    description: By volume name, generations that somebody insists on.
    type: dict
    default: {}
  hosts:
    description:
      - By inventory name, the C(host) of M(apiary.propolis.propolis_host_info) run on both ends. Hosts that could not be asked are left out.
      - Without it, nothing is judged about hosts.
    type: dict
  any_cpu:
    description: Whether processors of another vendor or family are only warned of.
    type: bool
    default: false
  source_log:
    description: The end of the log of a source that has failed before. It tells whether that was in the one way after which a
      source refuses every further migration.
    type: str
    default: ""
  programs:
    description: By inventory name of each host of a downstairs, RV(apiary.propolis.crucible_facts#module:ansible_facts.crucible.program).
      It is judged together with O(hosts).
    type: dict
    default: {}
  requests:
    description:
      - The disk requests for the move, as P(apiary.propolis.disk_requests#filter) makes them; their generations do not matter.
      - Each is compared with what the source tells of its disk. Keys are compared by O(apiary.propolis.propolis_instance_info#module:keys).
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Nothing stands against the move
  ansible.builtin.assert:
    that: plan.refused == []
    fail_msg: "{{ plan.refused | join(' ') }}"
  vars:
    plan: >-
      {{ 'vm0' | apiary.propolis.migration_plan(intent, propolis_instances.vm0, asked.servers, targets, seen.targets,
                                                surveyed.volumes, 110) }}
"""

RETURN = r"""
_value:
  description:
    - C(checks), dictionaries of C(name), C(outcome) and C(sentence). C(refused) and C(warned) are the sentences of those that are.
    - C(steps), what a run does, in order. C(generations), by volume, C(before), C(last) and C(after). C(prediction), C(seconds) and
      C(pause_seconds).
    - C(text), all of it for people.
    - Where nothing is to be done, or a migration of ours is followed, only C(text) says anything.
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
    timeout: float = 600,
    explicit: Answer | None = None,
    hosts: Answer | None = None,
    any_cpu: bool = False,
    source_log: str = "",
    programs: Answer | None = None,
    requests: Sequence[Answer] = (),
) -> dict[str, Any]:
    """See DOCUMENTATION."""
    from ansible_collections.apiary.propolis.plugins.module_utils.propolis import (
        preflight,
        preflight_hosts,
        preflight_plan,
    )
    from ansible_collections.apiary.propolis.plugins.module_utils.propolis.migration_request import WaitFor

    by_name = {str(server["name"]): server for server in servers}
    source, destination = by_name[intent["source"]], by_name[intent["destination"]]
    if not intent["needed"]:
        return _empty(preflight_plan.nothing_to_do(name, destination))
    if intent["adopts"]:
        return _empty(preflight_plan.follow(name, intent["source"], intent["destination"], intent["migration_id"]))
    replicas = [
        preflight.Replica(
            target["volume"], target["host"], target["address"], int(target["port"]), target["region"], answer
        )
        for target, answer in zip(targets, seen, strict=True)
    ]
    move = preflight.Move(
        name,
        str(instance["id"]).lower(),
        int(instance["memory_mib"]),
        source,
        destination,
        [by_name[other] for other in intent["others"]],
        replicas,
        surveyed,
        source_log,
        preflight.live_differences(source, requests),
    )
    storage = list(dict.fromkeys(target["host"] for target in targets))
    checks = [*preflight.check(move), *preflight_plan.too_low(move, explicit or {})]
    if hosts is not None:
        checks += preflight_hosts.check_hosts(
            intent["source"],
            intent["destination"],
            move.memory_mib,
            hosts,
            {host: (programs or {}).get(host) for host in storage},
            any_cpu=any_cpu,
        )
    refused = [one.sentence for one in checks if one.outcome is preflight.Outcome.REFUSED]
    prediction = preflight.predict(move.memory_mib, float(mib_per_second))
    numbers = preflight_plan.numbers(move, explicit or {})
    console = (instance.get("console") or {}).get("wait_for")
    wait_for = None if console is None else WaitFor.read(console, "console.wait_for")
    steps = [] if refused else preflight_plan.steps(move, numbers, float(timeout), wait_for)
    return {
        "checks": [one.as_dict() for one in checks],
        "refused": refused,
        "warned": [one.sentence for one in checks if one.outcome is preflight.Outcome.WARNED],
        "steps": steps,
        "generations": [one.as_dict() for one in numbers],
        "prediction": prediction.as_dict(),
        "text": preflight_plan.text(preflight_plan.headline(move, prediction, checks), steps, checks),
    }


def _empty(text: str) -> dict[str, Any]:
    """A plan in which nothing is asked of anybody."""
    lists: dict[str, Any] = {name: [] for name in ("checks", "refused", "warned", "steps", "generations")}
    return {**lists, "prediction": None, "text": text}


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"migration_plan": migration_plan}
