# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes from a volume into a file and back, in pieces of a megabyte, several of them under way at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO

from propolis_lab.upstairs import Upstairs

PIECE = 1024 * 1024
DEPTH = 8


def pieces(offset: int, length: int, block_size: int) -> Iterator[tuple[int, int]]:
    """Offset and length of each piece; all but the last end at a multiple of the block size."""
    step = max(PIECE // block_size, 1) * block_size
    end = offset + length
    while offset < end:
        stop = min(end, offset + step - offset % block_size)
        yield offset, stop - offset
        offset = stop


async def read_to(volume: Upstairs, output: BinaryIO, offset: int, length: int) -> None:
    """Copy ``length`` bytes from ``offset`` on into a file. Raises IoError and OSError."""
    under_way: deque[asyncio.Task[bytes]] = deque()
    try:
        for start, count in pieces(offset, length, volume.block_size):
            under_way.append(asyncio.create_task(_read(volume, start, count)))
            if len(under_way) >= DEPTH:
                output.write(await under_way.popleft())
        while under_way:
            output.write(await under_way.popleft())
    finally:
        for task in under_way:
            task.cancel()
    output.flush()


async def write_from(volume: Upstairs, source: BinaryIO, offset: int, most: int | None) -> int:
    """Copy a file to ``offset`` of a volume and flush; how many bytes it was.

    Raises IoError, OSError, and ValueError when the file is longer than the room in the volume (what fits is written).
    """
    room = volume.size - offset
    wanted = room if most is None else most
    total = 0
    under_way: set[asyncio.Task[None]] = set()
    for start, count in pieces(offset, min(wanted, room), volume.block_size):
        data = await asyncio.to_thread(_full_read, source, count)
        if data:
            under_way.add(asyncio.create_task(_write(volume, start, data)))
            total += len(data)
        if len(under_way) >= DEPTH:
            done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        if len(data) < count:
            break
    for task in under_way:
        await task
    await volume.flush()
    more = await asyncio.to_thread(_full_read, source, 1) if total == room and (most is None or most > room) else b""
    if more:
        raise ValueError(f"The volume ends at byte {volume.size}: {total} bytes were written, the rest did not fit.")
    return total


def _full_read(source: BinaryIO, count: int) -> bytes:
    """``count`` bytes, fewer only at the end of the file; a pipe may give them in parts."""
    parts = []
    while count and (part := source.read(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


async def _read(volume: Upstairs, offset: int, length: int) -> bytes:
    """Any bytes: the blocks that hold them are read whole."""
    before = offset % volume.block_size
    after = -(offset + length) % volume.block_size
    data = await volume.read(offset - before, before + length + after)
    return data[before : before + length]


async def _write(volume: Upstairs, offset: int, data: bytes) -> None:
    """Any bytes: a block that is only partly covered is read first and written with its other bytes as they are."""
    size = volume.block_size
    before, after = offset % size, -(offset + len(data)) % size
    head = await volume.read(offset - before, size) if before else b""
    tail = await volume.read(offset + len(data) + after - size, size) if after else b""
    await volume.write(offset - before, head[:before] + data + (tail[size - after :] if after else b""))
