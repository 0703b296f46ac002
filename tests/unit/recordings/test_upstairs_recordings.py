# SPDX-License-Identifier: GPL-3.0-or-later
"""Our upstairs, given the recorded answers of real downstairs, sends byte for byte what a real upstairs sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import ip_address
from itertools import cycle, pairwise
from uuid import UUID

import pytest
from played_downstairs import Answer, played, says
from propolis_lab.protocol.basics import SocketAddress
from propolis_lab.protocol.codec import decode
from propolis_lab.protocol.messages import (
    ClosedExtent,
    ExtentLiveClose,
    ExtentLiveCloseAck,
    ExtentLiveFlushClose,
    ExtentLiveNoOp,
    ExtentLiveReopen,
    ExtentLiveRepair,
    ExtentVersions,
    ExtentVersionsPlease,
    Flush,
    HereIAm,
    JobRequest,
    Message,
    ReadRequest,
    Write,
    YesItsMe,
)
from propolis_lab.upstairs import ActivationError, IoError, Settings, Upstairs
from propolis_lab.upstairs.region_set import RegionSet
from propolis_lab.upstairs.status import Mode, Phase
from replayed_downstairs import Recording
from shared import needs_shared
from volumes import QUICK, Notes, eventually, on_loop, region_request, volume_request
from wire_recordings import Event, events, moments

pytestmark = needs_shared

KEY = b"A" * 32
PATTERN = bytes((7 * number + 3) % 256 for number in range(512))
LIVE_REPAIR = (ExtentLiveClose, ExtentLiveFlushClose, ExtentLiveRepair, ExtentLiveNoOp, ExtentLiveReopen)
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
    async with Recording(events("a-write")) as recording:
        volume = upstairs(recording, recording.hellos()[0])
        await volume.activate()
        assert written(recording) == PATTERN
        await write_and_flush(volume, PATTERN)
        await volume.deactivate()
        await recording.finish()


@on_loop
async def test_an_overwrite_at_a_higher_generation_is_requested_as_recorded() -> None:
    async with Recording(events("a2-overwrite-gen2")) as recording:
        volume = upstairs(recording, recording.hellos()[0])
        await volume.activate()
        await write_and_flush(volume, written(recording))
        await retired(volume)
        await volume.deactivate()
        await recording.finish()


@pytest.mark.parametrize(("name", "length"), [("b-read", 512), ("c-read-unwritten", 1024)])
@on_loop
async def test_a_read_gets_the_recorded_bytes_and_is_flushed_at_the_end_as_recorded(name: str, length: int) -> None:
    async with Recording(events(name)) as recording:
        volume = upstairs(recording, recording.hellos()[0])
        await volume.activate()
        assert await volume.read(0, length) == PATTERN + bytes(length - 512)
        await volume.deactivate()
        await recording.finish()


@on_loop
async def test_too_low_and_zero_generations_are_refused_and_all_connections_closed_as_recorded() -> None:
    async with Recording(events("d-low-generation")) as recording:
        low, zero = recording.hellos()
        with pytest.raises(ActivationError, match="Generation number is too low: requested 1, found 2"):
            await upstairs(recording, low).activate()
        with pytest.raises(ActivationError, match="Generation 0 is illegal"):
            await upstairs(recording, zero).activate()
        await recording.finish()


@on_loop
async def test_refusals_of_another_upstairs_at_the_same_generation_never_end_and_harm_nobody_as_recorded() -> None:
    async with Recording(events("e1-same-gen-other-upstairs-id")) as recording:
        first, second = (upstairs(recording, hello, QUICK) for hello in recording.hellos())
        await first.activate()
        refused = asyncio.create_task(second.activate())
        await eventually(lambda: all(4 in replica.closed for replica in recording.replicas))
        assert not refused.done()
        refused.cancel()
        await asyncio.gather(refused, return_exceptions=True)
        await write_and_flush(first, written(recording))
        await retired(first)
        await first.deactivate()
        await recording.finish()


def test_the_recorded_upstairs_pinged_and_tried_again_after_the_times_that_ours_takes() -> None:
    name, real = "e1-same-gen-other-upstairs-id", Settings()
    begun = moments(name, "connected")
    for (replica, number), (at,) in begun.items():
        if number > 2:  # the third and fourth connections are second and third tries of one upstairs
            waited = at - begun[replica, number - 1][0]
            assert real.reconnect_delay < waited < real.reconnect_delay + 0.5
    pings = moments(name, "Ruok")
    assert len(pings) == 3
    for connection, times in pings.items():
        for earlier, later in pairwise([*begun[connection], *times]):
            assert abs(later - earlier - real.ping_interval) < 0.1


@on_loop
async def test_a_refused_promotion_is_tried_again_until_it_is_granted_as_recorded() -> None:
    async with Recording(events("e2-same-gen-same-upstairs-id")) as recording:
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
    async with Recording(events("e3-takeover-higher-generation")) as recording:
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
    async with Recording(events("f-encrypted")) as recording:
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
    async with Recording(events("g-reconcile")) as recording:
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
    async with Recording(events("j-replay-lastflush")) as recording:
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


def live_repair_requests(messages: Iterable[Message]) -> list[Message]:
    """The messages of the repair of extent 0, their job numbers counted from its first one, without session ids."""
    found = [message for message in messages if isinstance(message, JobRequest) and type(message) in LIVE_REPAIR]
    extent = [message for message in found if getattr(message, "extent_id", 0) == 0]
    first = min(message.job_id for message in extent)
    return [
        replace(
            message,
            upstairs_id=UUID(int=0),
            session_id=UUID(int=0),
            job_id=message.job_id - first,
            dependencies=tuple(number - first for number in message.dependencies),
            **({"flush_number": 0, "generation": 1} if isinstance(message, ExtentLiveFlushClose) else {}),
        )
        for message in extent
        if message.job_id < first + 4
    ]


@on_loop
async def test_the_live_repair_of_an_extent_is_requested_with_the_recorded_messages_in_the_recorded_order() -> None:
    recording = Recording(event for event in events("h-live-repair") if event.whole)
    async with played(replace(QUICK, flush_delay=30.0)) as (volume, three):
        for number, one in enumerate(three):
            one.instead[ExtentLiveClose] = closing(242, dirty=True)
            one.instead[ExtentLiveFlushClose] = closing(1462, dirty=False)
            one.instead[ExtentVersionsPlease] = says(ExtentVersions((0,) * 4, (0,) * 4, (False,) * 4))
            repair_address = SocketAddress(ip_address("127.0.0.1"), 25161 + number)
            one.instead[HereIAm] = says(YesItsMe(13, repair_address))
        await volume.activate()
        region_set = volume.region_sets[0]
        region_set._fault(region_set.targets[1], "as if it had missed too much")
        await eventually(lambda: region_set.targets[1].phase is Phase.ACTIVE)
        for number, one in enumerate(three):
            recorded = [decode(e.frame[4:]) for e in recording.events if e.kind == "send" and e.replica == number]
            assert live_repair_requests(one.received) == live_repair_requests(recorded)
        last = [message for message in three[1].received if isinstance(message, Flush)][-1]
        assert last.extent_limit == 3
        assert all(m.extent_limit is None for m in three[0].received if isinstance(m, Flush))


def closing(flush: int, *, dirty: bool) -> Answer:
    """An extent that closes and tells these numbers at generation 1."""

    def answer(message: Message) -> list[Message]:
        assert isinstance(message, JobRequest)
        closed = ClosedExtent(1, flush, dirty)
        return [ExtentLiveCloseAck(message.upstairs_id, message.session_id, message.job_id, closed)]

    return answer
