# SPDX-License-Identifier: GPL-3.0-or-later
"""Downstairs that go and come back while a volume is in use: two of three, replay, live repair, replacement."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from propolis_lab.protocol.faults import Faults, Rule
from propolis_lab.region import Age
from propolis_lab.upstairs import IoError, ReplaceError, Upstairs
from propolis_lab.upstairs.status import Mode, Phase
from trio import AFTER_2023, Trio
from volumes import QUICK, Notes, eventually, on_loop

BLOCK = 512
FORGETFUL = replace(QUICK, offline_jobs=2)
"""More than two jobs missed, and a live repair is needed."""


def target(volume: Upstairs, index: int) -> dict[str, str]:
    """The state of a target as the API tells it."""
    targets = volume.status().to_json()["volume"]["sub_volumes"][0]["upstairs"]["targets"]
    state: dict[str, str] = targets[index]["state"]
    return state


def active(volume: Upstairs) -> int:
    return sum(one.phase is Phase.ACTIVE for one in volume.region_sets[0].targets)


async def fill(volume: Upstairs, seed: int, count: int = 20) -> None:
    """Some writes of one to four blocks anywhere."""
    choose = random.Random(seed)
    blocks = volume.size // BLOCK
    for number in range(count):
        first = choose.randrange(blocks - 4)
        await volume.write(first * BLOCK, bytes([seed, number]) * (BLOCK // 2) * choose.randint(1, 4))


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
