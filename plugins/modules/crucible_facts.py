#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host knows of Crucible regions, their generations and ledgers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: crucible_facts
short_description: Gather facts about Crucible regions, generations and ledgers
version_added: 0.1.0
author:
  - The apiary.propolis developers (!UNKNOWN)
description:
  - Looks at regions on a storage host and returns RV(ansible_facts.crucible).
  - Geometry always comes from C(region.json), completeness from the files, generations from the end of every extent file
    or, in regions of January 2023, from their SQLite rows including the write-ahead log. No program is needed for this, and
    it does no harm while a downstairs runs.
  - What is wrong with a region is one of its C(problems), not a failure of the module.
  - A stored generation is only a lower bound. An upstairs that has written nothing yet is invisible in it.
options:
  paths:
    description: Region directories. One that is not there is returned with C(exists) false.
    type: list
    elements: path
    default: []
  root:
    description: Also every region below this directory, at most three levels down.
    type: path
  method:
    description:
      - How stored generations are read. V(auto) and V(trailers) read the files.
      - V(dump) asks O(executable) for regions that no process has open, and reads the files of the others.
      - With V(trailers), O(executable) is asked for its version alone, and one that cannot tell it does not fail the task.
    type: str
    choices: [auto, dump, trailers]
    default: auto
  executable:
    description: The program C(crucible-downstairs), by name or path, for V(dump) and for RV(ansible_facts.crucible.program).
    type: str
  timeout:
    description: Seconds that one run of the program may take.
    type: float
    default: 60
extends_documentation_fragment:
  - apiary.propolis.attributes
  - apiary.propolis.attributes.info
  - apiary.propolis.attributes.storage_host
attributes:
  facts:
    description: Action returns an C(ansible_facts) dictionary that will update existing host facts.
    support: full
seealso:
  - module: apiary.propolis.crucible_region
  - module: apiary.propolis.crucible_generation
"""

EXAMPLES = r"""
- name: Regions and generations of this host are known
  apiary.propolis.crucible_facts:
    root: /var/crucible
    executable: /opt/crucible/bin/crucible-downstairs

- name: Show the lowest generation that this host would accept
  ansible.builtin.debug:
    msg: "{{ ansible_facts.crucible.volumes['0cedae45-3d6e-4d90-b2cb-56f1a1a42a89'].next_generation }}"
"""

RETURN = r"""
ansible_facts:
  description: Facts to add to the host.
  returned: success
  type: dict
  contains:
    crucible:
      description: What was found.
      type: dict
      contains:
        regions:
          description: One entry for each path, in order.
          type: list
          elements: dict
          contains:
            path:
              description: Directory of the region.
              type: str
            exists:
              description: Whether there is anything.
              type: bool
            uuid:
              description: UUID of the region, null where none can be read, as all that follows.
              type: str
            age:
              description: V(2023) for a region of January 2023, else V(today).
              type: str
            block_size:
              description: Bytes of a block.
              type: int
            blocks_per_extent:
              description: Blocks of an extent.
              type: int
            extent_count:
              description: Number of extents.
              type: int
            encrypted:
              description: Whether an upstairs encrypts what it writes.
              type: bool
            bytes:
              description: What a guest sees of it.
              type: int
            format:
              description: V(raw) or V(sqlite).
              type: str
            complete:
              description: Whether there is a region without problems.
              type: bool
            problems:
              description: What is wrong with it, in words.
              type: list
              elements: str
            max_generation:
              description: Highest generation stored in an extent.
              type: int
            max_flush:
              description: Highest flush number stored in an extent.
              type: int
            dirty:
              description: Number of extents written to since their last flush.
              type: int
            method:
              description: How the generations were read, V(dump) or V(trailers).
              type: str
            processes:
              description: Processes that have the region open, as far as we may see them.
              type: list
              elements: dict
            image:
              description: Checksum and size of the image it was made from, null where nothing tells.
              type: dict
            ledger:
              description: >-
                The ledger beside it; C(last) is the highest number handed out, 0 for none; ledgers with the same entries
                have the same C(digest).
              type: dict
        volumes:
          description:
            - By volume id, what this host alone knows. A number must be above what all hosts of the volume know.
            - C(generation) is the last number handed out, C(stored_generation) the highest stored in a region,
              C(next_generation) the lowest that may come next.
          type: dict
        program:
          description: What O(executable) is; null without it. Programs of January 2023 have message version 1 and no commit.
          type: dict
          contains:
            version:
              description: Version of the crate, always the same.
              type: str
            commit:
              description: The commit it was built from, which alone identifies it.
              type: str
            message_version:
              description: Version of the protocol, which must be that of the upstairs.
              type: int
        program_problem:
          description: With O(method=trailers), why the program did not tell its version, in one sentence; else null.
          type: str
      sample:
        regions:
          - path: /var/crucible/vm0-boot
            exists: true
            uuid: 12345678-0000-4000-8000-000000008810
            age: today
            block_size: 512
            blocks_per_extent: 64000
            extent_count: 64
            encrypted: false
            bytes: 2097152000
            format: raw
            complete: true
            problems: []
            max_generation: 11
            max_flush: 642
            dirty: 0
            method: trailers
            processes: [{pid: 4242, command: crucible-downstairs run --data /var/crucible/vm0-boot}]
            image: {sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08, size: 77881678}
            ledger:
              path: /var/crucible/vm0-boot.ledger
              exists: true
              volume: 0cedae45-3d6e-4d90-b2cb-56f1a1a42a89
              last: 12
              entries: 12
              newest: {generation: 12, reason: migrate}
              digest: 4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945
              torn: false
              problem: null
        volumes:
          0cedae45-3d6e-4d90-b2cb-56f1a1a42a89: {generation: 12, stored_generation: 11, next_generation: 13}
        program: {version: 0.0.1, commit: 6d037cb60304413302e3f3658e4850980cee77b0, message_version: 13}
failure:
  description: Why the module failed.
  returned: failure
  type: dict
  contains:
    code:
      description: A word to branch on, for example V(program_missing).
      type: str
    message:
      description: The sentence of C(msg).
      type: str
    details:
      description: The values that the sentence speaks of.
      type: dict
  sample:
    code: program_missing
    message: "executable: found 'crucible-downstair', expected a program that is there."
    details: {field: executable}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_failures import fail
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.facts import look_at_all, volumes_of
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.program import DownstairsProgram
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "paths": {"type": "list", "elements": "path", "default": []},
            "root": {"type": "path"},
            "method": {"type": "str", "choices": ["auto", "dump", "trailers"], "default": "auto"},
            "executable": {"type": "str"},
            "timeout": {"type": "float", "default": 60},
        },
        required_if=[("method", "dump", ["executable"])],
        supports_check_mode=True,
    )
    params = module.params
    program = DownstairsProgram(params["executable"], params["timeout"]) if params["executable"] else None
    version, problem = None, None
    try:
        version = program.version() if program else None
    except CollectionError as error:
        if params["method"] != "trailers":
            fail(module, error)
        problem = error.message
    try:
        paths = [Path(path.rstrip("/") or "/") for path in params["paths"]]
        regions = look_at_all(paths, Path(params["root"]) if params["root"] else None, params["method"], program)
    except CollectionError as error:
        fail(module, error)
    crucible = {
        "regions": [region.as_dict() for region in regions],
        "volumes": volumes_of(regions),
        "program": version.as_dict() if version else None,
        "program_problem": problem,
    }
    module.exit_json(changed=False, ansible_facts={"crucible": crucible})


if __name__ == "__main__":
    main()
