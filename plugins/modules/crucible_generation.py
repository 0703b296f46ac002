#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The generations of a Crucible volume: hand one out, record it, read what was handed out."""

from __future__ import annotations

DOCUMENTATION = r"""
module: crucible_generation
short_description: Hand out, record and read the generations of a Crucible volume
version_added: 0.1.0
author:
  - The apiary.propolis developers (!UNKNOWN)
description:
  - Keeps the ledger of a volume, an append-only file C(<path>.ledger) beside each of its three regions.
  - A number is handed out (O(state=allocated)) on the volume's first target host, under a lock, above everything that is
    known, and then recorded (O(state=recorded)) on the other two. Only then may an upstairs use it.
  - A number is spent when it is handed out. It is never given back, used again, or taken from a clock. A number that is too
    low, or that a live session uses, ends on the real programs with a dead destination, or with two sessions that both
    write to one disk.
  - A ledger that was lost is made anew from O(entries) of the other hosts and O(floors).
options:
  path:
    description: Directory of the region on this host. The ledger lies beside it.
    type: path
    required: true
  volume:
    description: Id of the volume. A ledger of another volume is refused.
    type: str
    required: true
  state:
    description:
      - V(allocated) hands out one number. A migration that has one already (O(migration_id)) gets the same again. Where a later
        one was handed out since, it gets a new one if O(expected_last) is that later one, and fails otherwise.
      - V(recorded) writes down O(entries) that this host does not know.
      - V(read) changes nothing.
    type: str
    choices: [allocated, recorded, read]
    default: read
  floors:
    description: Numbers that are used already, and where they were seen. The new number is above all of them.
    type: list
    elements: dict
    default: []
    suboptions:
      generation:
        description: The number.
        type: int
        required: true
      source:
        description: Where it was seen, in words, for example C(the disk status of alpha).
        type: str
        required: true
  stored:
    description: Whether the generations stored in this region are a floor too.
    type: bool
    default: true
  expected_last:
    description:
      - Last number that the caller saw in the ledger, 0 for an empty one.
      - Where another one is found, somebody else was at work; the module fails with the code V(ledger_moved) and spends
        nothing.
      - With O(state=recorded), the number that will be used once all three hosts have recorded it. Where this host knows
        a later one, it must not be used any more; the module fails with the same code and records nothing.
    type: int
  seen_last:
    description:
      - Last number that the caller saw in this host's ledger, 0 for none; only with O(state=recorded).
      - Where less is found, the ledger was lost, or brought back from an old copy, since, and what it has forgotten may be
        a later number than the one that is about to be used; the module fails with the code V(ledger_fell_back) and records
        nothing. A ledger that was lost before the caller looked is made whole.
    type: int
  generation:
    description: Hand out this very number. Refused unless it is above every floor.
    type: int
  holder:
    description: Who will use the number.
    type: dict
    suboptions:
      instance:
        description: Name or id of the instance.
        type: str
      server:
        description: Name of the propolis server.
        type: str
  reason:
    description: What the number is for.
    type: str
    choices: [start, migrate, maintenance]
    default: start
  migration_id:
    description: The migration that it is for.
    type: str
  controller:
    description: Who asks for it, for people who read the ledger.
    type: str
  entries:
    description: Entries of another host's ledger, as this module returns them. Merging them twice changes nothing.
    type: list
    elements: dict
    default: []
  whole:
    description: Return every entry of the ledger, not its last 64 alone, as it takes to make a lost one anew.
    type: bool
    default: false
  timeout:
    description: Seconds to wait for the lock.
    type: float
    default: 10
extends_documentation_fragment:
  - apiary.propolis.attributes
  - apiary.propolis.attributes.storage_host
attributes:
  check_mode:
    support: full
    details: Computes the number and spends nothing.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details: Handing out a number is a change every time, except for a migration that has its number already.
seealso:
  - module: apiary.propolis.crucible_facts
"""

EXAMPLES = r"""
- name: The migration has a generation
  apiary.propolis.crucible_generation:
    path: /var/crucible/vm0-boot
    volume: 0cedae45-3d6e-4d90-b2cb-56f1a1a42a89
    state: allocated
    reason: migrate
    holder: {instance: vm0, server: beta}
    floors:
      - {generation: 11, source: the disk status of alpha}
      - {generation: 12, source: the ledger of ds1}
  delegate_to: ds0
  register: allocated

- name: The other two hosts know it
  apiary.propolis.crucible_generation:
    path: /var/crucible/vm0-boot
    volume: 0cedae45-3d6e-4d90-b2cb-56f1a1a42a89
    state: recorded
    entries: "{{ allocated.entries }}"
    expected_last: "{{ allocated.generation }}"
    seen_last: "{{ item.seen_last }}"
  delegate_to: "{{ item.host }}"
  loop:
    - {host: ds1, seen_last: 12}
    - {host: ds2, seen_last: 12}
"""

