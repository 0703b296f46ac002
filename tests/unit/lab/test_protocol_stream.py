# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages over a connection: batches, backlogs, broken and faulty connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from propolis_lab.protocol.basics import BlockContext
from propolis_lab.protocol.errors import CodecError
from propolis_lab.protocol.faults import Faults, parse
from propolis_lab.protocol.messages import Barrier, BarrierAck, Imok, Message, Ruok, Write
from propolis_lab.protocol.stream import FrameStream

UP, SESSION = UUID(int=1), UUID(int=2)
LIMIT = 10.0
PORT = 8810
Streams = tuple[FrameStream, FrameStream]


@contextlib.asynccontextmanager
async def _pair(
    left: Faults | None = None, right: Faults | None = None
) -> AsyncIterator[tuple[FrameStream, FrameStream]]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        one = socket.create_connection(listener.getsockname())
        other, _unused = listener.accept()
    streams = FrameStream(one, PORT, left or Faults()), FrameStream(other, PORT, right or Faults())
    try:
        async with asyncio.timeout(LIMIT):
            yield streams
    finally:
        for stream in streams:
            stream.abort()


def _faults(text: str) -> Faults:
    return Faults(parse(text))


def _barrier(number: int) -> Barrier:
    return Barrier(UP, SESSION, number, ())


async def _collect(stream: FrameStream, count: int) -> list[Message]:
    found: list[Message] = []
    while len(found) < count:
        messages = await stream.receive()
        assert messages, "the other side closed"
        found += messages
    return found


def test_messages_arrive_in_order_and_those_of_one_turn_in_one_batch() -> None:
    async def check() -> None:
        async with _pair() as (left, right):
            for number in range(100):
                left.send(_barrier(number))
            assert await right.receive() == [_barrier(number) for number in range(100)]

    asyncio.run(check())


def test_large_writes_in_both_directions_at_once_arrive_whole() -> None:
    async def check() -> None:
        data = bytes(range(256)) * 8192
        writes = [Write(UP, SESSION, number, (), 0, (BlockContext(number),), data) for number in range(20)]
        async with _pair() as (left, right):
            for write in writes:
                left.send(write)
                right.send(write)
            assert await asyncio.gather(_collect(left, 20), _collect(right, 20)) == [writes, writes]
            await left.drain()
            assert left.queued == 0

    asyncio.run(check())


def test_an_orderly_close_sends_everything_first_and_is_seen_as_an_empty_batch() -> None:
    async def check() -> None:
        async with _pair() as (left, right):
            left.send(Write(UP, SESSION, 1, (), 0, (), bytes(8 << 20)))
            left.send(Ruok())
            closing = asyncio.create_task(left.close())
            assert [type(message) for message in await _collect(right, 2)] == [Write, Ruok]
            assert await right.receive() == []
            await closing

    asyncio.run(check())


def test_a_close_does_not_wait_for_ever_for_a_peer_that_does_not_read() -> None:
    async def check() -> None:
        async with _pair() as (left, _unused):
            left.send(Write(UP, SESSION, 1, (), 0, (), bytes(64 << 20)))
            await left.close(within=0.05)
            assert left.closed

    asyncio.run(check())


def test_a_peer_that_sends_more_than_is_read_is_held_back() -> None:
    async def check() -> None:
        async with _pair() as (left, right):
            for number in range(80):
                left.send(Write(UP, SESSION, number, (), 0, (), bytes(1 << 20)))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await left.drain()
            assert left.queued > 16 << 20
            assert len(await _collect(right, 80)) == 80

    asyncio.run(check())


def test_messages_before_bad_bytes_are_given_out_before_the_error() -> None:
    async def check() -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            raw = socket.create_connection(listener.getsockname())
            other, _unused = listener.accept()
        stream = FrameStream(other, PORT)
        raw.sendall(struct.pack("<II", 8, 9) + struct.pack("<II", 8, 99))
        async with asyncio.timeout(LIMIT):
            assert await stream.receive() == [Ruok()]
            with pytest.raises(CodecError, match="found 99"):
                await stream.receive()
        raw.close()
        stream.abort()

    asyncio.run(check())


def test_a_reset_connection_is_an_os_error_and_sending_on_it_is_harmless() -> None:
    async def check() -> None:
        async with _pair() as (left, right):
            right.send(Ruok())
            await right.drain()
            left_socket = left._socket
            left_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            left.abort()
            with pytest.raises(OSError, match="reset"):
                await right.receive()
            right.send(Ruok())
            await right.drain()

    asyncio.run(check())


def test_nobody_listening_is_an_os_error() -> None:
    async def check() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            await FrameStream.connect("127.0.0.1", port, LIMIT)

    asyncio.run(check())


@pytest.mark.parametrize("where", ["send", "receive"])
def test_a_dropped_frame_is_missing_and_the_others_arrive(where: str) -> None:
    faults = _faults(f'[{{"do": "drop", "on": "{where}", "message": "Barrier", "skip": 1}}]')

    async def check() -> None:
        async with _pair(*((faults, None) if where == "send" else (None, faults))) as (left, right):
            for number in range(3):
                left.send(_barrier(number))
            assert await _collect(right, 2) == [_barrier(0), _barrier(2)]

    asyncio.run(check())


@pytest.mark.parametrize("where", ["send", "receive"])
def test_a_delayed_frame_and_all_after_it_arrive_later_and_in_order(where: str) -> None:
    faults = _faults(f'[{{"do": "delay", "on": "{where}", "message": "Barrier", "seconds": 0.2}}]')

    async def check() -> None:
        async with _pair(*((faults, None) if where == "send" else (None, faults))) as (left, right):
            begin = asyncio.get_running_loop().time()
            left.send(_barrier(1))
            left.send(Ruok())
            assert await _collect(right, 2) == [_barrier(1), Ruok()]
            assert asyncio.get_running_loop().time() - begin >= 0.19
            left.send(_barrier(2))
            assert await _collect(right, 1) == [_barrier(2)]

    asyncio.run(check())


def test_a_close_that_comes_while_a_frame_is_delayed_is_seen_after_the_frame() -> None:
    async def check() -> None:
        async with _pair(None, _faults('[{"do": "delay", "on": "receive", "seconds": 0.1}]')) as (left, right):
            left.send(Ruok())
            await left.close()
            assert await right.receive() == [Ruok()]
            assert await right.receive() == []

    asyncio.run(check())


def test_a_corrupted_write_arrives_with_other_data_and_a_corrupted_ack_as_an_error() -> None:
    async def check() -> None:
        async with _pair(_faults('[{"do": "corrupt", "on": "send", "times": 2}]')) as (left, right):
            left.send(Write(UP, SESSION, 1, (), 0, (BlockContext(1),), bytes(512)))
            (write,) = await _collect(right, 1)
            assert isinstance(write, Write)
            assert bytes(write.data) == bytes(511) + b"\xff"
            left.send(BarrierAck(UP, SESSION, 1, None))
            with pytest.raises(CodecError):
                await right.receive()

    asyncio.run(check())


def test_a_requested_close_ends_the_connection_at_that_message() -> None:
    async def check() -> None:
        async with _pair(None, _faults('[{"do": "close", "message": "Imok", "on": "send"}]')) as (left, right):
            left.send(Ruok())
            assert await right.receive() == [Ruok()]
            right.send(Imok())
            assert await left.receive() == []
            assert right.closed

    asyncio.run(check())
