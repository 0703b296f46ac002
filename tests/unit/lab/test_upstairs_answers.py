# SPDX-License-Identifier: GPL-3.0-or-later
"""What an upstairs makes of every kind of answer: a downstairs played by the test, frame by frame."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address
from uuid import UUID

import pytest
from played_downstairs import played, read_answer, says
from propolis_lab.protocol.basics import EMPTY, SocketAddress, UnencryptedContext
from propolis_lab.protocol.codec import encode
from propolis_lab.protocol.errors import CrucibleError, ErrorKind
from propolis_lab.protocol.messages import (
    ErrorReport,
    ExtentVersions,
    ExtentVersionsPlease,
    Flush,
    FlushAck,
    HereIAm,
    Imok,
    LastFlush,
    Message,
    PromoteToActive,
    ReadRequest,
    RegionDefinition,
    RegionInfo,
    RegionInfoPlease,
    Ruok,
    UuidMismatch,
    VersionMismatch,
    Write,
    WriteAck,
    WriteUnwritten,
    WriteUnwrittenAck,
    YesItsMe,
    YouAreNowActive,
)
from propolis_lab.upstairs import ActivationError, IoError
from propolis_lab.upstairs.status import Mode, Phase
from volumes import QUICK, Notes, eventually, on_loop

BLOCK = 512
BAD = CrucibleError(ErrorKind.IO_ERROR, ("the disk is gone",))


def failing_write(message: Message) -> list[Message]:
    assert isinstance(message, Write)
    return [WriteAck(message.upstairs_id, message.session_id, message.job_id, BAD)]


def failing_flush(message: Message) -> list[Message]:
    assert isinstance(message, Flush)
    return [FlushAck(message.upstairs_id, message.session_id, message.job_id, BAD)]


@on_loop
async def test_one_failed_write_faults_that_downstairs_and_the_guest_sees_success() -> None:
    async with played() as (volume, three):
        await volume.activate()
        three[1].instead[Write] = failing_write
        await volume.write(0, bytes(BLOCK))
        target = volume.region_sets[0].targets[1]
        await eventually(lambda: target.mode is Mode.FAULTED)
        assert volume.status().active


@on_loop
async def test_two_failed_writes_are_told_to_the_guest() -> None:
    async with played() as (volume, three):
        await volume.activate()
        three[0].instead[Write] = three[2].instead[Write] = failing_write
        with pytest.raises(IoError, match="2 out of 3 downstairs failed to complete this IO"):
            await volume.write(0, bytes(BLOCK))


@on_loop
async def test_two_failed_flushes_are_told_to_the_guest() -> None:
    async with played() as (volume, three):
        await volume.activate()
        three[0].instead[Flush] = three[2].instead[Flush] = failing_flush
        with pytest.raises(IoError, match="2 out of 3 downstairs failed to complete this IO"):
            await volume.flush()


@on_loop
async def test_a_write_is_done_with_two_answers_and_a_read_with_one() -> None:
    async with played() as (volume, three):
        await volume.activate()
        three[0].instead[Write] = says()
        await volume.write(0, bytes(BLOCK))
        three[1].instead[ReadRequest] = three[0].instead[ReadRequest] = says()
        assert await volume.read(0, BLOCK) == bytes(BLOCK)
        three[2].instead[Write] = says()
        hanging = asyncio.create_task(volume.write(0, bytes(BLOCK)))
        await asyncio.sleep(0.1)
        assert not hanging.done()
        hanging.cancel()


@on_loop
async def test_an_error_report_leaves_the_job_open_for_that_downstairs() -> None:
    log = Notes()
    async with played(log=log) as (volume, three):
        await volume.activate()

        def report(message: Message) -> list[Message]:
            assert isinstance(message, Write)
            return [ErrorReport(message.upstairs_id, message.session_id, message.job_id, BAD)]

        three[1].instead[Write] = report
        await volume.write(0, bytes(BLOCK))
        await eventually(lambda: any("DS Reports error" in text for text in log.texts(50)))
        assert volume.region_sets[0].open_jobs == 1
        assert volume.region_sets[0].targets[1].phase is Phase.ACTIVE


@pytest.mark.parametrize("spoilt", [UnencryptedContext(1), EMPTY])
@on_loop
async def test_spoilt_data_of_one_downstairs_is_logged_and_read_from_another(spoilt: object) -> None:
    log = Notes()
    async with played(log=log) as (volume, three):
        await volume.activate()

        def spoil(message: Message) -> list[Message]:
            assert isinstance(message, ReadRequest)
            return [read_answer(message, (spoilt,), b"x" * BLOCK)]

        three[0].instead[ReadRequest] = three[1].instead[ReadRequest] = spoil
        assert await volume.read(0, BLOCK) == bytes(BLOCK)
        await eventually(lambda: any("the real upstairs aborts here" in text for text in log.texts(50)))
        three[2].instead[ReadRequest] = spoil
        with pytest.raises(IoError, match="no downstairs could be read"):
            await volume.read(0, BLOCK)


@on_loop
async def test_a_read_that_fails_everywhere_fails_for_the_guest() -> None:
    async with played() as (volume, three):
        await volume.activate()

        def fail(message: Message) -> list[Message]:
            assert isinstance(message, ReadRequest)
            return [read_answer(message, BAD, b"")]

        for one in three:
            one.instead[ReadRequest] = fail
        with pytest.raises(IoError, match="no downstairs could be read"):
            await volume.read(0, BLOCK)


@pytest.mark.parametrize("answers", [1, 2])
@on_loop
async def test_an_answer_to_a_job_that_is_not_open_drops_the_connection(answers: int) -> None:
    log = Notes()
    async with played(log=log) as (volume, three):
        await volume.activate()

        def answer(message: Message) -> list[Message]:
            assert isinstance(message, Write)
            number = message.job_id if answers == 2 else message.job_id + 5
            return [WriteAck(message.upstairs_id, message.session_id, number, None)] * answers

        three[1].instead[Write] = answer
        await volume.write(0, bytes(BLOCK))
        await eventually(lambda: any("which is not open there" in text for text in log.texts(40)))
        del three[1].instead[Write]
        await eventually(lambda: all(one.phase is Phase.ACTIVE for one in volume.region_sets[0].targets))
        await volume.flush()


@on_loop
async def test_an_answer_with_the_ids_of_another_session_is_logged_and_ignored() -> None:
    log = Notes()
    async with played(log=log) as (volume, three):
        await volume.activate()

        def answer(message: Message) -> list[Message]:
            assert isinstance(message, Write)
            return [WriteAck(message.upstairs_id, UUID(int=5), message.job_id, None)]

        three[1].instead[Write] = answer
        await volume.write(0, bytes(BLOCK))
        await eventually(lambda: any("of another session" in text for text in log.texts(40)))
        assert volume.region_sets[0].open_jobs == 1
        assert volume.region_sets[0].targets[1].phase is Phase.ACTIVE


@pytest.mark.parametrize("wrong", [Ruok(), LastFlush(None), Imok()])
@on_loop
async def test_what_only_an_upstairs_sends_drops_the_connection_and_pings_do_not(wrong: Message) -> None:
    log = Notes()
    async with played(log=log) as (volume, three):
        await volume.activate()
        three[0].writers[-1].write(encode(wrong))
        if isinstance(wrong, Imok):
            await volume.flush()
            assert volume.region_sets[0].targets[0].phase is Phase.ACTIVE
        else:
            await eventually(lambda: any("was not asked for" in text for text in log.texts(40)))


@on_loop
async def test_bytes_that_are_no_message_drop_the_connection_and_it_is_made_again() -> None:
    async with played() as (volume, three):
        await volume.activate()
        three[0].writers[-1].write(b"\xff\xff\xff\xff rubbish")
        await eventually(lambda: len(three[0].writers) == 2)
        await eventually(lambda: volume.region_sets[0].targets[0].phase is Phase.ACTIVE)
        await eventually(lambda: any(isinstance(message, LastFlush) for message in three[0].received))


@pytest.mark.parametrize(
    ("to", "answer"),
    [
        (HereIAm, VersionMismatch(1)),
        (HereIAm, YesItsMe(12, SocketAddress(ip_address("127.0.0.1"), 9))),
        (HereIAm, RegionInfo(RegionDefinition(BLOCK, 16, 9, 4, UUID(int=1), False))),
        (PromoteToActive, None),
    ],
)
@on_loop
async def test_a_negotiation_that_goes_wrong_is_tried_again_until_it_succeeds(
    to: type[Message], answer: Message | None
) -> None:
    async with played() as (volume, three):
        three[2].instead[to] = (lambda _message: None) if answer is None else says(answer)
        activation = asyncio.create_task(volume.activate())
        await eventually(lambda: len(three[2].writers) >= 3)
        assert not activation.done()
        del three[2].instead[to]
        await activation


@pytest.mark.parametrize(
    ("to", "answer", "text"),
    [
        (HereIAm, UuidMismatch(UUID(int=7)), "says that its session is"),
        (PromoteToActive, YouAreNowActive(UUID(int=7), UUID(int=8), 1), "promoted another upstairs id"),
        (
            RegionInfoPlease,
            RegionInfo(RegionDefinition(4096, 16, 12, 4, UUID(int=1), False)),
            "block_size 512 expected",
        ),
        (
            ExtentVersionsPlease,
            ExtentVersions((0,) * 3, (0,) * 4, (False,) * 4),
            "3 generations of extents, expected 4",
        ),
    ],
)
@on_loop
async def test_a_negotiation_that_cannot_succeed_ends_the_activation(
    to: type[Message], answer: Message, text: str
) -> None:
    async with played() as (volume, three):
        three[1].instead[to] = says(answer)
        with pytest.raises(ActivationError, match=text):
            await volume.activate()
        assert all(target.phase is Phase.WAIT_CONNECT for target in volume.region_sets[0].targets)


@on_loop
async def test_a_downstairs_that_returns_with_another_region_ends_the_session_where_the_real_one_aborts() -> None:
    async with played() as (volume, three):
        await volume.activate()
        other = RegionInfo(RegionDefinition(BLOCK, 16, 9, 4, UUID(int=99), False))
        three[1].instead[RegionInfoPlease] = says(other)
        three[1].writers[-1].close()
        await eventually(lambda: not volume.status().active)
        with pytest.raises(IoError, match="came back with another region"):
            await volume.read(0, BLOCK)


@on_loop
async def test_replayed_jobs_are_those_after_the_last_flush_in_order_and_unchanged() -> None:
    async with played(replace(QUICK, flush_delay=30.0)) as (volume, three):
        await volume.activate()
        await volume.write(0, b"1" * BLOCK)
        await volume.flush()
        await eventually(lambda: not volume.region_sets[0].open_jobs)
        await volume.write(BLOCK, b"2" * BLOCK)
        await volume.read(0, BLOCK)
        await eventually(lambda: volume.region_sets[0].jobs_done)
        before = [m for m in three[1].received if isinstance(m, Write | Flush | ReadRequest)]
        await three[1].stop()
        await eventually(lambda: volume.region_sets[0].targets[1].mode is Mode.OFFLINE)
        await volume.write(2 * BLOCK, b"3" * BLOCK)
        count = len(three[1].received)
        await three[1].start()
        await eventually(lambda: volume.region_sets[0].targets[1].phase is Phase.ACTIVE)
        await eventually(lambda: len(three[1].received) >= count + 7)
        again = three[1].received[count:]
        assert [type(m) for m in again[:4]] == [HereIAm, PromoteToActive, RegionInfoPlease, LastFlush]
        assert again[3] == LastFlush(1001)
        assert again[4:6] == before[2:]
        assert isinstance(again[6], Write)
        assert again[6].job_id == 1004


def written(message: Message) -> list[Message]:
    assert isinstance(message, WriteUnwritten)
    return [WriteUnwrittenAck(message.upstairs_id, message.session_id, message.job_id, None)]


@on_loop
async def test_unwritten_blocks_are_asked_for_in_one_message_and_what_comes_after_depends_on_it() -> None:
    async with played(replace(QUICK, largest_io=2 * BLOCK, flush_delay=30.0)) as (volume, three):
        for one in three:
            one.instead[WriteUnwritten] = written
        await volume.activate()
        io = volume.region_sets[0].io
        await io.write_unwritten(3, b"u" * 5 * BLOCK)
        await io.read(7, 1)
        (message,) = [message for message in three[0].received if isinstance(message, WriteUnwritten)]
        assert (message.start, len(message.contexts), bytes(message.data)) == (3, 5, b"u" * 5 * BLOCK)
        (read,) = [message for message in three[0].received if isinstance(message, ReadRequest)]
        assert read.dependencies == (message.job_id,)
