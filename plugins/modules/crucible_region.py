#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One region of a Crucible volume: made from an image, or removed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: crucible_region
short_description: Create, import or remove one region of a Crucible volume
version_added: 0.1.0
author:
  - The apiary.propolis developers (!UNKNOWN)
description:
  - Makes the directory that holds one replica of a volume's data with C(crucible-downstairs create), empty, from a disk
    image, or as a clone of a running read-only downstairs.
  - A region that is there is compared with what is asked for, field by field. It is never overwritten.
  - All that can be checked is checked before anything is changed, because the program itself leaves a complete looking
    region behind when its image is missing, and makes a region larger than asked for when the image does not fit.
  - After an import the region's data are compared with the image, and the image's checksum is remembered beside the
    region in C(<path>.image), because nothing in a region tells that another replica was made from another image.
  - When making a region fails, what is half-made is renamed to C(<path>.incomplete-<time>) and named. The same is done to
    what an earlier, interrupted run of this module left. Any other incomplete region is refused.
  - Removing a region keeps the ledger of its volume, C(<path>.ledger), because numbers in it are spent for ever.
options:
  path:
    description: Directory of the region.
    type: path
    required: true
  state:
    description: Whether the region is there.
    type: str
    choices: [present, absent]
    default: present
  uuid:
    description:
      - UUID of the region. Each of the three regions of a volume has its own.
      - Needed for O(state=present), and for O(state=absent) without O(force).
    type: str
  block_size:
    description: Bytes of a block, a power of two from 512 to 32768.
    type: int
    default: 512
  blocks_per_extent:
    description: Blocks of an extent, C(--extent-size) of the program. An extent is at most 512 MiB.
    type: int
  extent_count:
    description:
      - Number of extents.
      - When it is not given, a region that is made gets as many as its image fills, and one to spare. One that is there
        may have any number.
    type: int
  encrypted:
    description: Whether the upstairs encrypts what it writes. An image cannot be imported into such a region.
    type: bool
    default: false
  image:
    description: Disk image to import when the region is made.
    type: dict
    suboptions:
      src:
        description: A regular file on the target host, not empty, not larger than the region.
        type: path
        required: true
      checksum:
        description: C(sha256:) and 64 hexadecimal digits. Checked before anything is changed, and on every later run.
        type: str
  clone_source:
    description:
      - C(IP:port) of the repair API (the data port + 4000) of a downstairs that runs in mode V(ro).
      - Its region must have the same shape and another UUID. Programs of January 2023 cannot clone.
    type: str
  verify:
    description:
      - Whether the data of a region that is there are read and compared with the image that was imported. That takes about as long as
        reading the image.
      - A region that a guest has written to has other data than its image, and is not compared. Data are always compared right after
        an import.
    type: bool
    default: false
  executable:
    description: The program C(crucible-downstairs), by name or path.
    type: str
    default: crucible-downstairs
  force:
    description:
      - With O(state=absent), remove a region that has another UUID or that is damaged.
      - A region that a process has open is never removed.
    type: bool
    default: false
  timeout:
    description: Seconds that the program may take. An import takes about as long as writing the image to the disk.
    type: float
    default: 3600
extends_documentation_fragment:
  - apiary.propolis.attributes
  - apiary.propolis.attributes.storage_host
  - apiary.propolis.progress
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: apiary.propolis.crucible_downstairs
  - module: apiary.propolis.crucible_facts
"""

EXAMPLES = r"""
- name: The first of three regions is there, made from the image
  apiary.propolis.crucible_region:
    path: /var/crucible/vm0-boot
    uuid: 12345678-0000-4000-8000-000000008810
    blocks_per_extent: 64000
    image:
      src: /images/helios.raw
      checksum: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08

- name: An empty region of 4 KiB blocks is there
  apiary.propolis.crucible_region:
    path: /var/crucible/scratch
    uuid: 12345678-0000-4000-8000-000000008811
    block_size: 4096
    blocks_per_extent: 16384
    extent_count: 16

