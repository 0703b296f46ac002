# SPDX-License-Identifier: GPL-3.0-or-later
"""``export``: writes the data of a region to a file, ciphertext if the region is encrypted."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from propolis_lab.downstairs.logs import Logger
from propolis_lab.downstairs.opening import open_logged
from propolis_lab.downstairs.outcome import Failure, Panic
from propolis_lab.region import Age, Definition, Region
from propolis_lab.region.errors import os_error_text

_CHUNK_BYTES = 4 << 20


def export(directory: Path, target: Path, *, count: int, skip: int, age: Age, log: Logger) -> None:
    """Write ``count`` blocks (0: all), the first being where ``skip`` leads, to ``target``.

    Raises RegionError, Failure; Panic for a region without extents, as the real program.
    """
    region = open_logged(directory, age, log, read_only=True)
    definition = region.definition
    if definition.extent_count == 0:
        raise Panic("downstairs/src/lib.rs:469:5", "assertion failed: extent_count > 0")
    wanted = count or definition.total_blocks
    out = sys.stdout
    out.write(
        f"Export total_size: {definition.total_bytes}  Extent size:{definition.extent_bytes}"
        f"  Total Extents:{definition.extent_count}\n"
        f"Exporting from start_block: {skip}  count:{wanted}\n"
    )
    try:
        with target.open("wb", buffering=0) as writer:
            start = start_block(skip, definition)
            done = min(wanted, definition.total_blocks - start)
            _copy(region, start, done, writer.fileno())
    except OSError as error:
        raise Failure(os_error_text(error)) from error
    finally:
        region.close()
    out.write(f"Read and wrote out {done} blocks\n")


def start_block(skip: int, definition: Definition) -> int:
    """The first block that the real program writes for ``--skip``.

    It holds ``skip``, a number of blocks, against the extent's offset in bytes plus the block in the extent: right
    within the first extent, and the start of an earlier extent than wanted after it.
    """
    per_extent = definition.blocks_per_extent
    if skip < per_extent:
        return skip
    extent = max(1, (skip - per_extent + definition.extent_bytes) // definition.extent_bytes)
    inside = max(0, skip - extent * definition.extent_bytes)
    return min(extent * per_extent + inside, definition.total_blocks)


def _copy(region: Region, start: int, count: int, target: int) -> None:
    step = max(1, _CHUNK_BYTES // region.definition.block_size)
    for block in range(start, start + count, step):
        rest = memoryview(region.read_data(block, min(step, start + count - block)))
        while rest:
            rest = rest[os.write(target, rest) :]
