# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever the order of writes, flushes and reopenings, and wherever it is cut off, flushed data stays readable."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from propolis_lab.region import Age, Definition, ExtentVersion, Region, context_of, files
from propolis_lab.region.repair import Replacement

ID = UUID("12345678-0000-4000-8000-000000000001")
BLOCK = 512
PER_EXTENT = 8
EXTENTS = 2
BLOCKS = PER_EXTENT * EXTENTS
DATA_SIZE = BLOCK * PER_EXTENT


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Disk:
    """Stands between the region and the operating system: counts operations, stops at one of them, undoes writes.

    ``lost`` chooses, when power fails, which of the data writes since the last fsync never reached the disk.
    """

    stop_at: int
    lost: Callable[[int], bool] = lambda index: False
    operations: int = 0
    unsynced: dict[Path, list[tuple[int, bytes]]] = field(default_factory=dict)

    def write_at(self, descriptor: int, data: files.Buffer, offset: int) -> None:
        self._next()
        if offset < DATA_SIZE:
            before = files.read_at(descriptor, len(data), offset)
            self.unsynced.setdefault(_path_of(descriptor), []).append((offset, before))
        _write_at(descriptor, data, offset)

    def sync(self, descriptor: int) -> None:
        self._next()
        self.unsynced.pop(_path_of(descriptor), None)

    def fail_power(self) -> None:
        """Take back the chosen data writes, the latest first."""
        index = 0
        for path, writes in self.unsynced.items():
            with path.open("r+b") as file:
                for offset, before in reversed(writes):
                    if self.lost(index):
                        _write_at(file.fileno(), before, offset)
                    index += 1

    def _next(self) -> None:
        if self.operations == self.stop_at:
            raise Killed
        self.operations += 1


_write_at = files.write_at


def _path_of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


@contextmanager
def _through(disk: Disk) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "write_at", disk.write_at)
        patch.setattr(files, "sync", disk.sync)
        yield


@dataclass
class Expected:
    """What each block may hold: what was flushed last, or what was written since. None: never written."""

    durable: list[int | None] = field(default_factory=lambda: [None] * BLOCKS)
    later: list[set[int]] = field(default_factory=lambda: [set() for _unused in range(BLOCKS)])
    flush: int = 0

    def written(self, start: int, seed: int, count: int) -> None:
        for block in range(start, start + count):
            self.later[block].add(seed)

    def flushed(self, current: list[int | None]) -> None:
        self.durable = list(current)
        self.later = [set() for _unused in range(BLOCKS)]

    def check(self, region: Region) -> list[int | None]:
        contexts, data = region.read(0, BLOCKS)
        found: list[int | None] = []
        for block, context in enumerate(contexts):
            piece = data[block * BLOCK : (block + 1) * BLOCK]
            if context is None:
                # A context that was lost with its write leaves bytes that nobody asked for; they count as unwritten.
                found.append(None)
            else:
                assert context == context_of(piece), f"block {block} does not fit its context"
                found.append(piece[0])
            assert found[-1] == self.durable[block] or found[-1] in self.later[block], f"block {block} lost its data"
        return found


def _fill(seed: int) -> bytes:
    return bytes([seed]) * BLOCK


Action = tuple[str, int, int]
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, BLOCKS - 1), st.integers(1, 5)),
        # Writes over each other, and over the border of two extents, are what this is about.
        st.tuples(st.just("write"), st.sampled_from([0, 1, PER_EXTENT - 1, PER_EXTENT]), st.integers(1, 2)),
        st.tuples(st.just("flush"), st.just(0), st.just(0)),
        st.tuples(st.just("reopen"), st.just(0), st.just(0)),
        st.tuples(st.just("read"), st.integers(0, BLOCKS - 1), st.integers(1, BLOCKS)),
    ),
    max_size=25,
)


@dataclass
class Downstairs:
    """A region that is worked on, through a disk that may stop it, and what is expected of it."""

    region: Region
    expected: Expected = field(default_factory=Expected)
    flushing: bool = False

    def work(self, actions: list[Action], disk: Disk) -> None:
        """Run the actions until they end or the disk stops them."""
        current: list[int | None] = self.expected.check(self.region)
        with _through(disk), suppress(Killed):
            for seed, (kind, start, count) in enumerate(actions, start=1):
                self._act(kind, start, min(count, BLOCKS - start), seed, current)
            assert self.expected.check(self.region) == current

    def start_again(self) -> None:
        """What the next process does: open the region that the last one left."""
        self.region.close()
        self.region = Region.open(self.region.path)
        self.expected.check(self.region)

    def _act(self, kind: str, start: int, length: int, seed: int, current: list[int | None]) -> None:
        if kind == "write":
            self.expected.written(start, seed, length)
            self.region.write(start, [context_of(_fill(seed))] * length, _fill(seed) * length)
            current[start : start + length] = [seed] * length
        elif kind == "flush":
            self.expected.flush += 1
            self.flushing = True
            self.region.flush(self.expected.flush, 7)
            self.flushing = False
            self.expected.flushed(current)
        elif kind == "reopen":
            self.start_again()
            assert self.expected.check(self.region) == current
        else:
            self.region.read(start, length)


