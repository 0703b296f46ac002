# SPDX-License-Identifier: GPL-3.0-or-later
"""The processor that the imaginary guest of the lab sees: a small CPUID table in the form in which the real server
prints one.

The real server fills the table from the host's processor. There is no such processor here, so the table is always
this one.
"""

from __future__ import annotations

import struct
from typing import Any

CPUID_VENDOR = "amd"
_BRAND = b"Lab stand-in, no real processor"


def _entry(leaf: int, registers: tuple[int, int, int, int], subleaf: int | None = None) -> dict[str, Any]:
    return {"leaf": leaf, "subleaf": subleaf, **dict(zip(("eax", "ebx", "ecx", "edx"), registers, strict=True))}


def _vendor(leaf: int, highest: int) -> dict[str, Any]:
    ebx, edx, ecx = struct.unpack("<3I", b"AuthenticAMD")
    return _entry(leaf, (highest, ebx, ecx, edx))


def _brand() -> list[dict[str, Any]]:
    text = _BRAND.ljust(48, b"\0")
    return [_entry(0x80000002 + part, struct.unpack_from("<4I", text, 16 * part)) for part in range(3)]


CPUID_ENTRIES: tuple[dict[str, Any], ...] = (
    _vendor(0, 0xD),
    _entry(0x1, (0x00A20F10, 0x00000800, 0x80002001, 0x078BFBFF)),
    _entry(0x7, (0, 0, 0, 0), subleaf=0),
    _entry(0xD, (0x7, 0x340, 0x340, 0), subleaf=0),
    _vendor(0x80000000, 0x80000008),
    _entry(0x80000001, (0x00A20F10, 0, 0, 0x2FD3FBFF)),
    *_brand(),
    _entry(0x80000008, (0x3030, 0, 0, 0)),
)
