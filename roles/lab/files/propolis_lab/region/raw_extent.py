# SPDX-License-Identifier: GPL-3.0-or-later
"""One raw extent file, the format of today: order of writes, ping-pong of context slots, reopening after a crash.

Why a crash loses nothing that was flushed: an extent is marked dirty, durably, before its first write; a context goes
into the slot that does not describe the durable data; and no block is written twice without an fsync in between. So
one of a block's two slots always fits the bytes on the disk, and a dirty extent is read by asking which.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from propolis_lab.region import files
from propolis_lab.region.bitmap import Bitmap, runs
from propolis_lab.region.context import SLOT_SIZE, BlockContext, contexts_in, pack_plain_slots, pack_slots
from propolis_lab.region.errors import RegionError, os_error_text, quoted
from propolis_lab.region.extent import Damage, ExtentVersion
from propolis_lab.region.files import Buffer
from propolis_lab.region.layout import METADATA_SIZE, RAW_VERSION, Layout, Metadata, extent_name
from propolis_lab.region.recovery import active_slots, find_damage

_DEFRAGMENT_ABOVE = 3


class RawExtent:
    """An open raw extent. ``open`` makes it; see ``Extent`` for what the methods mean."""

    def __init__(self, number: int, layout: Layout, descriptor: int, metadata: Metadata, active: Bitmap) -> None:
        self.number = number
        self._layout = layout
        self._descriptor = descriptor
        self._metadata = metadata
        self._active = active
        self._unsynced = Bitmap(layout.blocks)
        self._slot_accesses = 0
        self._extra_accesses = 0

    @classmethod
    def open(cls, path: Path, number: int, layout: Layout, *, read_only: bool) -> RawExtent:
        """Open the file; which slots are active comes from the file or, if the extent is dirty, from the data.

        Raises RegionError: no file, wrong size, not a raw extent, or a dirty block that fits neither of its slots.
        """
        try:
            descriptor = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
        except OSError as error:
            text = os_error_text(error)
            raise RegionError(f"IO Error: extent {number}: open of {quoted(path)} failed: {text}") from error
        try:
            if not read_only:
                files.sync(descriptor)
            metadata = _read_metadata(descriptor, number, layout)
            if metadata.dirty:
                active = active_slots(descriptor, number, layout)
            else:
                active = Bitmap(layout.blocks, files.read_at(descriptor, layout.bitmap_size, layout.bitmap_offset))
        except BaseException:
            os.close(descriptor)
            raise
        return cls(number, layout, descriptor, metadata, active)

    @property
    def version(self) -> ExtentVersion:
        return ExtentVersion(self._metadata.generation, self._metadata.flush, self._metadata.dirty)

    def read(self, start: int, count: int) -> tuple[Sequence[BlockContext | None], bytes]:
        return contexts_in(self._read_slots(start, count)), self.read_data(start, count)

    def read_data(self, start: int, count: int) -> bytes:
        size = self._layout.block_size
        return files.read_at(self._descriptor, count * size, start * size)

    def unwritten(self, start: int, count: int) -> list[tuple[int, int]]:
        marks = self._read_slots(start, count)[0::SLOT_SIZE]
        found = []
        position = 0
        while (first := marks.find(0, position)) >= 0:
            after = marks.find(1, first)
            position = len(marks) if after < 0 else after
            found.append((start + first, position - first))
        return found

    def write(self, start: int, contexts: Sequence[BlockContext], hashes: Sequence[int], data: Buffer) -> None:
        self._write_slots(start, pack_slots(contexts, hashes, self._metadata.flush), data)

    def import_blocks(self, start: int, hashes: Sequence[int], data: Buffer) -> None:
        self._write_slots(start, pack_plain_slots(hashes, self._metadata.flush), data)

    def _write_slots(self, start: int, slots: bytes, data: Buffer) -> None:
        """Write blocks whose slots are made already (their low bits of the flush number included)."""
        count = len(slots) // SLOT_SIZE
        layout = self._layout
        self._mark_dirty()
        if self._unsynced.get(start, count):
            self._sync()
            self._metadata = replace(self._metadata, bonus_syncs=self._metadata.bonus_syncs + 1)
        active = self._active.get(start, count)
        for offset, length, array in runs(active, count):
            part = slots[offset * SLOT_SIZE : (offset + length) * SLOT_SIZE]
            files.write_at(self._descriptor, part, layout.slot_offset(1 - array, start + offset))
            self._extra_accesses += bool(offset)
        self._slot_accesses += 1
        self._unsynced.fill(start, count)
        try:
            files.write_at(self._descriptor, data, start * layout.block_size)
        except OSError:
            self._active = active_slots(self._descriptor, self.number, layout)
            raise
        self._active.toggle(start, count)

    def flush(self, flush_number: int, generation: int) -> None:
        if not self._metadata.dirty:
            return
        metadata = replace(self._metadata, dirty=False, flush=flush_number, generation=generation)
        files.write_at(self._descriptor, bytes(self._active) + metadata.pack(), self._layout.bitmap_offset)
        self._metadata = metadata
        self._sync()
        if self._slot_accesses and self._extra_accesses // self._slot_accesses > _DEFRAGMENT_ABOVE:
            self._defragment()
        self._slot_accesses = self._extra_accesses = 0

    def settle(self) -> None:
        files.sync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)

    def damage(self) -> list[Damage]:
        return find_damage(self._descriptor, self._layout, self._active)

    def _mark_dirty(self) -> None:
        if self._metadata.dirty:
            return
        files.write_at(self._descriptor, b"\x01", self._layout.metadata_offset)
        self._sync()
        self._metadata = replace(self._metadata, dirty=True)

    def _sync(self) -> None:
        files.sync(self._descriptor)
        self._unsynced.clear()

    def _read_slots(self, start: int, count: int) -> bytes:
        """The active slots of a range."""
        parts = []
        for offset, length, array in runs(self._active.get(start, count), count):
            at = self._layout.slot_offset(array, start + offset)
            parts.append(files.read_at(self._descriptor, length * SLOT_SIZE, at))
            self._extra_accesses += bool(offset)
        self._slot_accesses += 1
        return b"".join(parts)

    def _defragment(self) -> None:
        """Bring all active slots into the array that holds most of them.

        The bits change in memory only: until the next flush both slots of a moved block hold its context, so the old
        bits in the file stay true.
        """
        blocks = self._layout.blocks
        bits = self._active.get(0, blocks)
        crowded = int(bits.bit_count() * 2 >= blocks)
        moved = 0
        for offset, length, array in runs(bits, blocks):
            if array == crowded:
                continue
            slots = files.read_at(self._descriptor, length * SLOT_SIZE, self._layout.slot_offset(array, offset))
            files.write_at(self._descriptor, slots, self._layout.slot_offset(crowded, offset))
            moved |= ((1 << length) - 1) << offset
        self._active.toggle(0, blocks, moved)
        self._metadata = replace(self._metadata, defragmentations=self._metadata.defragmentations + 1)


def create_raw_extent(path: Path, layout: Layout) -> None:
    """Make a sparse extent that was never written. Raises FileExistsError, OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        os.ftruncate(descriptor, layout.file_size)
        files.write_at(descriptor, Metadata().pack(), layout.metadata_offset)
        files.sync(descriptor)
    finally:
        os.close(descriptor)


def _read_metadata(descriptor: int, number: int, layout: Layout) -> Metadata:
    """The metadata at the end of the file, wherever the end is, then the size: the order of the real program."""
    size = os.fstat(descriptor).st_size
    where = f"IO Error: raw extent {number} (file {extent_name(number)})"
    data = files.read_at(descriptor, METADATA_SIZE, max(0, size - METADATA_SIZE))
    if len(data) < METADATA_SIZE:
        raise RegionError(f"{where} holds {size} bytes, too few for its metadata")
    version = int.from_bytes(data[17:21], "little")
    if version != RAW_VERSION:
        raise RegionError(f"{where} has unknown tag {version}")
    if size != layout.file_size:
        raise RegionError(f"IO Error: extent {number}: file size {size} does not match expected {layout.file_size}")
    try:
        return Metadata.unpack(data)
    except ValueError as error:
        raise RegionError(f"metadata deserialization failed: {error}") from error