@contextmanager
def _new_downstairs(age: Age = Age.TODAY) -> Iterator[Downstairs]:
    folder = Path(tempfile.mkdtemp())
    region = Region.create(folder / "r", Definition(BLOCK, PER_EXTENT, 0, ID), age)
    region.extend(EXTENTS)
    downstairs = Downstairs(region)
    try:
        yield downstairs
    finally:
        downstairs.region.close()
        shutil.rmtree(folder)


@given(ACTIONS, st.integers(0, 120))
def test_a_process_killed_between_any_two_operations_loses_nothing_that_was_flushed(
    actions: list[Action], stop_at: int
) -> None:
    with _new_downstairs() as downstairs:
        downstairs.work(actions, Disk(stop_at))
        downstairs.start_again()
        assert all(version.flush <= downstairs.expected.flush for version in downstairs.region.versions())


@given(ACTIONS, st.integers(0, 120), st.integers(0, 2**60) | st.just(2**60 - 1))
@example([("write", 0, 1), ("write", 0, 1)], 120, 3)
def test_power_that_fails_with_any_data_on_its_way_loses_nothing_that_was_flushed(
    actions: list[Action], stop_at: int, lost: int
) -> None:
    # A flush writes its metadata before it waits for the data, as the real program does: there both count on the file
    # system to keep the order, so power fails here between flushes only.
    with _new_downstairs() as downstairs:
        disk = Disk(stop_at, lost=lambda index: bool(lost >> index & 1))
        downstairs.work(actions, disk)
        downstairs.region.close()
        if not downstairs.flushing:
            disk.fail_power()
        downstairs.start_again()


@settings(max_examples=25)
@given(ACTIONS)
def test_a_region_of_2023_reads_back_what_was_written_over_any_number_of_reopenings(actions: list[Action]) -> None:
    with _new_downstairs(Age.JANUARY_2023) as downstairs:
        downstairs.work(actions, Disk(-1))


@given(ACTIONS)
def test_a_read_only_opening_changes_no_byte(actions: list[Action]) -> None:
    with _new_downstairs() as downstairs:
        downstairs.work(actions, Disk(-1))
        paths = [downstairs.region.extent_file(extent) for extent in range(EXTENTS)]
        before = [path.read_bytes() for path in paths]
        copy = Region.open(downstairs.region.path, read_only=True)
        downstairs.expected.check(copy)
        copy.close()
        assert [path.read_bytes() for path in paths] == before


STEPS = ("sync_directory", "copy_synced", "rename", "remove_tree")
LAST_STOP = 11
"""Above the number of steps of a replacement."""


@pytest.mark.parametrize("stop_at", range(LAST_STOP + 1))
def test_a_replacement_cut_off_anywhere_leaves_all_of_the_old_or_all_of_the_new_extent(
    stop_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (_extent_of(tmp_path / name, seed) for name, seed in (("old", 1), ("new", 2)))
    region = Region.open(tmp_path / "old")
    region.close_extent(0)
    count = 0
    finished = False

    def counted(step: Callable[..., None]) -> Callable[..., None]:
        def perform(*arguments: object) -> None:
            nonlocal count
            if count == stop_at:
                raise Killed
            count += 1
            step(*arguments)

        return perform

    with monkeypatch.context() as patch:
        for name in STEPS:
            patch.setattr(files, name, counted(getattr(files, name)))
        patch.setattr(Replacement, "forget", lambda self: None)  # a killed process tidies nothing
        with suppress(Killed):
            region.replace_extent(0, {"000": new})
            finished = True
    region.close()
    Region.open(tmp_path / "old", read_only=True).close()
    again = Region.open(tmp_path / "old")
    assert finished or stop_at < LAST_STOP
    found = region.extent_file(0).read_bytes()
    assert found == new if finished else found in (old, new)
    assert again.versions()[0] in (ExtentVersion(1, 1, False), ExtentVersion(2, 2, False))
    assert [path.name for path in region.extent_file(0).parent.iterdir()] == ["000"]
    again.close()


def _extent_of(path: Path, seed: int) -> bytes:
    region = Region.create(path, Definition(BLOCK, PER_EXTENT, 0, ID))
    region.extend(1)
    region.write(0, [context_of(_fill(seed))], _fill(seed))
    region.flush(seed, seed)
    region.close()
    return region.extent_file(0).read_bytes()
