# SPDX-License-Identifier: GPL-3.0-or-later
"""Regions made by hand, byte by byte, so that tests of our readers need neither the program nor its stand-in."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Sequence
from pathlib import Path

UUID = "12345678-0000-4000-8000-000000008810"
Version = tuple[int, int, bool]


def definition(
    block_size: int = 512, blocks: int = 16, extents: int = 3, age: str = "today", **changed: object
) -> dict:
    """region.json as either age writes it."""
    found: dict[str, object] = {
        "block_size": block_size,
        "extent_size": {"value": blocks, "shift": block_size.bit_length() - 1},
        "extent_count": extents,
        "uuid": UUID,
        "encrypted": False,
    }
    if age == "today":
        found |= {"database_read_version": 1, "database_write_version": 1}
    return found | changed


def extent_file(region: Path, number: int) -> Path:
    path = region / f"{number >> 24:02X}" / f"{number >> 12 & 0xFFF:03X}" / f"{number & 0xFFF:03X}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def make_raw(
    region: Path,
    versions: Sequence[Version] = ((0, 0, False),) * 3,
    data: bytes = b"",
    blocks: int = 16,
    **changed: object,
) -> Path:
    """A region of today. ``data`` begins in the first extent."""
    region.mkdir(parents=True)
    (region / "region.json").write_text(
        json.dumps(definition(blocks=blocks, extents=len(versions), **changed), indent=2)
    )
    size = 512 * blocks
    for number, (generation, flush, dirty) in enumerate(versions):
        part = data[number * size : (number + 1) * size].ljust(size, b"\0")
        contexts = bytes(96 * blocks + (blocks + 7) // 8)
        trailer = struct.pack("<?QQIII3x", dirty, generation, flush, 2, 0, 0)
        extent_file(region, number).write_bytes(part + contexts + trailer)
    return region


def make_sqlite(
    region: Path, versions: Sequence[Version] = ((0, 0, False),) * 3, data: bytes = b"", blocks: int = 16
) -> Path:
    """A region of January 2023, its metadata in the main database files."""
    region.mkdir(parents=True)
    (region / "region.json").write_text(
        json.dumps(definition(blocks=blocks, extents=len(versions), age="2023"), indent=2)
    )
    size = 512 * blocks
    for number, (generation, flush, dirty) in enumerate(versions):
        path = extent_file(region, number)
        path.write_bytes(data[number * size : (number + 1) * size].ljust(size, b"\0"))
        connection = sqlite3.connect(path.with_name(path.name + ".db"))
        with connection:
            connection.execute("pragma journal_mode=wal")
            connection.execute("create table metadata (name text primary key, value integer not null)")
            rows = {"ext_version": 1, "gen_number": generation, "flush_number": flush, "dirty": int(dirty)}
            connection.executemany("insert into metadata values (?, ?)", rows.items())
        connection.close()
    return region
