# SPDX-License-Identifier: GPL-3.0-or-later
"""Heartbeats on disk: numbered records in a ring of slots in the last 64 KiB of the guest's first Crucible disk.

For a checker that reads region files or an exported image: the ring starts at byte `size - 65536`, a slot is one
block, there are `65536 / block_size` of them, and heartbeat N stands in slot `N mod slots`. A record, little endian,
from the slot's first byte, the rest of the block is zero:

    offset  0  8 bytes   b"LABBEAT1"
            8  u64       number, from 1, one higher for each heartbeat, over reboots and migrations
           16  u64       tick: the guest's counter in memory, from 0 at each cold boot
           24  u64       time, nanoseconds since 1970
           32  u64       boot: number of the cold boot in which it was written, from 1, over all of this disk's life
           40  16 bytes  id of the instance that wrote it
           56  u64       generation of the disk session it was written through
           64  u32       CRC-32 of bytes 0 to 63
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from uuid import UUID

RING_BYTES = 64 * 1024
_MAGIC = b"LABBEAT1"
_BODY = struct.Struct("<8sQQQQ16sQ")
_CRC = struct.Struct("<I")


@dataclass(frozen=True)
class Heartbeat:
    """One record."""

    number: int
    tick: int
    nanoseconds: int
    boot: int
    instance: UUID
    generation: int

    def encode(self, block_size: int) -> bytes:
        """The whole slot."""
        body = _BODY.pack(
            _MAGIC, self.number, self.tick, self.nanoseconds, self.boot, self.instance.bytes, self.generation
        )
        return (body + _CRC.pack(zlib.crc32(body))).ljust(block_size, b"\0")


def decode(slot: bytes) -> Heartbeat | None:
    """The record in a slot, or None when there is none or its CRC is wrong."""
    if len(slot) < _BODY.size + _CRC.size or not slot.startswith(_MAGIC):
        return None
    (crc,) = _CRC.unpack_from(slot, _BODY.size)
    if crc != zlib.crc32(slot[: _BODY.size]):
        return None
    _magic, number, tick, nanoseconds, boot, instance, generation = _BODY.unpack_from(slot)
    return Heartbeat(number, tick, nanoseconds, boot, UUID(bytes=instance), generation)


class NoRoomError(Exception):
    """There is no place for heartbeats on this disk; the text says why."""


@dataclass(frozen=True)
class Ring:
    """Where the slots of a disk are."""

    disk_size: int
    block_size: int

    def __post_init__(self) -> None:
        if self.disk_size < 2 * RING_BYTES:
            raise NoRoomError(f"the disk has {self.disk_size} bytes, less than {2 * RING_BYTES}")

    @property
    def start(self) -> int:
        return self.disk_size - RING_BYTES

    @property
    def slots(self) -> int:
        return RING_BYTES // self.block_size

    def offset(self, number: int) -> int:
        """Byte offset of the slot of heartbeat `number`."""
        return self.start + number % self.slots * self.block_size

    def last(self, content: bytes) -> Heartbeat | None:
        """The newest record of the ring's content; raises NoRoomError when somebody else's data is there."""
        newest: Heartbeat | None = None
        foreign = False
        for slot in range(self.slots):
            block = content[slot * self.block_size : (slot + 1) * self.block_size]
            record = decode(block)
            if record is not None and (newest is None or record.number > newest.number):
                newest = record
            foreign = foreign or (record is None and any(block) and not block.startswith(_MAGIC))
        if foreign:
            raise NoRoomError(f"the last {RING_BYTES // 1024} KiB hold other data")
        return newest
