# SPDX-License-Identifier: GPL-3.0-or-later
"""Small regions for tests, blocks that hold one byte over and over, and what a region holds in such terms."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from propolis_lab.region import Age, Definition, Region, context_of

ID = UUID("12345678-0000-4000-8000-000000000001")
BLOCK = 512


def new_region(path: Path, age: Age, *, blocks: int = 8, extents: int = 3) -> Region:
    """An open region that was never written."""
    region = Region.create(path, Definition(BLOCK, blocks, 0, ID), age)
    region.extend(extents)
    return region


def write_blocks(region: Region, start: int, seed: int, count: int = 1, *, only_unwritten: bool = False) -> None:
    """Write blocks full of the byte ``seed``."""
    data = bytes([seed]) * BLOCK
    region.write(start, [context_of(data)] * count, data * count, only_unwritten=only_unwritten)


def first_bytes(region: Region) -> list[int | None]:
    """The first byte of each block, None for one that was never written."""
    contexts, data = region.read(0, region.definition.total_blocks)
    return [None if context is None else data[block * BLOCK] for block, context in enumerate(contexts)]
