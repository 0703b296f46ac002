# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs and repair steps that no recording shows, and what happens where the real process would go wrong."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from downstairs_harness import (
    ABORTS,
    SESSION,
    UPSTAIRS,
    WEDGES,
    Client,
    Running,
    active,
    downstairs,
    hello,
    make_region,
    with_session,
)
from propolis_lab.downstairs.options import Mode
from propolis_lab.protocol.basics import EMPTY, BlockContext, EncryptedContext, SocketAddress, UnencryptedContext
from propolis_lab.protocol.errors import ErrorKind
from propolis_lab.protocol.messages import (
    ErrorReport,
    ExtentClose,
    ExtentError,
    ExtentFlush,
    ExtentLiveClose,
    ExtentLiveCloseAck,
    ExtentLiveFlushClose,
    ExtentLiveNoOp,
    ExtentLiveReopen,
    ExtentLiveRepair,
    ExtentReopen,
    ExtentRepair,
    Flush,
    FlushAck,
    Imok,
    Message,
    ReadRequest,
    ReadResponse,
    RepairAckId,
    Ruok,
    SnapshotDetails,
    Write,
    WriteAck,
    WriteUnwritten,
    WriteUnwrittenAck,
    YouAreNoLongerActive,
)
from propolis_lab.region import Region, context_of
from xxhash import xxh64_intdigest

IDS = (UPSTAIRS, SESSION)


def _block(number: int) -> bytes:
    return bytes([number]) * 512


def _write(job: int, start: int, *blocks: bytes, kind: Any = Write) -> Any:
    return kind(*IDS, job, (), start, tuple(context_of(block) for block in blocks), b"".join(blocks))


def test_write_unwritten_leaves_blocks_that_were_written(tmp_path: Path) -> None:
    async def use(client: Client, _unused: Running) -> None:
        assert await client.ask(_write(1, 15, _block(1))) == WriteAck(*IDS, 1, None)
        unwritten = _write(2, 14, _block(2), _block(3), _block(4), kind=WriteUnwritten)
        assert await client.ask(unwritten) == WriteUnwrittenAck(*IDS, 2, None)
        found = await client.ask(ReadRequest(*IDS, 3, (), 13, 4))
        assert isinstance(found, ReadResponse)
        contexts = [EMPTY, *(UnencryptedContext(context_of(_block(number)).hash) for number in (2, 1, 4))]
        assert found.blocks == tuple(contexts)
        assert bytes(found.data) == bytes(512) + _block(2) + _block(1) + _block(4)

    with_session(make_region(tmp_path / "r"), use)


def test_write_unwritten_to_written_blocks_alone_leaves_the_extent_clean(tmp_path: Path) -> None:
    path = make_region(tmp_path / "r")

    async def use(client: Client, _unused: Running) -> None:
        client.send(_write(1, 0, _block(1)), Flush(*IDS, 2, (1,), 7, 5), _write(3, 0, _block(9), kind=WriteUnwritten))
        assert [type(await client.next()) for _unused in range(3)] == [WriteAck, FlushAck, WriteUnwrittenAck]

    with_session(path, use)
    assert not Region.open(path).versions()[0].dirty


def test_a_flush_with_an_extent_limit_flushes_that_extent_and_those_before_it(tmp_path: Path) -> None:
    path = make_region(tmp_path / "r")

    async def use(client: Client, _unused: Running) -> None:
        for extent in range(4):
            await client.ask(_write(extent, extent * 16, _block(extent)))
        assert await client.ask(Flush(*IDS, 10, (), 7, 5, None, 1)) == FlushAck(*IDS, 10, None)

    with_session(path, use)
    assert [(version.generation, version.flush, version.dirty) for version in Region.open(path).versions()] == [
        (5, 7, False),
        (5, 7, False),
        (0, 0, True),
        (0, 0, True),
    ]


