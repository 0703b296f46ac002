# SPDX-License-Identifier: GPL-3.0-or-later
"""What a region makes of files that are damaged, left over, of another age or too many; and what defragmenting does."""

from __future__ import annotations

import os
import resource
import sqlite3
from pathlib import Path

import pytest
from propolis_lab.region import (
    Age,
    ExtentVersion,
    Region,
    RegionError,
    files,
)
from propolis_lab.region.layout import Layout, Metadata
from propolis_lab.region.region import damage_in_extents
from region_harness import BLOCK, first_bytes, new_region, write_blocks


@pytest.fixture
def raw(tmp_path: Path) -> Region:
    return new_region(tmp_path / "r", Age.TODAY)


def test_damage_is_found_in_data_and_in_blocks_that_were_never_written(raw: Region) -> None:
    write_blocks(raw, 0, 1, 8)
    raw.flush(1, 1)
    raw.close()
    for extent, offset in ((0, 3 * BLOCK), (2, BLOCK)):
        with raw.extent_file(extent).open("r+b") as file:
            file.seek(offset)
            file.write(b"x")
    found = [(extent, damage.block, damage.text) for extent, damage in damage_in_extents(raw.path, range(3))]
    assert found == [
        (0, 3, "block 3 has an active slot with mismatched hash"),
        (2, 1, "block 1 has an empty active slot, but contains non-zero data"),
    ]


def test_a_dirty_block_that_fits_neither_slot_stops_the_opening(raw: Region) -> None:
    write_blocks(raw, 0, 1)
    raw.flush(1, 1)
    write_blocks(raw, 0, 2)
    raw.close()
    with raw.extent_file(0).open("r+b") as file:
        file.write(b"neither")
    with pytest.raises(RegionError, match=r"^missing context slot for block 0 in extent 0 \("):
        Region.open(raw.path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (lambda good: good + b"x", r"^IO Error: raw extent 1 \(file 001\) has unknown tag 0$"),
        (lambda good: good[BLOCK:], "^IO Error: extent 1: file size 4385 does not match expected 4897$"),
        (lambda good: good[:10], "holds 10 bytes, too few"),
        (lambda good: good[:-32] + b"\x05" + good[-31:], "metadata deserialization failed"),
    ],
)
def test_a_file_that_is_no_extent_of_the_region_is_refused(raw: Region, content: object, complaint: str) -> None:
    raw.close()
    path = raw.extent_file(1)
    assert callable(content)
    path.write_bytes(content(path.read_bytes()))
    with pytest.raises(RegionError, match=complaint):
        Region.open(raw.path)


def test_defragmenting_moves_no_data_and_is_stored_with_the_next_flush(tmp_path: Path) -> None:
    region = new_region(tmp_path / "r", Age.TODAY, blocks=16, extents=1)
    write_blocks(region, 0, 1, 16)
    region.flush(1, 1)
    for block in range(0, 16, 2):
        write_blocks(region, block, 2)
    region.read(0, 16)
    region.flush(2, 1)
    metadata = _metadata(region)
    assert metadata.defragmentations == 0
    for _unused in range(3):
        region.read(0, 16)
    write_blocks(region, 0, 3, 16)
    region.flush(3, 1)
    before = first_bytes(region)
    write_blocks(region, 1, 4)
    region.flush(4, 1)
    assert _metadata(region).defragmentations == 1
    assert first_bytes(region) == [*before[:1], 4, *before[2:]]
    region.close()
    assert damage_in_extents(region.path, [0]) == []
    assert first_bytes(Region.open(region.path)) == [*before[:1], 4, *before[2:]]


def _metadata(region: Region) -> Metadata:
    return Metadata.unpack(region.extent_file(0).read_bytes()[-32:])


def test_a_block_written_twice_before_a_flush_costs_an_fsync_that_is_counted(raw: Region) -> None:
    write_blocks(raw, 0, 1)
    write_blocks(raw, 0, 2)
    write_blocks(raw, 1, 2)
    raw.flush(1, 1)
    assert _metadata(raw).bonus_syncs == 1


def test_a_failed_fsync_is_not_passed_over(raw: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    write_blocks(raw, 0, 1)

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files, "sync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        raw.flush(1, 1)


def test_too_many_extents_for_the_processs_files_are_refused_before_they_are_opened(
    raw: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw.close()
    monkeypatch.setattr(resource, "getrlimit", lambda which: (24, 24))
    with pytest.raises(RegionError, match="this downstairs cannot open all required files!"):
        Region.open(raw.path)


def test_leftovers_of_a_repair_that_never_decided_are_removed_even_by_a_reader(raw: Region) -> None:
    raw.close()
    folder = raw.extent_file(0).parent
    for suffix in (".copy", ".completed"):
        (folder / f"001{suffix}").mkdir()
        (folder / f"001{suffix}" / "001").write_bytes(b"half")
    Region.open(raw.path, read_only=True).close()
    assert sorted(path.name for path in folder.iterdir()) == ["000", "001", "002"]


def test_the_format_is_chosen_by_the_files_and_the_wrong_program_refuses(tmp_path: Path) -> None:
    for age in Age:
        new_region(tmp_path / age.value, age).close()
        assert Region.open(tmp_path / age.value).age is age
    with pytest.raises(RegionError) as caught:
        Region.open(tmp_path / "2023", age=Age.TODAY)
    assert "missing field `database_read_version` at line 10 column 1" in (caught.value.cause or "")
    with pytest.raises(
        RegionError, match=f"File size {8 * BLOCK} does not match expected {Layout(BLOCK, 8).file_size}"
    ):
        Region.open(tmp_path / "today", age=Age.JANUARY_2023)


def test_a_killed_process_of_2023_leaves_contexts_of_which_the_data_chooses_one(tmp_path: Path) -> None:
    region = new_region(tmp_path / "r", Age.JANUARY_2023)
    write_blocks(region, 0, 1)
    region.flush(1, 1)
    old = region.extent_file(0).read_bytes()
    write_blocks(region, 0, 2)
    region.close()
    database = f"{region.extent_file(0)}.db"
    assert _rows(database) == 2
    region.extent_file(0).write_bytes(old)  # as when the data never reached the disk
    assert first_bytes(Region.open(region.path, read_only=True))[0] == 1
    again = Region.open(region.path)
    assert again.versions()[0] == ExtentVersion(1, 1, True)
    assert first_bytes(again)[0] == 1
    again.close()
    assert _rows(database) == 1


def _rows(database: str) -> int:
    connection = sqlite3.connect(database)
    try:
        return int(connection.execute("select count(*) from block_context").fetchone()[0])
    finally:
        connection.close()


def test_files_are_closed_with_the_region(raw: Region) -> None:
    raw.close()
    before = len(os.listdir("/proc/self/fd"))
    again = Region.open(raw.path)
    assert len(os.listdir("/proc/self/fd")) == before + 3
    again.close()
    assert len(os.listdir("/proc/self/fd")) == before
