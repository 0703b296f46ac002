# SPDX-License-Identifier: GPL-3.0-or-later
"""The few operations by which a region touches its files.

Everything that changes a raw extent goes through ``write_at`` and ``sync``, so that a test can stop the program between
any two of them.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

Buffer = bytes | bytearray | memoryview


def write_at(descriptor: int, data: Buffer, offset: int) -> None:
    """Write all of ``data`` at ``offset`` (bytes)."""
    rest = memoryview(data).cast("B")
    while rest:
        done = os.pwrite(descriptor, rest, offset)
        rest = rest[done:]
        offset += done


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """``size`` bytes from ``offset``; fewer only at the end of the file."""
    data = os.pread(descriptor, size, offset)
    if len(data) == size or not data:
        return data
    parts = [data]
    have = len(data)
    while have < size and (data := os.pread(descriptor, size - have, offset + have)):
        parts.append(data)
        have += len(data)
    return b"".join(parts)


def sync(descriptor: int) -> None:
    """Wait until what was written to the file is on the disk."""
    os.fsync(descriptor)


def sync_directory(path: Path) -> None:
    """Wait until the names in a directory are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def rename(old: Path, new: Path) -> None:
    """Give a file or directory its new name and wait until the name is on the disk."""
    old.rename(new)
    sync_directory(new.parent)


def remove_tree(path: Path) -> None:
    """Remove a directory with all in it, and wait until it is gone from the disk."""
    shutil.rmtree(path)
    sync_directory(path.parent)


def copy_synced(source: Path, target: Path) -> None:
    """Copy a file's bytes over ``target`` and wait until they are on the disk."""
    with source.open("rb") as reader, target.open("wb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
        writer.flush()
        sync(writer.fileno())
