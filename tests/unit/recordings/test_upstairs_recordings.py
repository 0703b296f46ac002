# SPDX-License-Identifier: GPL-3.0-or-later
"""Our upstairs, given the recorded answers of real downstairs, sends byte for byte what a real upstairs sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import cycle

import pytest
from propolis_lab.protocol.messages import HereIAm, ReadRequest, Write
from propolis_lab.upstairs import ActivationError, IoError, Settings, Upstairs
from propolis_lab.upstairs.region_set import RegionSet
from propolis_lab.upstairs.status import Mode, Phase
from replayed_downstairs import Recording
from shared import needs_shared
from volumes import QUICK, Notes, eventually, on_loop, region_request, volume_request
from wire_recordings import Event, events

pytestmark = needs_shared

KEY = b"A" * 32
PATTERN = bytes((7 * number + 3) % 256 for number in range(512))
ALL_READ_FLUSHED = Settings(reconnect_delay=0.05, flush_delay=30.0)


def upstairs(
    recording: Recording,
    hello: HereIAm,
    settings: Settings = ALL_READ_FLUSHED,
    key: bytes | None = None,
    nonces: Callable[[], bytes] | None = None,
) -> Upstairs:
    """An upstairs with the ids and the generation of a recorded one."""
    request = region_request(
        [replica.port for replica in recording.replicas],
        hello.generation,
        key=key,
        id=str(hello.upstairs_id),
        read_only=hello.read_only,
    )
    volume = Upstairs.parse(volume_request(request))
    made = Upstairs(volume, log=Notes(), settings=settings, nonces=nonces)
    made.region_sets[0].session.session_id = hello.session_id
    return made


async def retired(volume: Upstairs) -> None:
    """Wait until all three replicas have answered the last flush."""
    await eventually(lambda: not volume.region_sets[0].open_jobs)


async def write_and_flush(volume: Upstairs, data: bytes, offset: int = 0) -> None:
    """A write and a flush without waiting between them, as the recorded program does it."""
    await asyncio.gather(volume.write(offset, data), volume.flush())


def written(recording: Recording, number: int = 0) -> bytes:
    """The data of a recorded write."""
    message = recording.sent("Write")[number]
    assert isinstance(message, Write)
    return bytes(message.data)


@on_loop
async def test_a_write_and_a_flush_are_requested_as_recorded_and_an_unretired_flush_is_repeated_at_the_end() -> None:
    async with Recording(list(events("a-write"))) as recording:
        volume = upstairs(recording, recording.hellos()[0])
        await volume.activate()
        assert written(recording) == PATTERN
        await write_and_flush(volume, PATTERN)
        await volume.deactivate()
        await recording.finish()


@on_loop
async def test_an_overwrite_at_a_higher_generation_is_requested_as_recorded() -> None:
    async with Recording(list(events("a2-overwrite-gen2"))) as recording:
        volume = upstairs(recording, recording.hellos()[0])
        await volume.activate()
        await write_and_flush(volume, written(recording))
        await retired(volume)
        await volume.deactivate()
        await recording.finish()


@pytest.mark.parametrize(("name", "length"), [("b-read", 512), ("c-read-unwritten", 1024)])
@on_loop
async def test_a_read_gets_the_recorded_bytes_and_is_flushed_at_the_end_as_recorded(name: str, length: int) -> None:
    async with Recording(list(events(name))) as recording:
        volume = upstairs(recording, recording.hellos()[0])
        await volume.activate()
        assert await volume.read(0, length) == PATTERN + bytes(length - 512)
        await volume.deactivate()
        await recording.finish()


@on_loop
async def test_too_low_and_zero_generations_are_refused_and_all_connections_closed_as_recorded() -> None:
    async with Recording(list(events("d-low-generation"))) as recording:
        low, zero = recording.hellos()
        with pytest.raises(ActivationError, match="Generation number is too low: requested 1, found 2"):
            await upstairs(recording, low).activate()
        with pytest.raises(ActivationError, match="Generation 0 is illegal"):
            await upstairs(recording, zero).activate()
        await recording.finish()


@on_loop
async def test_a_refused_promotion_is_tried_again_until_it_is_granted_as_recorded() -> None:
    async with Recording(list(events("e2-same-gen-same-upstairs-id"))) as recording:
        first, second = (upstairs(recording, hello, QUICK) for hello in recording.hellos())
        await first.activate()
        await second.activate()
        data = [bytes(m.data) for m in recording.sent("Write") if isinstance(m, Write)]
        await write_and_flush(second, data[0], 512)
        await second.deactivate()
        await write_and_flush(first, data[1])
        await first.deactivate()
        await recording.finish()


@on_loop
async def test_a_taken_over_session_closes_all_connections_and_refuses_io_as_recorded() -> None:
    async with Recording(list(events("e3-takeover-higher-generation"))) as recording:
        hellos = recording.hellos()
        first, second, third = (upstairs(recording, hello) for hello in hellos)
        await first.activate()
        await second.activate()
        await eventually(lambda: not first.status().active)
        assert first.status().to_json()["volume"]["sub_volumes"][0]["upstairs"]["state"] == "disabled"
        with pytest.raises(IoError, match="Upstairs is not active: No longer active"):
            await first.write(0, PATTERN)
        await write_and_flush(second, written(recording), 512)
        await retired(second)
        await second.deactivate()
        with pytest.raises(ActivationError, match="Generation number is too low: requested 2, found 5"):
            await third.activate()
        await recording.finish()


@on_loop
async def test_encrypted_blocks_are_sent_as_recorded_and_read_back_and_a_missing_key_is_refused() -> None:
    async with Recording(list(events("f-encrypted"))) as recording:
        writer, reader, keyless = recording.hellos()
        message = recording.sent("Write")[0]
        assert isinstance(message, Write)
        nonces = cycle(context.encryption[0] for context in message.contexts if context.encryption)
        volume = upstairs(recording, writer, key=KEY, nonces=lambda: next(nonces))
        await volume.activate()
        await write_and_flush(volume, PATTERN)
        await retired(volume)
        await volume.deactivate()
        volume = upstairs(recording, reader, key=KEY)
        await volume.activate()
        assert await volume.read(0, 1024) == PATTERN + bytes(512)
        await volume.deactivate()
        with pytest.raises(ActivationError, match="Incompatible encryption settings: wanted false, got true"):
            await upstairs(recording, keyless).activate()
        await recording.finish()


@on_loop
async def test_a_stale_extent_is_reconciled_with_the_recorded_steps() -> None:
    async with Recording(list(events("g-reconcile"))) as recording:
        volume = upstairs(recording, recording.hellos()[0])
        await volume.activate()
        request = recording.sent("ReadRequest")[0]
        assert isinstance(request, ReadRequest)
        await volume.read(request.start * 512, request.count * 512)
        await volume.deactivate()
        await recording.finish()


def read_only_events() -> list[Event]:
    """The read-only recording. One answer stands where the upstairs took it: after the second read of that session."""
    found = list(events("i-read-only"))
    late = next(event for event in found if event.key == (2, 3) and event.name == "ExtentVersions")
    found.remove(late)
    reads = [place for place, event in enumerate(found) if event.key == (0, 3) and event.name == "ReadRequest"]
    found.insert(reads[-1] + 1, late)
    return found


@on_loop
async def test_read_only_sessions_read_at_any_generation_and_flush_by_themselves_as_recorded() -> None:
    async with Recording(read_only_events(), in_step=True) as recording:
        writer, *readers = recording.hellos()
        with pytest.raises(ActivationError, match="Incompatible read-only settings: wanted false, got true"):
            await upstairs(recording, writer).activate()
        for hello in readers:
            volume = upstairs(recording, hello, QUICK)
            await volume.activate()
            region_set = volume.region_sets[0]
            for request in (m for m in recording.sent("ReadRequest", 1) if isinstance(m, ReadRequest)):
                there = 3 if hello.generation else request.job_id - 999  # who had joined when the read was sent

                def joined(sessions: RegionSet = region_set, count: int = there) -> bool:
                    return sum(target.phase is Phase.ACTIVE for target in sessions.targets) == count

                if request.session_id == hello.session_id:
                    await eventually(joined)
                    await volume.read(request.start * 512, request.count * 512)
            await eventually(lambda sessions=region_set: not (sessions.io.unflushed or sessions.open_jobs))
            await volume.deactivate()
        await recording.finish()


@on_loop
async def test_a_lost_downstairs_gets_the_last_flush_and_then_its_jobs_again_as_recorded() -> None:
    async with Recording(list(events("j-replay-lastflush"))) as recording:
        volume = upstairs(recording, recording.hellos()[0], QUICK)
        await volume.activate()
        region_set = volume.region_sets[0]
        await volume.write(0, PATTERN)
        # The flush that comes by itself is answered, then the downstairs is killed.
        await eventually(lambda: region_set.targets[1].mode is Mode.OFFLINE)
        await volume.write(512, PATTERN)
        await retired(volume)
        await write_and_flush(volume, PATTERN, 1024)
        await volume.deactivate()
        await recording.finish()