RETURN = r"""
generation:
  description: The number that was handed out; in check mode, the one that would be.
  returned: success and O(state=allocated)
  type: int
  sample: 13
entry:
  description: Its entry in the ledger.
  returned: success and O(state=allocated)
  type: dict
  sample:
    generation: 13
    reason: migrate
    holder: {instance: vm0, server: beta}
    migration_id: 3a1f7a52-0d0f-4f8e-9b7b-5d4f4a0c1c03
    time: "2026-11-23T08:18:20.241+00:00"
    controller: desk
entries:
  description: The ledger, the new entry included; its last 64 entries at most, unless O(whole=true).
  returned: success
  type: list
  elements: dict
last:
  description: The highest number handed out, 0 for none.
  returned: success
  type: int
  sample: 13
stored_generation:
  description: The highest number stored in this region; null when it was not to be read.
  returned: success
  type: int
  sample: 11
next_generation:
  description: The lowest number that may come next, as far as this host and O(floors) know.
  returned: success
  type: int
  sample: 14
spent:
  description: Present and V(false) where the new number was not handed out, as nothing is in check mode.
  returned: success and check mode and a new number
  type: bool
  sample: false
ledger:
  description: The ledger file.
  returned: success
  type: str
  sample: /var/crucible/vm0-boot.ledger
failure:
  description: Why the module failed.
  returned: failure
  type: dict
  contains:
    code:
      description: >-
        A word to branch on, for example V(ledger_moved), V(ledger_fell_back), V(generation_too_low), V(invalid_generation), V(ledger_locked),
        V(foreign_ledger), V(ledger_conflict), V(disk_full).
      type: str
    message:
      description: The sentence of C(msg).
      type: str
    details:
      description: The values that the sentence speaks of.
      type: dict
  sample:
    code: generation_too_low
    message: >-
      generation: 11 must not be used for volume 0cedae45-3d6e-4d90-b2cb-56f1a1a42a89, it has to be more than 12, which the
      ledger of ds1 holds; the next free one is 13.
    details: {generation: 11, floor: 12, source: the ledger of ds1}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_failures import fail
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.allocation import Answer, Request, answer
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger_entries import REASONS
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError

ENTRIES_RETURNED = 64


def told(found: Answer, *, whole: bool, check_mode: bool) -> dict[str, Any]:
    """The return values."""
    new = {entry.generation for entry in found.new}
    after = [entry.generation for entry in found.entries[-ENTRIES_RETURNED:]]
    before = [number for number in after if number not in new]
    result: dict[str, Any] = {
        "changed": bool(found.new),
        "entries": [entry.as_dict() for entry in found.entries[0 if whole else -ENTRIES_RETURNED :]],
        "last": found.last,
        "stored_generation": found.stored,
        "next_generation": found.next,
        "ledger": str(found.path),
        "diff": {"before": {"generations": before}, "after": {"generations": after}},
    }
    if found.entry is not None:
        result["generation"] = found.entry.generation
        result["entry"] = found.entry.as_dict()
    if check_mode and found.new:
        result["spent"] = False
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "volume": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["allocated", "recorded", "read"], "default": "read"},
            "floors": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "generation": {"type": "int", "required": True},
                    "source": {"type": "str", "required": True},
                },
            },
            "stored": {"type": "bool", "default": True},
            "expected_last": {"type": "int"},
            "seen_last": {"type": "int"},
            "generation": {"type": "int"},
            "holder": {"type": "dict", "options": {"instance": {"type": "str"}, "server": {"type": "str"}}},
            "reason": {"type": "str", "choices": list(REASONS), "default": "start"},
            "migration_id": {"type": "str"},
            "controller": {"type": "str"},
            "entries": {"type": "list", "elements": "dict", "default": []},
            "whole": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 10},
        },
        supports_check_mode=True,
    )
    try:
        found = answer(Request.from_options(module.params), dry_run=module.check_mode)
        result = told(found, whole=module.params["whole"], check_mode=module.check_mode)
    except CollectionError as error:
        fail(module, error)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
