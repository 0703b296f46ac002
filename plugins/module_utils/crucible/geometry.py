# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of a region: what is allowed, what differs, what it needs on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .errors import InvalidValueError

MIN_BLOCK_SIZE = 512
MAX_BLOCK_SIZE = 32768
MAX_EXTENT_BYTES = 1 << 29
MAX_EXTENT_COUNT = (1 << 32) - 1

# A raw extent keeps, after its blocks, two context slots and one bit for each block, then a trailer.
CONTEXT_BYTES = 48
TRAILER_BYTES = 32
# A SQLite extent of January 2023: the database of a fully written extent of 64000 blocks was 4247552 bytes.
SQLITE_BYTES_PER_BLOCK = 67
SQLITE_EMPTY_BYTES = 20480


@dataclass(frozen=True)
class Difference:
    """One field that is not as expected."""

    field: str
    found: Any
    expected: Any

    def __str__(self) -> str:
        return f"{self.field} is {self.found}, expected {self.expected}"

    def as_dict(self) -> dict[str, Any]:
        return {"field": self.field, "found": self.found, "expected": self.expected}


@dataclass(frozen=True)
class Geometry:
    """``block_size`` in bytes, ``blocks_per_extent`` in blocks (the ``--extent-size`` of crucible-downstairs)."""

    block_size: int
    blocks_per_extent: int
    extent_count: int
    encrypted: bool = False

    @property
    def extent_bytes(self) -> int:
        return self.block_size * self.blocks_per_extent

    @property
    def bytes(self) -> int:
        """What a guest sees of it."""
        return self.extent_bytes * self.extent_count

    @property
    def raw_extent_file_bytes(self) -> int:
        """The exact size of one raw extent file, seen on the real program: 60845 for 100 blocks of 512 bytes."""
        blocks = self.blocks_per_extent
        return self.extent_bytes + 2 * CONTEXT_BYTES * blocks + (blocks + 7) // 8 + TRAILER_BYTES

    def bytes_on_disk(self, data_bytes: int) -> int:
        """What a region needs on disk when ``data_bytes`` of it are written, metadata of those extents included.

        Extents are sparse, so that an unwritten one needs next to nothing; contexts lie between data and trailer.
        """
        extents = -(-data_bytes // self.extent_bytes)
        blocks = -(-data_bytes // self.block_size)
        metadata = max(2 * CONTEXT_BYTES, SQLITE_BYTES_PER_BLOCK) * blocks
        return blocks * self.block_size + metadata + extents * SQLITE_EMPTY_BYTES

    def validated(self) -> Geometry:
        """Itself, or InvalidValueError. Stricter than the program, which takes 1536 for 512 without a word."""
        size = self.block_size
        if size < MIN_BLOCK_SIZE or size > MAX_BLOCK_SIZE or size & (size - 1):
            raise InvalidValueError("block_size", size, f"a power of two from {MIN_BLOCK_SIZE} to {MAX_BLOCK_SIZE}")
        if self.blocks_per_extent < 1:
            raise InvalidValueError("blocks_per_extent", self.blocks_per_extent, "at least 1 block")
        if self.extent_bytes > MAX_EXTENT_BYTES:
            raise InvalidValueError(
                "blocks_per_extent", self.blocks_per_extent,
                f"at most {MAX_EXTENT_BYTES // size} blocks of {size} bytes, as an extent is at most 512 MiB",
            )  # fmt: skip
        if not 1 <= self.extent_count <= MAX_EXTENT_COUNT:
            raise InvalidValueError("extent_count", self.extent_count, f"1 to {MAX_EXTENT_COUNT}")
        return self

    def differences_from(self, expected: Geometry) -> list[Difference]:
        """What is not as in ``expected``, field by field, in the order of the fields."""
        return [
            Difference(field.name, getattr(self, field.name), getattr(expected, field.name))
            for field in fields(self)
            if getattr(self, field.name) != getattr(expected, field.name)
        ]

    def as_dict(self) -> dict[str, int | bool]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def disagreements(geometries: Mapping[str, Geometry]) -> list[str]:
    """One sentence for each field in which the named geometries do not agree, the rarest value last.

    ``{"ds0": a, "ds1": a, "ds2": b}`` gives for example ``extent_count is 64 at ds0, ds1 but 65 at ds2``.
    """
    sentences = []
    for field in fields(Geometry):
        places: dict[Any, list[str]] = {}
        for name, geometry in geometries.items():
            places.setdefault(getattr(geometry, field.name), []).append(name)
        if len(places) > 1:
            ordered = sorted(places.items(), key=lambda item: -len(item[1]))
            parts = [f"{value} at {', '.join(names)}" for value, names in ordered]
            sentences.append(f"{field.name} is {' but '.join(parts)}")
    return sentences
