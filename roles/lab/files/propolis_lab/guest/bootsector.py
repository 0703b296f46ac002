# SPDX-License-Identifier: GPL-3.0-or-later
"""What a firmware finds at the beginning of a disk: MBR, GPT, ISO 9660, or nothing to boot from."""

from __future__ import annotations

import struct

PROBE_BYTES = 64 * 1024
_ISO_OFFSET = 0x8001
_PROTECTIVE = 0xEE


def describe(start: bytes, block_size: int) -> list[str]:
    """One line for each thing that was found in the first PROBE_BYTES of the disk; a single sentence when there is
    none."""
    found: list[str] = []
    if start[510:512] == b"\x55\xaa":
        kinds = [start[446 + 16 * entry + 4] for entry in range(4)]
        used = [kind for kind in kinds if kind]
        active = sum(1 for entry in range(4) if start[446 + 16 * entry] == 0x80)
        if _PROTECTIVE in used:
            found.append("protective MBR, signature 55aa")
        else:
            found.append(f"MBR, signature 55aa, {_count(len(used), 'partition')}, {active} active")
    for size in dict.fromkeys((block_size, 512, 4096)):
        if start[size : size + 8] == b"EFI PART":
            (entries,) = struct.unpack_from("<I", start, size + 80)
            found.append(f"GPT with room for {_count(entries, 'partition')}")
            break
    if start[_ISO_OFFSET : _ISO_OFFSET + 5] == b"CD001":
        label = start[0x8028:0x8048].decode("ascii", "replace").strip(" \0")
        found.append(f"ISO 9660 volume {label!r}" if label else "ISO 9660 volume without a label")
    return found or ["no bootable medium: no 55aa signature, no GPT, no ISO 9660"]


def bootable(start: bytes) -> bool:
    """Whether a firmware would jump into this disk's first sector or its ISO boot catalogue."""
    return start[510:512] == b"\x55\xaa" or start[_ISO_OFFSET : _ISO_OFFSET + 5] == b"CD001"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
