#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module: a running instance moved from one propolis server to another."""

from __future__ import annotations

DOCUMENTATION = r"""
module: propolis_migration
short_description: Move a running instance from one propolis server to another
version_added: 0.1.0
author: The apiary.propolis developers (!UNKNOWN)
description:
  - Plans the move, asks the destination to fetch the instance, follows both ends and says what is true at the end.
  - C(Finish) on both ends is not success. Success is an instance that is Running at the destination, with its disks active at the
    generations that were allocated for it, while the source has let go of it.
  - A migration that carries our id is adopted. A second run with the same instance, servers and generations has the same id, so a
    play that was killed can be run again. A migration of somebody else is refused and named.
  - When O(timeout) is over, waiting ends. The migration goes on, because propolis has no way to cancel one.
  - The module refuses to begin where the instance would be lost, such as with a generation that is not higher than the one in use,
    with another geometry, or without a new volume construction request for each Crucible disk.
  - On the controller (a task that is delegated to C(localhost), or a local connection) each phase is shown while it happens.
  - While the instance moves, the source is asked for the replicas of its disks, where its API tells of them (5.0.0). One that goes
    away is a warning and is told at once, because the destination will wait for it and nothing can stop the move any more.
notes:
  - The new volume construction requests need generations that were allocated before,
    see M(apiary.propolis.crucible_generation). A number that was used for a migration that failed is spent.
  - To finish a move whose play was killed, give the same generations again.
  - An instance keeps its id when it moves, so its two servers need addresses on two hosts.
extends_documentation_fragment:
  - apiary.propolis.propolis_api
attributes:
  action:
    description: Has a part that runs on the controller.
    support: full
    details: On the controller it does the work itself and shows each phase; elsewhere it runs the module.
  check_mode:
    description: Plans the move, with all that would make it refuse, and changes nothing.
    support: full
  diff_mode:
    description: Returns the server and the generations before and after.
    support: full
  idempotent:
    description: An instance that is at the destination already is left alone, whatever generations are given.
    support: full
options:
  instance:
    description: The instance that shall move.
    type: dict
    required: true
    suboptions:
      id:
        description: Its UUID.
        type: str
        required: true
      name:
        description: What people call it. The default is its id.
        type: str
  source:
    description: The server where it runs now.
    type: dict
    required: true
    suboptions:
      name:
        description: What people call it, such as its inventory name. The default is its address.
        type: str
      address:
        description: Its C(IP:PORT), such that the destination can reach it. Servers refuse host names here.
        type: str
        required: true
  destination:
    description: The server where it shall run.
    type: dict
    required: true
    suboptions:
      name:
        description: What people call it, such as its inventory name. The default is its address.
        type: str
      address:
        description: Its C(IP:PORT).
        type: str
        required: true
  disks:
    description: A new volume construction request for every Crucible disk of the instance.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name of the disk, or of its backend.
        type: str
        required: true
      volume_construction_request:
        description: The request, the same as before except for its generation. It may hold a key.
        type: dict
        required: true
      generation:
        description: The generation that was allocated for it. It must be the one in the request.
        type: int
  servers:
    description: All other servers that may hold the instance or a session of its volumes. They are asked and named, never changed.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What people call it, such as its inventory name. The default is its address.
        type: str
      address:
        description: Its C(IP:PORT).
        type: str
        required: true
  migration_id:
    description: A UUID of your own for the migration. The default is made from instance, servers and generations.
    type: str
  timeout:
    description: Seconds that all of it may take.
    type: float
    default: 600
  ask_timeout:
    description: Seconds that a server may take for one ordinary answer before it counts as deaf.
    type: float
    default: 5
  wait_for:
    description:
      - What the console has to show at the destination after the move, so that the guest itself is heard. Both servers call a
        move done while the guest may stand still for half a minute, as it does with NVMe disks.
      - The time from the guest's pause until then is returned in RV(migration.guest), beside the pause that the API tells of.
      - A guest that is not heard makes the task fail with C(guest_silent). The instance has moved all the same, and a second run
        finds it at the destination and listens no more.
      - Needs the Python library websocket-client.
    type: dict
    suboptions:
      expect:
        description:
          - A regular expression (Python, with C(^) and C($) at lines). Only what is shown after the move counts.
          - Take one that the guest can show only when its disk answers, and that is not part of what is typed.
        type: str
        required: true
      send:
        description: Lines that are typed at the destination first, with a carriage return after each. They may be seen in the output.
        type: list
        elements: str
        default: []
      timeout:
        description: Seconds that the guest may take, on top of O(timeout).
        type: float
        default: 60
  evidence:
    description:
      - A directory where a failed move leaves a new directory of its own with what every server said about it, with their consoles,
        the timeline and the sentence. Keys are taken out, and only the owner may read it.
      - Its path is in RV(failure.details). On a move that does not fail, nothing is written.
    type: path
  progress:
    description:
      - Whether to show each phase while it happens, when the task runs on the controller.
      - With V(auto) this is done unless the output is for programs (a JSON callback) or in check mode.
    type: str
    choices: [auto, always, never]
    default: auto
seealso:
  - module: apiary.propolis.crucible_generation
  - module: apiary.propolis.propolis_instance
  - module: apiary.propolis.propolis_serial
"""

