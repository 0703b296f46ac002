# SPDX-License-Identifier: GPL-3.0-or-later
"""Fills a new region from an image, as unencrypted writes and one flush: generation 0, flush 1."""

from __future__ import annotations

import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from propolis_lab.region import Region, RegionError
from propolis_lab.region.context import block_hashes
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
    """Write all that ``reader`` holds; gives the number of blocks.

    One chunk is read and hashed while the one before it is written and finished extents reach the disk.
    """
    size = region.definition.block_size
    per_extent = region.definition.blocks_per_extent
    chunks = [memoryview(bytearray(max(size, _CHUNK_BYTES // size * size))) for _unused in range(2)]
    block = 0
    writing: Future[None] | None = None
    settling: list[Future[None]] = []
    with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(1) as settler:
        while filled := _fill(reader, chunks[0]):
            count = -(-filled // size)
            data = chunks[0][: count * size]
            data[filled:] = bytes(count * size - filled)
            if block + count > region.definition.total_blocks:
                raise RegionError(f"the image holds more than the {region.definition.total_bytes} bytes of the region")
            hashes = block_hashes(data, size)
            if writing is not None:
                writing.result()
            for extent in range(max(0, block - count) // per_extent, block // per_extent):
                settling.append(settler.submit(region.settle, extent))
            writing = writer.submit(region.import_blocks, block, hashes, data)
            chunks.reverse()
            block += count
        if writing is not None:
            writing.result()
        for settled in settling:
            settled.result()
    return block


def _fill(reader: BinaryIO, chunk: memoryview) -> int:
    """Read until the chunk is full or the image ends; gives the number of bytes."""
    filled = 0
    while filled < len(chunk) and (count := reader.readinto(chunk[filled:])):  # type: ignore[attr-defined]
        filled += count
    return filled
