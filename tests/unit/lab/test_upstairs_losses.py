# SPDX-License-Identifier: GPL-3.0-or-later
"""Downstairs that go and come back while a volume is in use: two of three, replay, silence, release."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from lab_volumes import FORGETFUL, active, fill, target
from propolis_lab.protocol.faults import Faults, Rule
from propolis_lab.region import Age
from propolis_lab.upstairs import IoError
from propolis_lab.upstairs.status import Mode
from trio import AFTER_2023, Trio
from volumes import QUICK, Notes, eventually, on_loop

BLOCK = 512


@on_loop
async def test_with_two_of_three_the_guest_goes_on_and_the_third_gets_all_it_missed(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs()
        await volume.activate()
        await fill(volume, 1)
        await volume.flush()
        await fill(volume, 2, 3)
        await trio.stop(1)
        await eventually(lambda: target(volume, 1) == {"type": "connecting", "state": "negotiating", "mode": "offline"})
        await fill(volume, 3)
        await volume.flush()
        await volume.read(0, volume.size)
        assert volume.region_sets[0].status().to_json()["upstairs"]["state"] == "active"
        await trio.start(1)
        await eventually(lambda: active(volume) == 3)
        assert volume.region_sets[0].io.repair is None
        await volume.deactivate()
        await trio.stop_all()
        assert trio.equal()


@on_loop
async def test_with_one_of_three_reads_go_on_and_writes_wait_for_a_second(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs()
        await volume.activate()
        await volume.write(0, b"a" * BLOCK)
        await trio.stop(0)
        await trio.stop(2)
        await eventually(lambda: active(volume) == 1)
        assert await volume.read(0, BLOCK) == b"a" * BLOCK
        write = asyncio.create_task(volume.write(0, b"b" * BLOCK))
        flush = asyncio.create_task(volume.flush())
        await asyncio.sleep(0.2)
        assert not write.done()
        assert not flush.done()
        await trio.start(2)
        await asyncio.gather(write, flush)
        await volume.deactivate()


@on_loop
async def test_a_flush_that_two_have_missed_for_good_fails_and_the_guest_hears_it(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs(settings=FORGETFUL)
        await volume.activate()
        await trio.stop(0)
        await trio.stop(2)
        await eventually(lambda: active(volume) == 1)
        outcomes = await asyncio.gather(
            *(volume.write(0, bytes(BLOCK)) for _unused in range(4)), return_exceptions=True
        )
        assert {str(outcome) for outcome in outcomes} == {"IO Error: 2 out of 3 downstairs failed to complete this IO"}
        assert target(volume, 0)["mode"] == "faulted"
        with pytest.raises(IoError, match="2 out of 3 downstairs failed"):
            await volume.flush()
        volume.abandon()


@on_loop
async def test_a_downstairs_that_fails_a_write_is_faulted_and_repaired(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs()
        await volume.activate()
        await fill(volume, 1)
        region_set = volume.region_sets[0]
        region_set._fault(region_set.targets[0], "a write failed")
        assert target(volume, 0) == {"type": "connecting", "state": "negotiating", "mode": "faulted"}
        await fill(volume, 2)
        await eventually(lambda: active(volume) == 3)
        await volume.deactivate()
        await trio.stop_all()
        assert trio.equal()


@on_loop
async def test_a_downstairs_that_falls_silent_is_dropped_and_replayed(tmp_path: Path) -> None:
    impatient = replace(QUICK, ping_interval=0.05, inactivity_timeout=0.2)
    trio = Trio(tmp_path)
    mute = {"side": "downstairs", "do": "drop", "on": "send", "port": trio.ports[1]}
    trio.options["faults"] = json.dumps(
        [{**mute, "message": "WriteAck", "times": 20}, {**mute, "message": "Imok", "times": 10}]
    )
    async with trio:
        log = Notes()
        volume = trio.upstairs(settings=impatient, log=log)
        await volume.activate()
        await fill(volume, 1)
        await eventually(lambda: any("nothing was heard" in text for text in log.texts(40)))
        await volume.flush()
        await eventually(lambda: active(volume) == 3 and not volume.region_sets[0].open_jobs)
        await volume.deactivate()
        await trio.stop_all()
        assert trio.equal()


@on_loop
async def test_a_volume_can_be_released_while_one_replica_is_away(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs(1)
        await volume.activate()
        await trio.stop(2)
        await fill(volume, 1)
        await volume.deactivate()
        await trio.start(2)
        volume = trio.upstairs(2)
        await volume.activate()
        await volume.deactivate()
        await trio.stop_all()
        assert trio.equal()


@on_loop
async def test_the_upstairs_of_2023_replays_but_never_repairs(tmp_path: Path) -> None:
    async with Trio(tmp_path, age=Age.JANUARY_2023) as trio:
        volume = trio.upstairs(settings=replace(AFTER_2023, offline_jobs=10))
        await volume.activate()
        await trio.stop(1)
        await eventually(lambda: active(volume) == 2)
        await fill(volume, 1, 3)
        await trio.start(1)
        await eventually(lambda: active(volume) == 3)
        await trio.stop(1)
        await eventually(lambda: active(volume) == 2)
        await fill(volume, 2, 20)
        assert volume.region_sets[0].targets[1].mode is Mode.FAULTED
        await trio.start(1)
        await asyncio.sleep(0.2)
        assert active(volume) == 2
        await volume.deactivate()
        volume = trio.upstairs(2, settings=AFTER_2023)
        await volume.activate()
        await volume.deactivate()
        await trio.stop_all()
        assert len({trio.contents(number) for number in range(3)}) == 1


@on_loop
async def test_a_slow_downstairs_holds_new_io_back_before_it_fills_the_memory(tmp_path: Path) -> None:
    settings = replace(QUICK, open_jobs=8, flush_delay=30.0)
    async with Trio(tmp_path) as trio:
        late = Faults((Rule("delay", on="receive", port=trio.ports[2], message="WriteAck", seconds=0.5),), "upstairs")
        volume = trio.upstairs(settings=settings, faults=late)
        await volume.activate()
        writes = [asyncio.create_task(volume.write(0, bytes(BLOCK))) for _unused in range(40)]
        await asyncio.sleep(0.2)
        assert volume.region_sets[0].open_jobs <= 10
        assert not all(write.done() for write in writes)
        await asyncio.gather(*writes)
        await volume.deactivate()
