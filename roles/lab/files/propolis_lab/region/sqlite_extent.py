# SPDX-License-Identifier: GPL-3.0-or-later
"""One extent of January 2023: a data file and, beside it, an SQLite database with the numbers and the contexts.

A block may have several contexts while its extent is dirty: the new one is stored before the data, the old one stays
until a flush. The one whose hash of stored bytes fits the data is the true one. Tables seen on the real program.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from propolis_lab.region import files
from propolis_lab.region.context import BlockContext, block_hashes
from propolis_lab.region.database import Database
from propolis_lab.region.errors import RegionError, os_error_text, quoted
from propolis_lab.region.extent import Damage, ExtentVersion
from propolis_lab.region.files import Buffer

_CHUNK_BYTES = 4 << 20


class SqliteExtent:
    """An open extent of 2023. ``open`` makes it; see ``Extent`` for what the methods mean."""

    def __init__(self, number: int, block_size: int, blocks: int, descriptor: int, database: Database) -> None:
        self.number = number
        self._block_size = block_size
        self._blocks = blocks
        self._descriptor = descriptor
        self._database = database
        self._version = database.version()
        self._touched: set[int] = set()

    @classmethod
    def open(cls, path: Path, number: int, block_size: int, blocks: int, *, read_only: bool) -> SqliteExtent:
        """Open both files; the database is opened for writing even when ``read_only``, as in the real program.

        Raises RegionError: a file is missing, has the wrong size, or the database may not be written.
        """
        try:
            descriptor = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
        except OSError as error:
            text = os_error_text(error)
            raise RegionError(f"Open of {quoted(path)} for extent#{number} returned: {text}") from error
        try:
            size = os.fstat(descriptor).st_size
            if size != block_size * blocks:
                # The real program has the two numbers the wrong way round.
                raise RegionError(f"File size {block_size * blocks} does not match expected {size}")
            database = Database.open(database_path(path), number)
        except BaseException:
            os.close(descriptor)
            raise
        extent = cls(number, block_size, blocks, descriptor, database)
        if extent._version.dirty and not read_only:
            extent._forget_stale(range(blocks))
        return extent

    @property
    def version(self) -> ExtentVersion:
        return self._version

    def read(self, start: int, count: int) -> tuple[Sequence[BlockContext | None], bytes]:
        data = self.read_data(start, count)
        found: list[BlockContext | None] = [None] * count
        hashes: list[int] | None = None
        for block, context, stored in self._database.contexts(start, count):
            index = block - start
            if found[index] is not None:
                # More than one context: ask the data which of them is true.
                hashes = hashes or block_hashes(data, self._block_size)
                if stored != hashes[index]:
                    continue
            found[index] = context
        return found, data

    def read_data(self, start: int, count: int) -> bytes:
        return files.read_at(self._descriptor, count * self._block_size, start * self._block_size)

    def write(self, start: int, contexts: Sequence[BlockContext], hashes: Sequence[int], data: Buffer) -> None:
        if not self._version.dirty:
            self._database.mark_dirty()
            self._version = ExtentVersion(self._version.generation, self._version.flush, dirty=True)
        self._database.add_contexts(start, contexts, hashes)
        self._touched.update(range(start, start + len(contexts)))
        files.write_at(self._descriptor, data, start * self._block_size)

    def import_blocks(self, start: int, hashes: Sequence[int], data: Buffer) -> None:
        self.write(start, [BlockContext(found) for found in hashes], hashes, data)

    def unwritten(self, start: int, count: int) -> list[tuple[int, int]]:
        written = {found[0] for found in self._database.contexts(start, count)}
        runs: list[tuple[int, int]] = []
        for block in range(start, start + count):
            if block in written:
                continue
            if runs and sum(runs[-1]) == block:
                runs[-1] = (runs[-1][0], runs[-1][1] + 1)
            else:
                runs.append((block, 1))
        return runs

    def flush(self, flush_number: int, generation: int) -> None:
        if not self._version.dirty:
            return
        files.sync(self._descriptor)
        self._forget_stale(sorted(self._touched))
        self._touched.clear()
        self._database.store_flush(flush_number, generation)
        self._version = ExtentVersion(generation, flush_number, dirty=False)

    def settle(self) -> None:
        files.sync(self._descriptor)

    def close(self) -> None:
        self._database.close()
        os.close(self._descriptor)

    def damage(self) -> list[Damage]:
        step = max(1, _CHUNK_BYTES // self._block_size)
        for start in range(0, self._blocks, step):
            count = min(step, self._blocks - start)
            hashes = block_hashes(self.read_data(start, count), self._block_size)
            stored: dict[int, set[int]] = {}
            for block, _unused, stored_hash in self._database.contexts(start, count):
                stored.setdefault(block, set()).add(stored_hash)
            for block in sorted(stored):
                if hashes[block - start] not in stored[block]:
                    return [Damage(block, f"block {block} has an active slot with mismatched hash")]
        return []

    def _forget_stale(self, blocks: Iterable[int]) -> None:
        """Remove the contexts that do not fit the data of ``blocks``, which are in order."""
        for start, count in _runs(blocks, max(1, _CHUNK_BYTES // self._block_size)):
            hashes = block_hashes(self.read_data(start, count), self._block_size)
            self._database.keep_only(start, hashes)


def _runs(blocks: Iterable[int], longest: int) -> Iterable[tuple[int, int]]:
    """(first, count) of runs of consecutive numbers, none longer than ``longest``."""
    start = count = 0
    for block in blocks:
        if count and block == start + count and count < longest:
            count += 1
            continue
        if count:
            yield start, count
        start, count = block, 1
    if count:
        yield start, count


def database_path(extent_file: Path) -> Path:
    return extent_file.with_name(extent_file.name + ".db")


def create_sqlite_extent(path: Path, size: int, seed: bytes) -> None:
    """Make the sparse data file of ``size`` bytes and the database, a copy of ``seed``. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)
    with database_path(path).open("xb") as file:
        file.write(seed)
