# SPDX-License-Identifier: GPL-3.0-or-later
"""What a region does with writes, flushes, closed extents and growth, in both formats."""

from __future__ import annotations

from pathlib import Path

import pytest
from propolis_lab.region import (
    Age,
    BlockContext,
    Definition,
    ExtentClosed,
    ExtentVersion,
    HashMismatch,
    OutOfBounds,
    ReadOnlyRegion,
    Region,
    RegionError,
    context_of,
)
from region_harness import BLOCK, ID, first_bytes, new_region, write_blocks

FRESH = ExtentVersion(0, 0, False)


@pytest.fixture(params=list(Age), ids=lambda age: age.value)
def region(request: pytest.FixtureRequest, tmp_path: Path) -> Region:
    return new_region(tmp_path / "r", request.param)


def test_a_write_over_a_border_reaches_both_extents_and_only_they_become_dirty(region: Region) -> None:
    write_blocks(region, 7, 1, 2)
    assert [version.dirty for version in region.versions()] == [True, True, False]
    assert first_bytes(region) == [None] * 7 + [1, 1] + [None] * 15


def test_a_flush_numbers_dirty_extents_and_leaves_clean_ones_as_they_are(region: Region) -> None:
    write_blocks(region, 0, 1)
    region.flush(1, 4)
    write_blocks(region, 8, 2)
    region.flush(2, 5)
    assert region.versions() == [ExtentVersion(4, 1, False), ExtentVersion(5, 2, False), FRESH]


def test_a_flush_up_to_an_extent_leaves_later_ones_dirty(region: Region) -> None:
    for extent in range(3):
        write_blocks(region, extent * 8, 1)
    region.flush(1, 1, extent_limit=1)
    assert [version.dirty for version in region.versions()] == [False, False, True]
    with pytest.raises(OutOfBounds, match="extent limit 4"):
        region.flush(2, 1, extent_limit=4)


def test_one_extent_can_be_flushed_alone(region: Region) -> None:
    write_blocks(region, 0, 1)
    write_blocks(region, 8, 1)
    region.extent_flush(1, 9, 3)
    assert region.versions()[:2] == [ExtentVersion(0, 0, True), ExtentVersion(3, 9, False)]


def test_writing_the_unwritten_leaves_written_blocks_and_clean_extents_alone(region: Region) -> None:
    write_blocks(region, 1, 1, 2)
    write_blocks(region, 5, 1)
    region.flush(1, 1)
    write_blocks(region, 5, 2, only_unwritten=True)
    assert not region.versions()[0].dirty
    write_blocks(region, 0, 3, 10, only_unwritten=True)
    assert first_bytes(region)[:12] == [3, 1, 1, 3, 3, 1, 3, 3, 3, 3, None, None]


def test_a_wrong_context_anywhere_stops_the_whole_write_before_it_begins(region: Region) -> None:
    data = bytes(BLOCK)
    with pytest.raises(HashMismatch):
        region.write(7, [context_of(data), BlockContext(1)], data * 2)
    assert region.versions() == [FRESH] * 3
    assert first_bytes(region) == [None] * 24


@pytest.mark.parametrize(("start", "count"), [(24, 1), (-1, 1), (20, 5)])
def test_blocks_outside_the_region_are_refused(region: Region, start: int, count: int) -> None:
    with pytest.raises(OutOfBounds):
        region.read(start, count)
    with pytest.raises(OutOfBounds):
        write_blocks(region, start, 1, count)


def test_as_many_contexts_as_blocks_are_wanted(region: Region) -> None:
    with pytest.raises(OutOfBounds, match="1 contexts came with 1024 bytes, not 512"):
        region.write(0, [context_of(bytes(BLOCK))], bytes(2 * BLOCK))


def test_a_region_opened_read_only_takes_neither_writes_nor_flushes(region: Region) -> None:
    region.close()
    again = Region.open(region.path, read_only=True)
    with pytest.raises(ReadOnlyRegion):
        write_blocks(again, 0, 1)
    with pytest.raises(ReadOnlyRegion):
        again.flush(1, 1)
    again.close()


def test_a_closed_extent_keeps_its_numbers_and_refuses_reads_until_it_is_opened_again(region: Region) -> None:
    write_blocks(region, 8, 1)
    assert region.close_extent(1) == ExtentVersion(0, 0, True)
    assert region.is_closed(1)
    assert region.versions()[1] == ExtentVersion(0, 0, True)
    with pytest.raises(ExtentClosed):
        region.read(8, 1)
    region.flush(1, 1)
    assert region.versions()[1].dirty
    region.reopen_all()
    assert first_bytes(region)[8] == 1


def test_an_extent_takes_the_files_of_another_regions_extent(region: Region, tmp_path: Path) -> None:
    source = new_region(tmp_path / "source", region.age)
    write_blocks(source, 0, 7, 3)
    source.flush(2, 6)
    source.close()
    paths = sorted(source.extent_file(0).parent.glob("000*"))
    with pytest.raises(RegionError, match="must be closed"):
        region.replace_extent(0, {path.name: path for path in paths})
    region.close_extent(0)
    notes: list[str] = []
    region.replace_extent(0, {path.name: path.read_bytes() for path in paths}, notes.append)
    region.reopen_extent(0)
    assert region.versions()[0] == ExtentVersion(6, 2, False)
    assert first_bytes(region)[:4] == [7, 7, 7, None]
    assert notes[1].startswith(f"{len(paths)} repair files downloaded, move directory ")


def test_strange_files_are_not_taken_for_an_extents_own(region: Region) -> None:
    region.close_extent(0)
    with pytest.raises(RegionError, match="does not belong"):
        region.replace_extent(0, {"000": b"", "passwd": b""})
    with pytest.raises(RegionError, match="lack 000"):
        region.replace_extent(0, {"001": b""})
    region.reopen_extent(0)
    assert sorted(path.suffix for path in region.extent_file(0).parent.iterdir() if path.is_dir()) == []


def test_a_region_grows_and_never_shrinks(region: Region) -> None:
    region.extend(5)
    assert region.definition.extent_count == 5
    with pytest.raises(RegionError, match="will not decrease extent count 5 -> 4"):
        region.extend(4)
    region.close()
    assert len(Region.open(region.path).versions()) == 5


def test_an_existing_region_is_not_made_again(region: Region) -> None:
    before = (region.path / "region.json").read_bytes()
    with pytest.raises(RegionError, match="Config file already exists"):
        Region.create(region.path, Definition(4096, 1, 0, ID), region.age)
    assert (region.path / "region.json").read_bytes() == before