- name: The region is gone, if it is the one we mean and nothing serves it
  apiary.propolis.crucible_region:
    path: /var/crucible/scratch
    uuid: 12345678-0000-4000-8000-000000008811
    state: absent
"""

RETURN = r"""
region:
  description: The region. In check mode, the region as it would be.
  returned: success and O(state=present)
  type: dict
  contains:
    path:
      description: Its directory.
      type: str
    uuid:
      description: Its UUID.
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
    complete:
      description: Whether all extents are there with their exact size.
      type: bool
    format:
      description: How its extents are stored. V(sqlite) is that of January 2023; V(none) while it is not made yet.
      type: str
      choices: [raw, sqlite, none]
  sample:
    path: /var/crucible/vm0-boot
    uuid: 12345678-0000-4000-8000-000000008810
    block_size: 512
    blocks_per_extent: 64000
    extent_count: 64
    encrypted: false
    bytes: 2097152000
    complete: true
    format: raw
import:
  description: What was imported by this run.
  returned: when an image was imported by this run
  type: dict
  contains:
    bytes:
      description: Bytes that were written, whole blocks.
      type: int
    extents:
      description: Extents that were written to.
      type: int
    sha256:
      description: Checksum of the image.
      type: str
  sample: {bytes: 77881856, extents: 3, sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08}
image:
  description: The image that the region was made from, as it was remembered.
  returned: when it is known
  type: dict
  contains:
    sha256:
      description: Its checksum.
      type: str
    size:
      description: Its bytes.
      type: int
    source:
      description: Where it was.
      type: str
quarantined:
  description: Where the half-made region of an earlier, interrupted run was moved to.
  returned: when there was one
  type: str
  sample: /var/crucible/vm0-boot.incomplete-20261123T081820Z
ledger:
  description: The ledger that stays behind when the region is removed.
  returned: when O(state=absent) and there is one
  type: str
  sample: /var/crucible/vm0-boot.ledger
failure:
  description: Why the module failed.
  returned: failure
  type: dict
  contains:
    code:
      description: A word to branch on, for example V(foreign_region), V(region_incomplete), V(other_image), V(data_changed),
          V(disk_full).
      type: str
    message:
      description: The sentence of C(msg).
      type: str
    details:
      description: The values that the sentence speaks of.
      type: dict
  sample:
    code: foreign_region
    message: "/var/crucible/vm0-boot holds another region: extent_count is 64, expected 65."
    details: {differences: [{field: extent_count, found: 64, expected: 65}]}
