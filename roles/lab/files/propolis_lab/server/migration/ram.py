# SPDX-License-Identifier: GPL-3.0-or-later
"""Moving memory that is not there: the right number of bytes at the right pace, one sample page for each run of pages.

A run is announced as MEM_XFER (first address u64, end address u64, little endian) followed by one PAGE of 4096 bytes;
MEM_END ends a pass, MEM_DONE of the destination acknowledges it. The destination checks that the runs cover what the
pass promised.
"""

from __future__ import annotations

import asyncio
import struct

from propolis_lab.server.migration.channel import Channel, ChannelError, Tag

PAGE_BYTES = 4096
_RUN_BYTES = 8 * 1024 * 1024
_RANGE = struct.Struct("<QQ")
_EVERYTHING = _RANGE.pack(0, (1 << 64) - 1)
_SHORTEST_SLEEP = 0.002


async def push(channel: Channel, count: int, bytes_per_second: float) -> None:
    """The source's half of one pass over `count` bytes of memory."""
    await channel.expect(Tag.MEM_QUERY)
    await channel.send(Tag.MEM_OFFER, _RANGE.pack(0, count))
    loop = asyncio.get_running_loop()
    began = loop.time()
    page = bytes(PAGE_BYTES)
    for start in range(0, count, _RUN_BYTES):
        end = min(start + _RUN_BYTES, count)
        await channel.send(Tag.MEM_XFER, _RANGE.pack(start, end))
        await channel.send(Tag.PAGE, page)
        ahead = began + end / bytes_per_second - loop.time()
        if ahead > _SHORTEST_SLEEP:
            await asyncio.sleep(ahead)
    await finish(channel)


async def finish(channel: Channel) -> None:
    """The source's last word of a pass, and the destination's."""
    await channel.send(Tag.MEM_END, _EVERYTHING)
    await channel.expect(Tag.MEM_DONE)


async def ask(channel: Channel) -> None:
    """The destination's first word of a pass."""
    await channel.send(Tag.MEM_QUERY, _EVERYTHING)


async def pull(channel: Channel) -> int:
    """The destination's half of one pass; returns how many bytes of memory were transferred."""
    await ask(channel)
    _start, promised = _RANGE.unpack(await channel.expect(Tag.MEM_OFFER))
    received = 0
    while True:
        frame = await channel.receive()
        if frame.tag is Tag.MEM_END:
            break
        if frame.tag is not Tag.MEM_XFER:
            raise ChannelError(f"unexpected message {frame.tag.name} in a memory pass")
        start, end = _RANGE.unpack(frame.payload)
        if start != received or end <= start:
            raise ChannelError(f"memory run {start:#x} to {end:#x} does not follow {received:#x}")
        if len(await channel.expect(Tag.PAGE)) != PAGE_BYTES:
            raise ChannelError("a page of another size")
        received = end
    if received != promised:
        raise ChannelError(f"memory pass ended at {received:#x}, promised was {promised:#x}")
    await channel.send(Tag.MEM_DONE)
    return received


def dirty_bytes(seconds: float, bytes_per_second: float, memory: int) -> int:
    """How much memory the guest has changed meanwhile, in whole pages, at most all of it."""
    return min(memory, int(seconds * bytes_per_second) // PAGE_BYTES * PAGE_BYTES)
