# SPDX-License-Identifier: GPL-3.0-or-later
"""Fills a new region from an image, as unencrypted writes and one flush: generation 0, flush 1."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

from propolis_lab.region import Region, RegionError
from propolis_lab.region.errors import quoted

_CHUNK_BYTES = 4 << 20


def import_image(region: Region, image: Path) -> None:
    """Copy ``image`` to the start of the region, growing the region to fit it; the last block is filled with zeros.

    The size is taken from the file's metadata, so a device counts as empty, as with the real program. Raises OSError
    when the image cannot be read, RegionError when it holds more than its metadata said and than the region can take.
    """
    out = sys.stdout
    definition = region.definition
    file_size = image.stat().st_size
    needed = -(-file_size // definition.extent_bytes)
    out.write(f"Import file_size: {file_size}  Extent size: {definition.extent_bytes}  Needed extents: {needed}\n")
    if needed > definition.extent_count:
        out.write("Extending region to fit image\n")
        region.extend(needed)
    else:
        out.write("Region already large enough for image\n")
    out.write(f"Importing {quoted(image)} to region\n")
    out.flush()
    with image.open("rb", buffering=0) as reader:
        blocks = _copy(region, reader)
    size = definition.block_size
    extents = -(-blocks // definition.blocks_per_extent)
    out.write(f"Populated {extents} extents by copying {blocks * size} bytes ({blocks} blocks)\n")
    region.flush(1, 0)


def _copy(region: Region, reader: BinaryIO) -> int:
    """Write all that ``reader`` holds; gives the number of blocks."""
    size = region.definition.block_size
    chunk = memoryview(bytearray(max(size, _CHUNK_BYTES // size * size)))
    block = 0
    while filled := _fill(reader, chunk):
        blocks = -(-filled // size)
        chunk[filled : blocks * size] = bytes(blocks * size - filled)
        if block + blocks > region.definition.total_blocks:
            raise RegionError(f"the image holds more than the {region.definition.total_bytes} bytes of the region")
        region.import_blocks(block, chunk[: blocks * size])
        block += blocks
    return block


def _fill(reader: BinaryIO, chunk: memoryview) -> int:
    """Read until the chunk is full or the image ends; gives the number of bytes."""
    filled = 0
    while filled < len(chunk) and (count := reader.readinto(chunk[filled:])):  # type: ignore[attr-defined]
        filled += count
    return filled
