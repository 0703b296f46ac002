# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings regions into the states in which the recorder looked at them, by the lab's own region library.

Run as a program it also plays the process that serves a region of 2023: it opens the region, writes, flushes, says so,
and stays until it is killed, so that the journals of its databases stay behind.
"""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from propolis_lab.region import Age, Definition, Region, context_of
from propolis_lab.region.context import block_hashes

BLOCK = 512
_UUID = UUID("33333333-3333-4333-8333-333333333333")


@dataclass(frozen=True)
class Write:
    """Blocks written from the start of an extent under a generation; ``flush`` None leaves them unflushed."""

    extent: int
    generation: int
    flush: int | None
    blocks: int = 1
    seed: int = 0


def imported_region(path: Path, *, extents: int, blocks_per_extent: int, imported_blocks: int) -> None:
    """A region of 2023 as ``create --import-path`` leaves it, its first blocks holding an image."""
    region = Region.create(path, Definition(BLOCK, blocks_per_extent, 0, _UUID, False), Age.JANUARY_2023)
    region.extend(extents)
    data = random.Random(1).randbytes(imported_blocks * BLOCK)
    region.import_blocks(0, block_hashes(data, BLOCK), memoryview(data))
    region.flush(1, 0)
    region.close()


def new_region(path: Path, *, uuid: str, extents: int, blocks_per_extent: int) -> None:
    """A region of today that was never written."""
    region = Region.create(path, Definition(BLOCK, blocks_per_extent, 0, UUID(uuid), False))
    region.extend(extents)
    region.close()


def write(region: Region, change: Write) -> None:
    """Perform one write on an open region."""
    data = random.Random(change.seed or change.generation).randbytes(change.blocks * BLOCK)
    contexts = [context_of(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)]
    region.write(change.extent * region.definition.blocks_per_extent, contexts, data)
    if change.flush is not None:
        region.flush(change.flush, change.generation)


def change_region(path: Path, *changes: Write) -> None:
    """Perform writes on a closed region and close it again."""
    region = Region.open(path)
    for change in changes:
        write(region, change)
    region.close()


def serve_and_write(path: Path, *changes: Write) -> subprocess.Popen[bytes]:
    """A process that has written the changes and holds the region open until it is killed."""
    arguments = [f"{change.extent},{change.generation},{change.flush}" for change in changes]
    process = subprocess.Popen(
        [sys.executable, __file__, str(path), *arguments],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert process.stdout is not None
    if process.stdout.readline() != b"done\n":
        raise AssertionError(f"the process that should have written {path} ended with {process.wait()}")
    return process


def greatest_numbers(path: Path, mode: str) -> str:
    """What a person finds who asks the databases of a region of 2023, in the words of the recorder's script."""
    numbers: dict[str, list[int]] = {}
    for database in sorted(path.glob("*/*/*.db")):
        connection = sqlite3.connect(f"file:{database}?{mode}", uri=True)
        for name, value in connection.execute("select name, value from metadata"):
            numbers.setdefault(name, []).append(value)
        connection.close()
    generation, flush, dirty = (max(numbers[name]) for name in ("gen_number", "flush_number", "dirty"))
    return f"{path.name} max gen {generation} max flush {flush} any dirty {dirty}"


def _main(path: Path, changes: list[str]) -> None:
    region = Region.open(path)
    for change in changes:
        extent, generation, flush = change.split(",")
        write(region, Write(int(extent), int(generation), int(flush)))
    sys.stdout.write("done\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2:])