"""

import uuid as uuids
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_failures import fail
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_progress import progress_options
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.claim import Claim
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.errors import InvalidValueError, NoRegionError
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.geometry import Geometry
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.image import extents_needed, read_record
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger import ledger_path
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.program import DownstairsProgram
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.region import Region, read_definition
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.removal import check_removal, remove
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.seeding import (
    Plan,
    Seeded,
    Wanted,
    carry_out,
    plan,
)
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.volume import parse_address
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError


def wanted_from(params: dict[str, Any]) -> Wanted:
    """The options as a description of a region. Raises InvalidValueError."""
    image = params["image"] or {}
    if params["clone_source"] is not None:
        parse_address("clone_source", params["clone_source"])
    path = _absolute(params["path"])
    source = Path(image["src"]) if image else None
    one = Geometry(params["block_size"], params["blocks_per_extent"], 1, params["encrypted"]).validated()
    count = params["extent_count"]
    return Wanted(
        path=path,
        uuid=_uuid(params["uuid"]),
        geometry=replace(one, extent_count=_extent_count(path, source, one) if count is None else count),
        image=source,
        checksum=image.get("checksum"),
        clone_source=params["clone_source"],
        verify=params["verify"],
    )


def _extent_count(path: Path, image: Path | None, one: Geometry) -> int:
    """The number that was not asked for: that of the region that is there, else what the image needs."""
    if not Claim(path).left_behind():
        with suppress(NoRegionError):
            found = read_definition(path).geometry.extent_count
            if found:
                return found
    return extents_needed(image, one.extent_bytes)


def _uuid(text: str) -> str:
    try:
        return str(uuids.UUID(text))
    except ValueError:
        raise InvalidValueError("uuid", text, "a UUID") from None


def _absolute(path: str) -> Path:
    if not path.startswith("/"):
        raise InvalidValueError("path", path, "an absolute path")
    return Path(path.rstrip("/") or "/")


def described(wanted: Wanted, region: Region | None) -> dict[str, Any]:
    """The return value ``region``: what is there, or what will be."""
    geometry = region.definition.geometry if region else wanted.geometry
    return {
        "path": str(wanted.path),
        "uuid": region.definition.uuid if region else wanted.uuid,
        **geometry.as_dict(),
        "bytes": geometry.bytes,
        "complete": region.complete if region else True,
        "format": region.format if region else "none",
    }


def present(module: AnsibleModule, wanted: Wanted) -> dict[str, Any]:
    program = DownstairsProgram(module.params["executable"], module.params["timeout"])
    todo = plan(wanted, program)
    for warning in todo.warnings:
        module.warn(warning)
    if module.check_mode:
        record = read_record(wanted.path)
        done = Seeded(todo.region, None, record, None) if todo.region else None
    else:
        done = carry_out(wanted, todo, program)
        if done.set_aside is not None:
            module.warn(
                f"What an interrupted run left of {wanted.path} is now {done.set_aside}; remove it when nobody needs it."
            )
    region = described(wanted, done.region if done else None)
    result = {"changed": todo.action != "none", "region": region, "diff": _difference(todo, region)}
    if done is not None:
        result.update(_told(todo, done))
    return result


def _difference(todo: Plan, region: dict[str, Any]) -> dict[str, Any]:
    if todo.action == "create":
        return {"before": {}, "after": region}
    if todo.image is not None:
        return {"before": {"image": None}, "after": {"image": todo.image.sha256}}
    return {"before": {}, "after": {}}


def _told(todo: Plan, done: Seeded) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if done.report is not None and todo.image is not None:
        told["import"] = {"bytes": done.report.bytes, "extents": done.report.extents, "sha256": todo.image.sha256}
    if done.record is not None:
        told["image"] = {name: value for name, value in asdict(done.record).items() if name != "modified"}
    if done.set_aside is not None:
        told["quarantined"] = str(done.set_aside)
    return told


def absent(module: AnsibleModule) -> dict[str, Any]:
    path = _absolute(module.params["path"])
    uuid = None if module.params["uuid"] is None else _uuid(module.params["uuid"])
    there = check_removal(path, uuid, force=module.params["force"])
    if there and not module.check_mode:
        remove(path)
    result: dict[str, Any] = {"changed": there}
    result["diff"] = {"before": {"path": str(path)} if there else {}, "after": {}}
    if ledger_path(path).exists():
        result["ledger"] = str(ledger_path(path))
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "uuid": {"type": "str"},
            "block_size": {"type": "int", "default": 512},
            "blocks_per_extent": {"type": "int"},
            "extent_count": {"type": "int"},
            "encrypted": {"type": "bool", "default": False},
            "image": {
                "type": "dict",
                "options": {"src": {"type": "path", "required": True}, "checksum": {"type": "str"}},
            },
            "clone_source": {"type": "str"},
            "verify": {"type": "bool", "default": False},
            "executable": {"type": "str", "default": "crucible-downstairs"},
            "force": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 3600},
            **progress_options(),
        },
        required_if=[("state", "present", ["uuid", "blocks_per_extent"])],
        mutually_exclusive=[("image", "clone_source")],
        supports_check_mode=True,
    )
    try:
        result = present(module, wanted_from(module.params)) if module.params["state"] == "present" else absent(module)
    except CollectionError as error:
        fail(module, error)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
