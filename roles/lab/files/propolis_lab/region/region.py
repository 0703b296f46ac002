# SPDX-License-Identifier: GPL-3.0-or-later
"""A region: the directory that one downstairs serves, its extents behind one interface."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from propolis_lab.region import repair
from propolis_lab.region.age import Age
from propolis_lab.region.context import BlockContext, check_contexts
from propolis_lab.region.definition import FILE_NAME, Definition, read_definition, write_definition
from propolis_lab.region.errors import (
    ExtentClosed,
    OutOfBounds,
    ReadOnlyRegion,
    RegionError,
    os_error_text,
    quoted,
)
from propolis_lab.region.extent import Damage, Extent, ExtentVersion
from propolis_lab.region.layout import extent_path
from propolis_lab.region.storage import Storage, storage_of

_FLUSH_THREADS = 8


class Region:
    """An open region. Block numbers count from the start of the region; it is not safe for several threads."""

    def __init__(self, path: Path, definition: Definition, storage: Storage, *, read_only: bool) -> None:
        self.path = path
        self.definition = definition
        self.read_only = read_only
        self._storage = storage
        self._extents: list[Extent | None] = []
        self._closed_versions: dict[int, ExtentVersion] = {}

    @property
    def age(self) -> Age:
        """Which age's format the extents have."""
        return self._storage.age

    @classmethod
    def create(cls, path: Path, definition: Definition, age: Age = Age.TODAY) -> Region:
        """Make the directory and a region.json without extents; ``extend`` adds them.

        Raises RegionError with the recorded texts; an existing region is left as it is.
        """
        empty = definition.with_extents(0)
        empty.check()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RegionError(os_error_text(error)) from error
        config = path / FILE_NAME
        if config.exists():
            raise RegionError(f"Config file already exists {quoted(config)}")
        write_definition(path, empty, age)
        storage = storage_of(age, path, empty)
        storage.prepare()
        return cls(path, empty, storage, read_only=False)

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False, age: Age | None = None) -> Region:
        """Open all extents. ``age`` None: as the program that made it; else as the program of that age does.

        Finishes or removes what an interrupted repair left behind. Raises RegionError with the recorded texts.
        """
        definition, made_by = read_definition(path, age)
        region = cls(path, definition, storage_of(age or made_by, path, definition), read_only=read_only)
        if region.age is Age.TODAY:
            raise_file_limit(definition.extent_count)
        region._open_extents(0)
        return region

    def extend(self, extent_count: int) -> None:
        """Grow to ``extent_count`` extents: first region.json, then the extents one by one, as the real program."""
        first = self.definition.extent_count
        if extent_count < first:
            raise RegionError(f"will not decrease extent count {first} -> {extent_count}")
        definition = self.definition.with_extents(extent_count)
        write_definition(self.path, definition, self.age)
        self.definition = definition
        for number in range(first, extent_count):
            path = extent_path(self.path, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._storage.create_extent(path)
            self._extents.append(self._storage.open_extent(path, number, read_only=False))

    def versions(self) -> list[ExtentVersion]:
        """The numbers of all extents, in order; of a closed one those it was closed with."""
        return [
            self._closed_versions[number] if extent is None else extent.version
            for number, extent in enumerate(self._extents)
        ]

    def read(self, start_block: int, count: int) -> tuple[Sequence[BlockContext | None], bytes]:
        """Contexts (None: never written) and data of ``count`` blocks; flushed or not."""
        found = [extent.read(start, length) for extent, start, length in self._pieces(start_block, count)]
        if len(found) == 1:
            return found[0]
        return [context for contexts, _unused in found for context in contexts], b"".join(
            data for _unused, data in found
        )

    def read_data(self, start_block: int, count: int) -> bytes:
        """Data alone."""
        pieces = self._pieces(start_block, count)
        return b"".join(extent.read_data(start, length) for extent, start, length in pieces)

    def write(
        self,
        start_block: int,
        contexts: Sequence[BlockContext],
        data: bytes | memoryview,
        *,
        only_unwritten: bool = False,
    ) -> None:
        """Write one block for each context, in the blocks never written alone if ``only_unwritten``.

        Raises HashMismatch, before anything is written, when a context does not belong to its block.
        """
        self._check_writable()
        size = self.definition.block_size
        if len(data) != len(contexts) * size:
            raise OutOfBounds(f"{len(contexts)} contexts came with {len(data)} bytes, not {len(contexts) * size}")
        pieces = list(self._pieces(start_block, len(contexts)))
        hashes = check_contexts(contexts, data, size)
        view = memoryview(data)
        done = 0
        for extent, start, length in pieces:
            wanted = extent.unwritten(start, length) if only_unwritten else [(start, length)]
            for first, run in wanted:
                at = done + first - start
                chosen = slice(at, at + run)
                extent.write(first, contexts[chosen], hashes[chosen], view[at * size : (at + run) * size])
            done += length

    def import_blocks(self, start_block: int, hashes: Sequence[int], data: memoryview) -> None:
        """Write whole unencrypted blocks whose hashes are known; their contexts are made of them."""
        self._check_writable()
        size = self.definition.block_size
        done = 0
        for extent, start, length in self._pieces(start_block, len(hashes)):
            piece = slice(done, done + length)
            extent.import_blocks(start, hashes[piece], data[done * size : (done + length) * size])
            done += length

    def settle(self, extent: int) -> None:
        """Let the data of one extent reach the disk early; changes nothing that can be seen."""
        self.open_extent(extent).settle()

    def flush(self, flush_number: int, generation: int, *, extent_limit: int | None = None) -> None:
        """Make all dirty extents (up to ``extent_limit``, if given) durable under the two numbers."""
        self._check_writable()
        if extent_limit is not None and extent_limit > self.definition.extent_count:
            raise OutOfBounds(
                f"extent limit {extent_limit} is above the region's {self.definition.extent_count} extents"
            )
        chosen = [
            extent
            for extent in self._extents
            if extent is not None and extent.version.dirty and (extent_limit is None or extent.number <= extent_limit)
        ]
        if len(chosen) < 2 or not self._storage.parallel_flush:
            for extent in chosen:
                extent.flush(flush_number, generation)
            return
        with ThreadPoolExecutor(min(_FLUSH_THREADS, len(chosen))) as pool:
            for _unused in pool.map(lambda extent: extent.flush(flush_number, generation), chosen):
                pass

    def extent_flush(self, extent: int, flush_number: int, generation: int) -> None:
        """Flush one extent; nothing happens if it is clean."""
        self._check_writable()
        self.open_extent(extent).flush(flush_number, generation)

    def close_extent(self, extent: int) -> ExtentVersion:
        """Close the files of one extent as they are, for a repair, and give its numbers."""
        if self.is_closed(extent):
            return self._closed_versions[extent]
        open_extent = self.open_extent(extent)
        version = open_extent.version
        open_extent.close()
        self._extents[extent] = None
        self._closed_versions[extent] = version
        return version

    def reopen_extent(self, extent: int) -> None:
        """Open a closed extent; finishes an interrupted repair of it first."""
        if not self.is_closed(extent):
            return
        path = self.extent_file(extent)
        repair.tidy(path, repair.leftovers(path.parent), read_only=self.read_only)
        self._extents[extent] = self._storage.open_extent(path, extent, read_only=self.read_only)
        del self._closed_versions[extent]

    def reopen_all(self) -> None:
        """Open all closed extents."""
        for extent in sorted(self._closed_versions):
            self.reopen_extent(extent)

    def is_closed(self, extent: int) -> bool:
        if not 0 <= extent < len(self._extents):
            raise OutOfBounds(f"extent {extent} is not one of the region's {len(self._extents)}")
        return self._extents[extent] is None

    def open_extent(self, extent: int) -> Extent:
        """The extent itself. Raises ExtentClosed, OutOfBounds."""
        if self.is_closed(extent):
            raise ExtentClosed(f"extent {extent} is closed for repair")
        found = self._extents[extent]
        assert found is not None  # noqa: S101 - is_closed said so
        return found

    def extent_file(self, extent: int) -> Path:
        """The extent's (data) file."""
        return extent_path(self.path, extent)

    def replace_extent(
        self, extent: int, contents: Mapping[str, Path | bytes], note: Callable[[str], None] = lambda text: None
    ) -> None:
        """Put other files in the place of a closed extent's own, so that a crash leaves the old or the new ones.

        ``contents``: file names (``01A``, ``01A.db``, …) and what they hold. ``note`` is told each step
        in the words of the real program's log. The extent stays closed.
        """
        self._check_writable()
        if not self.is_closed(extent):
            raise RegionError(f"extent {extent} must be closed before its files are replaced")
        repair.replace(self.extent_file(extent), contents, note)

    def close(self) -> None:
        """Close all files as they are."""
        for number, extent in enumerate(self._extents):
            if extent is not None:
                self._closed_versions[number] = extent.version
                extent.close()
                self._extents[number] = None

    def _open_extents(self, first: int) -> None:
        try:
            directory, left = None, frozenset[str]()
            for number in range(first, self.definition.extent_count):
                path = extent_path(self.path, number)
                if path.parent != directory:
                    directory, left = path.parent, repair.leftovers(path.parent)
                repair.tidy(path, left, read_only=self.read_only)
                self._extents.append(self._storage.open_extent(path, number, read_only=self.read_only))
        except BaseException:
            self.close()
            raise

    def _pieces(self, start_block: int, count: int) -> Iterator[tuple[Extent, int, int]]:
        """(extent, first block in it, number of blocks) for each extent that the range touches."""
        total = self.definition.total_blocks
        if start_block < 0 or count < 0 or start_block + count > total:
            raise OutOfBounds(f"blocks {start_block} to {start_block + count} are not within the region's {total}")
        per_extent = self.definition.blocks_per_extent
        while count:
            number, start = divmod(start_block, per_extent)
            length = min(count, per_extent - start)
            yield self.open_extent(number), start, length
            start_block += length
            count -= length

    def _check_writable(self) -> None:
        if self.read_only:
            raise ReadOnlyRegion("Crucible region is read-only")


def raise_file_limit(extent_count: int) -> None:
    """Let the process open as many files as it may; as the real program, refuse a region that needs more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4 * extent_count + 13:
        raise RegionError("this downstairs cannot open all required files!")
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def damage_in_extents(path: Path, extents: Iterable[int]) -> list[tuple[int, Damage]]:
    """The first damaged block of each damaged extent among ``extents``, of a region that nobody writes."""
    region = Region.open(path, read_only=True)
    try:
        return [(extent, damage) for extent in extents for damage in region.open_extent(extent).damage()]
    finally:
        region.close()
