# SPDX-License-Identifier: GPL-3.0-or-later
"""Replicas that differ when a volume is activated: which copy wins, and that all are equal afterwards."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from propolis_lab.protocol.messages import ExtentVersions
from propolis_lab.upstairs import Upstairs
from propolis_lab.upstairs.reconcile import Mend, collate
from propolis_lab.upstairs.status import Phase
from trio import Trio
from volumes import Notes, eventually, on_loop

BLOCK = 512
Version = tuple[int, int, bool]


def versions(*extents: Version) -> ExtentVersions:
    generations, flushes, dirty = zip(*extents, strict=True)
    return ExtentVersions(generations, flushes, dirty)


def test_the_recorded_stale_replica_is_mended_from_the_first_good_one() -> None:
    good, stale = versions((2, 2, False), (0, 0, False)), versions((1, 1, False), (0, 0, False))
    collation = collate([good, stale, good])
    assert collation.mends == (Mend(0, 0, (1,)),)
    assert (collation.lowest_generation, collation.next_flush) == (3, 3)


def test_a_dirty_source_is_copied_to_all_others_even_when_they_say_the_same() -> None:
    dirty = versions((1, 1, True))
    assert collate([dirty, dirty, dirty]).mends == (Mend(0, 0, (1, 2)),)


one_version = st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans())


@given(st.lists(st.tuples(one_version, one_version, one_version), min_size=1, max_size=6))
def test_the_copy_that_wins_has_the_highest_numbers_and_everybody_unlike_it_takes_it(
    rows: list[tuple[Version, Version, Version]],
) -> None:
    columns = list(zip(*rows, strict=True))
    collation = collate([versions(*column) for column in columns])
    mended = {mend.extent: mend for mend in collation.mends}
    for extent, row in enumerate(rows):
        if extent not in mended:
            assert len(set(row)) == 1
            assert not row[0][2]
            continue
        mend = mended[extent]
        assert row[mend.source] == max(row)
        assert mend.source == row.index(max(row))
        unlike = {index for index in range(3) if row[index] != max(row)}
        assert set(mend.destinations) == ({0, 1, 2} - {mend.source} if max(row)[2] else unlike)
    assert collation.lowest_generation == max(version[0] for row in rows for version in row) + 1
    assert collation.next_flush == max(version[1] for row in rows for version in row) + 1


@on_loop
async def test_a_stale_replica_is_equal_after_the_next_activation(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs(1)
        await volume.activate()
        await trio.stop(1)
        await eventually(lambda: volume.region_sets[0].targets[1].phase is Phase.NEGOTIATING)
        for first in (0, 20, 63):
            await volume.write(first * BLOCK, b"new!" * 128)
        await volume.flush()
        volume.abandon()
        await trio.start(1)
        await activate_and_release(trio, 2)
        await trio.stop_all()
        assert trio.equal()
        assert trio.contents(1)[:4] == b"new!"


async def activate_and_release(trio: Trio, generation: int) -> None:
    log = Notes()
    volume = trio.upstairs(generation, log=log)
    activation = asyncio.create_task(volume.activate())
    seen = False
    while not activation.done():
        await asyncio.sleep(0)
        seen = seen or volume.region_sets[0].status().reconcile_in_progress
    await activation
    assert seen
    assert not volume.region_sets[0].status().reconcile_in_progress
    await volume.deactivate()


@on_loop
async def test_dirty_replicas_after_a_crash_of_everything_are_equal_after_the_next_activation(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs(1)
        await volume.activate()
        for first in range(0, 64, 5):
            await volume.write(first * BLOCK, bytes([first]) * BLOCK)
        volume.abandon()
        for number in range(3):
            await trio.stop(number)
        assert any(dirty for _unused, _unused, dirty in trio.versions(0))
        for number in range(3):
            await trio.start(number)
        await activate_and_release(trio, 2)
        await trio.stop_all()
        assert trio.equal()
        # Reconciliation flushes with the largest generation found plus 1, not with the one asked for (seen).
        assert trio.versions(0)[0][0] == 1


@on_loop
async def test_a_replica_that_dies_in_a_reconciliation_makes_it_begin_again(tmp_path: Path) -> None:
    async with Trio(tmp_path, extents=40) as trio:
        volume = trio.upstairs(1)
        await volume.activate()
        await volume.write(0, bytes(range(256)) * 2 * 640)
        volume.abandon()
        for number in range(3):
            await trio.stop(number)
        for number in range(3):
            await trio.start(number)
        log = Notes()
        volume = trio.upstairs(2, log=log)
        activation = asyncio.create_task(volume.activate())
        await eventually(lambda: volume.region_sets[0].status().reconcile_in_progress)
        assert volume.region_sets[0].targets[0].status().to_json()["state"]["state"] == "reconcile"
        await trio.stop(2)
        await eventually(lambda: any("aborting reconciliation" in text for text in log.texts(40)))
        assert not activation.done()
        await trio.start(2)
        await activation
        await volume.deactivate()
        await trio.stop_all()
        assert trio.equal()


@pytest.mark.parametrize("seed", range(3))
@on_loop
async def test_after_any_storm_of_kills_flushed_writes_are_there_and_the_replicas_equal(
    tmp_path: Path, seed: int
) -> None:
    choose = random.Random(seed)
    async with Trio(tmp_path, extents=6) as trio:
        blocks = 6 * 16
        sure: dict[int, bytes] = {}
        for generation in range(1, 5):
            volume = trio.upstairs(generation * 10)
            for number in range(3):
                if number not in trio.running:
                    await trio.start(number)
            await volume.activate()
            for place, data in sure.items():
                assert await volume.read(place * BLOCK, BLOCK) == data
            await storm(trio, volume, choose, blocks, sure)
            if choose.random() < 0.5:
                volume.abandon()
            else:
                await volume.deactivate()
        for number in range(3):
            if number not in trio.running:
                await trio.start(number)
        volume = trio.upstairs(100)
        await volume.activate()
        await volume.deactivate()
        await trio.stop_all()
        assert trio.equal()
        contents = trio.contents(0)
        assert all(contents[place * BLOCK : (place + 1) * BLOCK] == data for place, data in sure.items())


async def storm(trio: Trio, volume: Upstairs, choose: random.Random, blocks: int, sure: dict[int, bytes]) -> None:
    """Writes, flushes, and one replica after the other killed and started; ``sure`` gets what was flushed."""
    written: dict[int, bytes] = {}
    for _unused in range(40):
        act = choose.random()
        if act < 0.1 and len(trio.running) == 3:
            await trio.stop(choose.randrange(3))
        elif act < 0.2 and len(trio.running) < 3:
            await trio.start(next(number for number in range(3) if number not in trio.running))
            await eventually(lambda: all(one.phase is Phase.ACTIVE for one in volume.region_sets[0].targets))
        elif act < 0.3:
            await volume.flush()
            sure.update(written)
            written.clear()
        else:
            place, data = choose.randrange(blocks), choose.randbytes(BLOCK)
            sure.pop(place, None)
            written[place] = data
            await volume.write(place * BLOCK, data)
    await volume.flush()
    sure.update(written)
