# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds the blocks of a raw extent against their context slots: after a crash, and for ``verify``.

Whole arrays are compared where they agree, which is nearly always; single blocks only where they do not.
"""

from __future__ import annotations

from array import array

from propolis_lab.region import files
from propolis_lab.region.bitmap import Bitmap, runs
from propolis_lab.region.context import SLOT_SIZE, Slot, block_hashes, plain_stored_hashes, unpack_slots
from propolis_lab.region.errors import RegionError
from propolis_lab.region.extent import Damage
from propolis_lab.region.layout import Layout

_CHUNK_BYTES = 4 << 20


def active_slots(descriptor: int, number: int, layout: Layout) -> Bitmap:
    """Which slot of each block fits the bytes on disk: bit 1 for B.

    Both empty: A. Both fit: B. Neither fits: the first empty one (the block counts as never written). Raises
    RegionError when neither fits and none is empty.
    """
    active = Bitmap(layout.blocks)
    step = max(1, _CHUNK_BYTES // layout.block_size)
    for start in range(0, layout.blocks, step):
        count = min(step, layout.blocks - start)
        slots_a, slots_b = (
            files.read_at(descriptor, count * SLOT_SIZE, layout.slot_offset(which, start)) for which in (0, 1)
        )
        if not any(slots_a[0::SLOT_SIZE]) and not any(slots_b[0::SLOT_SIZE]):
            continue
        data = files.read_at(descriptor, count * layout.block_size, start * layout.block_size)
        hashes = block_hashes(data, layout.block_size)
        if plain_stored_hashes(slots_b) == array("Q", hashes).tobytes():
            active.fill(start, count)
        else:
            chosen = _choose(number, start, hashes, unpack_slots(slots_a), unpack_slots(slots_b))
            active.toggle(start, count, chosen)
    return active


def _choose(number: int, start: int, hashes: list[int], in_a: list[Slot | None], in_b: list[Slot | None]) -> int:
    """One bit for each block of a range whose first block is ``start``: 1 where slot B is the active one."""
    chosen = 0
    for index, (found, slot_a, slot_b) in enumerate(zip(hashes, in_a, in_b, strict=True)):
        if slot_b is not None and slot_b.stored_hash == found:
            chosen |= 1 << index
        elif slot_a is None or slot_a.stored_hash == found:
            continue
        elif slot_b is None:
            chosen |= 1 << index
        else:
            raise RegionError(f"missing context slot for block {start + index} in extent {number} ({found:016x})")
    return chosen


def find_damage(descriptor: int, layout: Layout, active: Bitmap) -> list[Damage]:
    """The first block whose bytes do not fit its active slot, or that is unwritten yet not all zero."""
    step = max(1, _CHUNK_BYTES // layout.block_size)
    for start in range(0, layout.blocks, step):
        count = min(step, layout.blocks - start)
        slots = b"".join(
            files.read_at(descriptor, length * SLOT_SIZE, layout.slot_offset(which, start + offset))
            for offset, length, which in runs(active.get(start, count), count)
        )
        data = files.read_at(descriptor, count * layout.block_size, start * layout.block_size)
        if not any(slots[0::SLOT_SIZE]) and data.count(0) == len(data):
            continue
        hashes = block_hashes(data, layout.block_size)
        if plain_stored_hashes(slots) == array("Q", hashes).tobytes():
            continue
        for index, (slot, found) in enumerate(zip(unpack_slots(slots), hashes, strict=True)):
            at = index * layout.block_size
            if slot is not None and slot.stored_hash != found:
                return [Damage(start + index, f"block {start + index} has an active slot with mismatched hash")]
            if slot is None and any(data[at : at + layout.block_size]):
                text = f"block {start + index} has an empty active slot, but contains non-zero data"
                return [Damage(start + index, text)]
    return []
