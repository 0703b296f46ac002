# SPDX-License-Identifier: GPL-3.0-or-later
"""One bit for each block of an extent, least significant bit first, as raw extents store their active slots."""

from __future__ import annotations

from collections.abc import Iterator


class Bitmap:
    """``size`` bits in ``ceil(size / 8)`` bytes; ranges of bits travel as integers whose bit 0 is the first."""

    def __init__(self, size: int, data: bytes | None = None) -> None:
        length = (size + 7) // 8
        if data is not None and len(data) != length:
            raise ValueError(f"{size} bits need {length} bytes, not {len(data)}")
        self.size = size
        self._bytes = bytearray(length) if data is None else bytearray(data)

    def __bytes__(self) -> bytes:
        return bytes(self._bytes)

    def get(self, start: int, count: int) -> int:
        """The bits of ``count`` blocks from ``start``."""
        window = int.from_bytes(self._bytes[start >> 3 : (start + count + 7) >> 3], "little")
        return (window >> (start & 7)) & ((1 << count) - 1)

    def toggle(self, start: int, count: int, mask: int | None = None) -> None:
        """Flip the bits of the range that are set in ``mask`` (default: all of the range)."""
        if mask is None:
            mask = (1 << count) - 1
        first, end = start >> 3, (start + count + 7) >> 3
        window = int.from_bytes(self._bytes[first:end], "little") ^ (mask << (start & 7))
        self._bytes[first:end] = window.to_bytes(end - first, "little")

    def fill(self, start: int, count: int) -> None:
        """Set all bits of the range."""
        self.toggle(start, count, ~self.get(start, count) & ((1 << count) - 1))

    def clear(self) -> None:
        """Clear all bits."""
        self._bytes[:] = bytes(len(self._bytes))


def runs(bits: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Runs of equal bits in a range: (offset, length, bit), in order.

    A range whose bits are all equal, nearly always the case, costs one step however long it is.
    """
    offset = 0
    while offset < count:
        rest = bits >> offset
        bit = rest & 1
        # The lowest bit that differs from the first one ends the run.
        other = ~rest if bit else rest
        length = count - offset if other == 0 else (other & -other).bit_length() - 1
        length = min(length, count - offset)
        yield offset, length, bit
        offset += length
