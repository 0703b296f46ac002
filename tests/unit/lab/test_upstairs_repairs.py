# SPDX-License-Identifier: GPL-3.0-or-later
"""Replicas that missed too much, or are new: repaired while the volume is in use, replaced, reconciled."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from lab_volumes import FORGETFUL, active, fill, target
from propolis_lab.upstairs import IoError, ReplaceError, Upstairs
from trio import Trio
from volumes import QUICK, Notes, eventually, on_loop

BLOCK = 512


@on_loop
async def test_a_replica_that_missed_too_much_is_repaired_while_the_guest_goes_on(tmp_path: Path) -> None:
    async with Trio(tmp_path, extents=12) as trio:
        log = Notes()
        volume = trio.upstairs(settings=FORGETFUL, log=log)
        await volume.activate()
        await fill(volume, 1)
        await trio.stop(1)
        await eventually(lambda: active(volume) == 2)
        await fill(volume, 2, 40)
        assert target(volume, 1)["mode"] == "faulted"
        await trio.start(1)
        seen = set()
        number = 3
        while active(volume) < 3:
            await fill(volume, number, 2)
            await volume.flush()
            await volume.read(0, volume.size)
            seen.add(target(volume, 1)["type"])
            number += 1
        assert "live_repair" in seen
        await fill(volume, 200)
        expected = await volume.read(0, volume.size)
        await volume.deactivate()
        await trio.stop_all()
        assert trio.equal()
        assert trio.contents(1) == expected
        assert list(log.texts(50)) == []


@on_loop
async def test_two_replicas_are_repaired_at_once_from_the_third(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs(settings=FORGETFUL)
        await volume.activate()
        await fill(volume, 1)
        await volume.flush()
        await trio.stop(0)
        await trio.stop(1)
        await eventually(lambda: active(volume) == 1)
        await asyncio.gather(*(volume.write(0, b"z" * BLOCK) for _unused in range(5)), return_exceptions=True)
        await trio.start(0)
        await trio.start(1)
        await eventually(lambda: active(volume) == 3)
        await fill(volume, 2)
        await volume.deactivate()
        await trio.stop_all()
        assert trio.equal()


@on_loop
async def test_a_repair_waits_for_a_source_and_begins_when_one_returns(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs(settings=FORGETFUL)
        await volume.activate()
        await fill(volume, 1)
        await volume.flush()
        await trio.stop(0)
        await trio.stop(1)
        await eventually(lambda: active(volume) == 1)
        await asyncio.gather(*(volume.write(0, b"z" * BLOCK) for _unused in range(5)), return_exceptions=True)
        await trio.stop(2)
        await eventually(lambda: target(volume, 2).get("mode") == "offline")
        await trio.start(0)
        await trio.start(1)
        ready = {"type": "connecting", "state": "live_repair_ready", "mode": "faulted"}
        await eventually(lambda: target(volume, 0) == target(volume, 1) == ready)
        await trio.start(2)
        await eventually(lambda: active(volume) == 3)
        assert await volume.read(0, BLOCK) == b"z" * BLOCK
        await volume.deactivate()
        await trio.stop_all()
        assert trio.equal()


@on_loop
async def test_three_lost_replicas_are_reconciled_among_themselves(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs(settings=FORGETFUL)
        await volume.activate()
        await fill(volume, 1)
        await volume.flush()
        await volume.write(0, b"q" * BLOCK)
        for number in range(3):
            await trio.stop(number)
        await eventually(lambda: active(volume) == 0)
        lost = [asyncio.create_task(volume.write(0, b"z" * BLOCK)) for _unused in range(5)]
        assert all(isinstance(one, IoError) for one in await asyncio.gather(*lost, return_exceptions=True))
        for number in range(3):
            await trio.start(number)
        await eventually(lambda: active(volume) == 3)
        await fill(volume, 2)
        await volume.flush()
        await volume.read(0, volume.size)
        await volume.deactivate()
        await trio.stop_all()
        assert trio.equal()


@on_loop
async def test_a_repair_that_is_cut_off_begins_again_and_holds_nobody_up(tmp_path: Path) -> None:
    async with Trio(tmp_path, extents=24) as trio:
        volume = trio.upstairs(settings=FORGETFUL)
        await volume.activate()
        await fill(volume, 1)
        await trio.stop(1)
        await eventually(lambda: active(volume) == 2)
        await fill(volume, 2, 40)
        for round_ in range(3):
            await trio.start(1)
            await eventually(lambda: target(volume, 1) == {"type": "live_repair"})
            work = [asyncio.create_task(fill(volume, 10 + round_, 10)), asyncio.create_task(volume.flush())]
            repair = volume.region_sets[0].io.repair
            assert repair is not None
            await eventually(lambda now=repair, least=3 * round_: now.limit >= least)
            await trio.stop(1)
            await asyncio.gather(*work)
            await eventually(lambda: target(volume, 1)["type"] == "connecting")
        await trio.start(1)
        await eventually(lambda: active(volume) == 3)
        await fill(volume, 3)
        await volume.deactivate()
        await trio.stop_all()
        assert trio.equal()


@on_loop
async def test_a_source_that_is_lost_in_a_repair_comes_back_and_the_repair_ends_well(tmp_path: Path) -> None:
    async with Trio(tmp_path, extents=24) as trio:
        volume = trio.upstairs(settings=FORGETFUL)
        await volume.activate()
        await fill(volume, 1)
        await trio.stop(1)
        await eventually(lambda: active(volume) == 2)
        await fill(volume, 2, 40)
        await trio.start(1)
        await eventually(lambda: target(volume, 1) == {"type": "live_repair"})
        await trio.stop(2)
        await eventually(lambda: target(volume, 2)["type"] == "connecting")
        await trio.start(2)
        await eventually(lambda: active(volume) == 3)
        await fill(volume, 3)
        await volume.deactivate()
        await trio.stop_all()
        assert trio.equal()


@on_loop
async def test_a_target_is_replaced_by_an_empty_one_and_then_holds_everything(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs(60)
        await volume.activate()
        await fill(volume, 1)
        await volume.flush()
        trio.make(3)
        await trio.start(3)
        new = Upstairs.parse(trio.request(60, targets=(0, 1, 3)))
        assert await volume.replace_target(new) == "started"
        assert target(volume, 2) == {"type": "connecting", "state": "negotiating", "mode": "replaced"}
        assert await volume.replace_target(Upstairs.parse(trio.request(61, targets=(0, 1, 3)))) == "vcr_matches"
        await fill(volume, 2)
        await eventually(lambda: active(volume) == 3)
        assert volume.region_sets[0].status().generation == 60
        with pytest.raises(ReplaceError, match="Invalid downstairs replace The VCRs have no difference"):
            await volume.replace_target(Upstairs.parse(trio.request(61, targets=(0, 1, 3))))
        expected = await volume.read(0, volume.size)
        await volume.deactivate()
        await trio.stop_all()
        assert trio.contents(3) == trio.contents(0) == expected
        assert trio.versions(3) == trio.versions(0)


@on_loop
async def test_no_target_is_replaced_while_another_is_not_well(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs()
        await volume.activate()
        await trio.stop(0)
        await eventually(lambda: active(volume) == 2)
        trio.ports.append(9)
        with pytest.raises(ReplaceError, match="failed, downstairs 0 is offline"):
            await volume.replace_target(Upstairs.parse(trio.request(targets=(0, 1, 3))))
        assert active(volume) == 2
        volume.abandon()


@on_loop
async def test_finished_jobs_are_forgotten_behind_a_barrier_and_then_only_a_repair_helps(tmp_path: Path) -> None:
    settings = replace(QUICK, barrier_jobs=5, flush_delay=30.0)
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs(settings=settings)
        await volume.activate()
        await fill(volume, 1, 30)
        await eventually(lambda: volume.region_sets[0].open_jobs <= 6)
        await trio.stop(1)
        await eventually(lambda: target(volume, 1)["type"] == "connecting")
        assert target(volume, 1)["mode"] == "faulted"
        await trio.start(1)
        await eventually(lambda: active(volume) == 3)
        await volume.deactivate()
        await trio.stop_all()
        assert trio.equal()