def test_encrypted_blocks_come_back_with_nonce_and_tag_and_without_hash(tmp_path: Path) -> None:
    nonce, tag = bytes(range(12)), bytes(range(16))
    context = BlockContext(xxh64_intdigest(nonce + tag + _block(5)), (nonce, tag))

    async def run() -> None:
        async with (
            downstairs(make_region(tmp_path / "r", encrypted=True)) as running,
            await active(running.port, encrypted=True) as client,
        ):
            assert await client.ask(Write(*IDS, 1, (), 3, (context,), _block(5))) == WriteAck(*IDS, 1, None)
            found = await client.ask(ReadRequest(*IDS, 2, (), 3, 1))
        assert isinstance(found, ReadResponse)
        assert found.blocks == (EncryptedContext(nonce, tag),)

    asyncio.run(run())


def _live(job: int, extent: int) -> Message:
    return ExtentLiveClose(*IDS, job, (), extent)


@pytest.mark.parametrize(
    ("messages", "answers", "said"),
    [
        ([_write(1, 64, _block(1))], 0, ABORTS),
        ([_write(1, 63, _block(1), _block(2))], 0, ABORTS),
        ([_write(1, 64, _block(1), kind=WriteUnwritten)], 0, ABORTS),
        ([ReadRequest(*IDS, 1, (), 60, 5)], 0, ABORTS),
        ([ReadRequest(*IDS, 1, (), 0, 2**63)], 0, "a frame that no upstairs accepts"),
        ([ExtentClose(0, 1), ExtentClose(1, 1)], 1, ABORTS),
        ([ExtentReopen(0, 1)], 0, ABORTS),
        ([ExtentClose(0, 4)], 0, ABORTS),
        ([ExtentFlush(0, 9, 0, 1, 1)], 0, ABORTS),
        ([_live(1, 0), _live(2, 0)], 1, ABORTS),
        ([_live(1, 0), ExtentLiveFlushClose(*IDS, 2, (), 0, 1, 1)], 1, ABORTS),
        ([ExtentLiveReopen(*IDS, 1, (), 0)], 0, ABORTS),
        ([_live(1, 0), _write(2, 0, _block(1))], 1, ABORTS),
        ([_live(1, 0), ReadRequest(*IDS, 2, (), 0, 1)], 1, ABORTS),
        ([Write(*IDS, 1, (), 0, (BlockContext(1),), _block(1))], 0, WEDGES),
        ([Flush(*IDS, 1, (), 1, 1, None, 5)], 0, WEDGES),
        ([Write(*IDS, 1, (), 0, (BlockContext(1),), bytes(100))], 0, "not a multiple of the block size"),
        ([Write(*IDS, 1, (), 0, (), _block(1))], 0, "1 blocks of data came with 0 contexts"),
        ([hello()], 0, "HereIAm came from a session that is running"),
        ([Imok()], 0, "not a message that an upstairs sends"),
    ],
)
def test_where_the_real_process_would_go_wrong_ours_closes_the_connection_says_so_and_lives_on(
    tmp_path: Path, messages: list[Message], answers: int, said: str
) -> None:
    async def use(client: Client, running: Running) -> None:
        client.send(*messages)
        for _unused in range(answers):
            assert await client.next() is not None
        assert await client.next() is None
        assert any(said in text for text in running.messages())
        async with await active(running.port, generation=2) as again:
            assert await again.ask(Ruok()) == Imok()

    with_session(make_region(tmp_path / "r"), use)


def test_a_write_with_one_wrong_hash_writes_none_of_its_blocks(tmp_path: Path) -> None:
    path = make_region(tmp_path / "r")

    async def use(client: Client, _unused: Running) -> None:
        contexts = (context_of(_block(1)), BlockContext(5))
        assert await client.ask(Write(*IDS, 1, (), 15, contexts, _block(1) + _block(2))) is None

    with_session(path, use)
    region = Region.open(path)
    assert region.read(0, 64) == ([None] * 64, bytes(64 * 512))
    assert not any(version.dirty for version in region.versions())