EXAMPLES = r"""
- name: Instance vm0 runs on beta
  apiary.propolis.propolis_migration:
    instance:
      id: 1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a01
      name: vm0
    source: {name: alpha, address: "172.20.3.73:8000"}
    destination: {name: beta, address: "172.20.3.71:8000"}
    disks:
      - name: helios-blockdev
        generation: 2
        volume_construction_request: "{{ crucible_volumes['vm0-boot'] | apiary.propolis.volume_construction_request(2) }}"
    timeout: 300
  delegate_to: localhost
  register: moved

- name: Instance vm0 runs on beta and its guest has written to its disk there
  apiary.propolis.propolis_migration:
    instance: {id: 1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a01, name: vm0}
    source: {name: alpha, address: "172.20.3.73:8000"}
    destination: {name: beta, address: "172.20.3.71:8000"}
    disks: "{{ requests }}"
    wait_for:
      send: [sync && echo disk answers | tr a-z A-Z]
      expect: ^DISK ANSWERS
  delegate_to: localhost

- name: The guest's pause is shown
  ansible.builtin.debug:
    msg: "{{ moved.migration.sentence }} The guest stood still for {{ moved.migration.pause_seconds }} s."
"""

RETURN = r"""
migration:
  description: The move and how it ended, or how it stands.
  returned: always, except when the options cannot be read
  type: dict
  contains:
    id:
      description: The id of the migration.
      type: str
      returned: always
    verdict:
      description:
        - C(succeeded) - it runs at the destination and the source has let go.
        - C(already_there) - it ran at the destination before; nothing was done.
        - C(adopted) - a migration that an earlier run began has ended well (in check mode, is under way).
        - C(failed_on_source) - the migration failed and the instance goes on at the source.
        - C(failed_and_source_stuck) - the same, and the source shows signs of refusing further migrations until it is restarted.
        - C(waiting_for_disks) - it lives in the memory of the destination and waits for a downstairs.
        - C(nobody_runs) - it runs nowhere; its disks are intact and it can be started again.
        - C(leftover_source) - it runs at the destination; an old copy with fenced disks is left.
        - C(split_brain) - two copies run.
        - C(in_progress_elsewhere) - a migration of somebody else is under way.
        - C(timed_out) - our time is over; the migration goes on.
        - C(unknown) - nobody can say; C(sentence) says what is known.
        - C(not_started) - nothing was begun.
      type: str
      returned: always
      sample: succeeded
    reason:
      description: The verdict more finely, one word.
      type: str
      returned: always
      sample: moved
    source:
      description: C(name) and C(address) of the source.
      type: dict
      returned: always
    destination:
      description: C(name) and C(address) of the destination.
      type: dict
      returned: always
    runs_on:
      description: The name of the server where the instance is known to run. V(null) when it runs nowhere or nobody can say.
      type: str
      returned: always
      sample: beta
    generations:
      description: The generation of each disk that was given.
      type: dict
      returned: always
      sample: {helios-blockdev: 2}
    generations_before:
      description: The generation of each disk at the source, when the move was planned.
      type: dict
      returned: always
      sample: {helios-blockdev: 1}
    timeline:
      description: Phases and states of both ends, with seconds since the beginning.
      type: list
      elements: dict
      returned: always
      contains:
        phase:
          description: The phase of the migration or the state of the instance, in the server's words.
          type: str
          returned: always
        side:
          description: V(source) or V(destination).
          type: str
          returned: always
        at:
          description: Seconds since the beginning.
          type: float
          returned: always
    pause_seconds:
      description: How long the guest stood still by what the API tells. V(null) when it was not seen.
      type: float
      returned: always
      sample: 0.294
    guest:
      description: What the console told with O(wait_for). V(null) without it, and where nothing was moved.
      type: dict
      returned: always
      contains:
        expect:
          description: The pattern that was waited for.
          type: str
          returned: always
        match:
          description: What it matched. V(null) when the guest was not heard.
          type: str
          returned: always
        pause_seconds:
          description:
            - Seconds from the guest's pause until its console showed that. V(null) when the guest was not heard, or its pause was not seen.
            - It is no less than the guest's real pause, and includes what the guest needs to show it.
          type: float
          returned: always
          sample: 30.214
    total_seconds:
      description: The whole time of the move.
      type: float
      returned: always
      sample: 0.612
    slowest_expected_seconds:
      description: How long a migration of so much memory may take at the slowest; V(null) when it came to no plan.
      type: float
      returned: always
    sentence:
      description: Where the instance runs now, at which generation, what was changed, and what to do next.
      type: str
      returned: always
    account:
      description: The same sentence without what to do next.
      type: str
      returned: always
    next_steps:
      description: What to do next, step by step.
      type: list
      elements: str
      returned: always
    warnings:
      description: What is not refused, and better known before.
      type: list
      elements: str
      returned: always
    servers:
      description: What each server that was asked said last.
      type: list
      elements: dict
      returned: always
failure:
  description: What went wrong.
  returned: failure
  type: dict
  contains:
    code:
      description:
        - The verdict, or C(guest_silent) for a move that succeeded and whose guest was not heard, or for a move that was not begun why.
        - Among the latter are C(same_server), C(same_host), C(bad_source_address), C(destination_unreachable), C(destination_occupied),
          C(dialects_differ), C(unmovable_device), C(unknown_replacement), C(missing_replacement), C(volume_differs),
          C(generation_too_low), C(replica_missing), C(disk_not_active), C(disks_unreadable), C(source_refuses), C(bad_description)
          and C(bad_address).
      type: str
      returned: always
    message:
      description: The sentence that is also in C(msg).
      type: str
      returned: always
    details:
      description: The verdict, the id of the migration, where the instance runs, the next steps, the directory with the evidence,
        and numbers that belong to it.
      type: dict
      returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_migration import migration_options, perform
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_propolis import (
    hide_only_secrets,
    require_requests,
)


def main() -> None:
    module = AnsibleModule(argument_spec=migration_options(), supports_check_mode=True)
    require_requests(module)
    hide_only_secrets(module, module.params["disks"])
    result = perform(module.params, check_mode=module.check_mode)
    for warning in result.pop("warnings", []):
        module.warn(warning)
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
