# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the two files that a lab needs and that nobody should have to bring: a small boot image and a bootrom.

``python -m propolis_lab.image bootable PATH --mib 8``
``python -m propolis_lab.image bootrom PATH --mib 1``

The boot image has a real master boot record (one partition, the 0x55 0xaa signature), so that the scripted guest finds
what it would find on any disk, and a body that is the same on every machine, so that three hosts can be compared.
The bootrom is as large as a real one may be and holds no code: the stand-in server only looks whether it is there.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import struct
import sys
from pathlib import Path

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


def contents(kind: str, mib: int) -> bytes:
    """The whole file of a kind (``bootable`` or ``bootrom``)."""
    size = mib * MIB
    if kind == "bootrom":
        return b"stand-in for a bootrom: no code\n".ljust(size, b"\xff")
    return master_boot_record(size // SECTOR) + body(size - SECTOR)


def write_whole(path: Path, data: bytes) -> None:
    """Write under another name, make it durable, rename: a reader sees the whole file or none."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit status 0, or 1 with one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m propolis_lab.image", description=__doc__)
    parser.add_argument("kind", choices=("bootable", "bootrom"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--mib", type=int, default=8, help="size in MiB, at least 1")
    options = parser.parse_args(arguments)
    if options.mib < 1:
        parser.error(f"--mib is {options.mib}; at least 1 is needed")
    try:
        write_whole(options.path, contents(options.kind, options.mib))
    except OSError as error:
        print(f"Error: cannot write {options.path}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
