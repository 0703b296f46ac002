# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the parts of a raw extent file lie, and the 32 bytes at its end. Seen on the real program.

All offsets and sizes in bytes. With B bytes a block and N blocks: data N*B, context slots A 48*N, slots B 48*N, one bit
for each block ceil(N/8), metadata 32.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from propolis_lab.region.context import SLOT_SIZE

METADATA_SIZE = 32
RAW_VERSION = 2
_METADATA = struct.Struct("<BQQIII3x")


@dataclass(frozen=True)
class Layout:
    """The offsets of one extent file; all extents of a region have the same."""

    block_size: int
    blocks: int

    @property
    def data_size(self) -> int:
        return self.block_size * self.blocks

    @property
    def slots_size(self) -> int:
        """The size of one of the two slot arrays."""
        return SLOT_SIZE * self.blocks

    @property
    def bitmap_offset(self) -> int:
        return self.data_size + 2 * self.slots_size

    @property
    def bitmap_size(self) -> int:
        return (self.blocks + 7) // 8

    @property
    def metadata_offset(self) -> int:
        return self.bitmap_offset + self.bitmap_size

    @property
    def file_size(self) -> int:
        return self.metadata_offset + METADATA_SIZE

    def slot_offset(self, array: int, block: int) -> int:
        """Where the slot of ``block`` is in array 0 (A) or 1 (B)."""
        return self.data_size + array * self.slots_size + SLOT_SIZE * block


@dataclass(frozen=True)
class Metadata:
    """The end of a raw extent file; the two counts are for people who study performance."""

    dirty: bool = False
    generation: int = 0
    flush: int = 0
    version: int = RAW_VERSION
    bonus_syncs: int = 0
    defragmentations: int = 0

    def pack(self) -> bytes:
        return _METADATA.pack(
            self.dirty,
            self.generation,
            self.flush,
            self.version,
            self.bonus_syncs & 0xFFFFFFFF,
            self.defragmentations & 0xFFFFFFFF,
        )

    @classmethod
    def unpack(cls, data: bytes) -> Metadata:
        """From 32 bytes. Raises ValueError when the dirty mark is neither 0 nor 1."""
        dirty, generation, flush, version, bonus_syncs, defragmentations = _METADATA.unpack(data)
        if dirty > 1:
            raise ValueError(f"invalid u8 while decoding bool, expected 0 or 1, found {dirty}")
        return cls(bool(dirty), generation, flush, version, bonus_syncs, defragmentations)


def extent_name(extent: int) -> str:
    """``01A``: the last part of the name of extent 26."""
    return f"{extent & 0xFFF:03X}"


def extent_path(directory: Path, extent: int) -> Path:
    """``00/000/01A`` under the region's directory for extent 26: hexadecimal, upper case."""
    return directory / f"{extent >> 24 & 0xFF:02X}" / f"{extent >> 12 & 0xFFF:03X}" / extent_name(extent)
