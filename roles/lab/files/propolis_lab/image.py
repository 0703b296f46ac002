# SPDX-License-Identifier: GPL-3.0-or-later
"""The two files that a lab needs and that nobody should have to bring: a small boot image and a bootrom.

The boot image has a real master boot record (one partition, the 0x55 0xaa signature), so that the scripted guest finds
what it would find on any disk, and a body that is the same on every machine, so that three hosts can be compared.
The bootrom is as large as a real one may be and holds no code: the stand-in server only looks whether it is there.
"""

from __future__ import annotations

import hashlib
import struct

SECTOR = 512
MIB = 1024 * 1024
FIRST_PARTITION_SECTOR = 2048
PARTITION_TYPE_LINUX = 0x83
BANNER = b"apiary.propolis lab image: a stand-in for an operating system image\r\n"


def master_boot_record(sectors: int) -> bytes:
    """One 512-byte sector: a text where code would be, one active partition over the rest, the signature."""
    partition = struct.pack(
        "<B3sB3sII",
        0x80,
        b"\x00\x02\x00",
        PARTITION_TYPE_LINUX,
        b"\xff\xff\xff",
        FIRST_PARTITION_SECTOR,
        max(sectors - FIRST_PARTITION_SECTOR, 0),
    )
    return BANNER.ljust(446, b"\0") + partition.ljust(64, b"\0") + b"\x55\xaa"


def body(length: int) -> bytes:
    """``length`` bytes that look random and are always the same."""
    return hashlib.shake_256(b"apiary.propolis").digest(length)


def bootable(mib: int) -> bytes:
    """The whole boot image, ``mib`` MiB."""
    size = mib * MIB
    return master_boot_record(size // SECTOR) + body(size - SECTOR)


def bootrom() -> bytes:
    """The whole bootrom, 1 MiB."""
    return b"stand-in for a bootrom: no code\n".ljust(MIB, b"\xff")