@pytest.mark.parametrize(
    "message",
    [
        _write(1, 0, _block(1)),
        _write(1, 0, _block(1), kind=WriteUnwritten),
        ExtentClose(0, 0),
        ExtentLiveFlushClose(*IDS, 1, (), 0, 1, 1),
        ExtentLiveRepair(*IDS, 1, (), 0, 0, SocketAddress(ip_address("127.0.0.1"), 9)),
        ExtentLiveReopen(*IDS, 1, (), 0),
        ExtentLiveNoOp(*IDS, 1, ()),
    ],
)
def test_a_read_only_downstairs_closes_the_connection_of_whoever_wants_to_change_something(
    tmp_path: Path, message: Message
) -> None:
    async def use(client: Client, _unused: Running) -> None:
        assert await client.ask(message) is None

    with_session(make_region(tmp_path / "r"), use, mode=Mode.READ_ONLY)


def test_a_read_only_downstairs_takes_flushes_and_refuses_snapshots(tmp_path: Path) -> None:
    async def use(client: Client, running: Running) -> None:
        assert await client.ask(Flush(*IDS, 1, (), 0, 2)) == FlushAck(*IDS, 1, None)
        assert await client.ask(Flush(*IDS, 2, (), 0, 2, SnapshotDetails("s"))) is None
        assert WEDGES in running.messages()

    with_session(make_region(tmp_path / "r"), use, mode=Mode.READ_ONLY)


def test_a_failed_copy_is_an_extent_error_and_the_connection_stays(tmp_path: Path) -> None:
    nobody = SocketAddress(ip_address("127.0.0.1"), 9)

    async def use(client: Client, _unused: Running) -> None:
        found = await client.ask(ExtentRepair(0, 2, 0, nobody, (1,)))
        assert isinstance(found, ExtentError)
        assert "open" in str(found.error)
        assert await client.ask(ExtentClose(1, 2)) == RepairAckId(1)
        found = await client.ask(ExtentRepair(2, 2, 0, nobody, (1,)))
        assert isinstance(found, ExtentError)
        assert found.error.kind is ErrorKind.REPAIR_REQUEST_ERROR
        assert "error sending request for url (http://127.0.0.1:9/extent/2/files)" in str(found.error)
        assert await client.ask(ExtentReopen(3, 2)) == RepairAckId(3)

    with_session(make_region(tmp_path / "r"), use)


def test_a_failed_live_repair_is_one_error_report_and_the_end_of_the_connection(tmp_path: Path) -> None:
    nobody = SocketAddress(ip_address("127.0.0.1"), 9)

    async def use(client: Client, running: Running) -> None:
        client.send(_live(1, 0), ExtentLiveRepair(*IDS, 2, (1,), 0, 0, nobody), ExtentLiveNoOp(*IDS, 3, (2,)))
        assert isinstance(await client.next(), ExtentLiveCloseAck)
        report = await client.next()
        assert isinstance(report, ErrorReport)
        assert (report.job_id, report.error.kind) == (2, ErrorKind.REPAIR_REQUEST_ERROR)
        assert await client.next() is None
        await running.said("removed, 2 jobs left")

    with_session(make_region(tmp_path / "r"), use)


def test_a_takeover_in_the_middle_of_a_copy_stops_it_and_opens_the_old_extent(tmp_path: Path) -> None:
    path = make_region(tmp_path / "r")

    async def use(client: Client, running: Running) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            source = SocketAddress(ip_address("127.0.0.1"), silent.getsockname()[1])
            client.send(ExtentClose(0, 1), ExtentRepair(1, 1, 0, source, (1,)))
            assert await client.next() == RepairAckId(0)
            assert await client.ask(Ruok()) == Imok()
            async with await active(running.port, generation=2) as newer:
                assert isinstance(await client.next(), YouAreNoLongerActive)
                assert await client.next() is None
                assert await newer.ask(_write(1, 16, _block(4))) == WriteAck(*IDS, 1, None)

    with_session(path, use)
    assert Region.open(path).read(16, 1)[1] == _block(4)


def test_a_new_session_finds_all_extents_open_that_the_last_one_left_closed(tmp_path: Path) -> None:
    async def use(client: Client, running: Running) -> None:
        assert await client.ask(ExtentClose(0, 3)) == RepairAckId(0)
        async with await active(running.port, generation=2) as newer:
            assert isinstance(await newer.ask(ReadRequest(*IDS, 1, (), 63, 1)), ReadResponse)

    with_session(make_region(tmp_path / "r"), use)
