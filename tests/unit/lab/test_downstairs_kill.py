# SPDX-License-Identifier: GPL-3.0-or-later
"""A downstairs that is killed in the middle of its work leaves a region that opens, verifies and holds what it said."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest
from downstairs_harness import (
    ENVIRONMENT,
    SESSION,
    UPSTAIRS,
    active,
    downstairs,
    downstairs_process,
    free_port,
    make_region,
)
from propolis_lab.protocol.basics import SocketAddress
from propolis_lab.protocol.messages import (
    ExtentClose,
    ExtentRepair,
    Flush,
    FlushAck,
    Message,
    ReadRequest,
    ReadResponse,
    RepairAckId,
    Ruok,
    Write,
)
from propolis_lab.region import Region, context_of

IDS = (UPSTAIRS, SESSION)


def _verified(path: Path) -> str:
    """What ``verify`` prints about the region; it must find nothing wrong."""
    command = [sys.executable, "-m", "propolis_lab.downstairs", "verify", "-d", str(path)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _block(number: int) -> bytes:
    return bytes([number % 251]) * 512


def _writes(count: int) -> list[Message]:
    """Writes over the whole region, again and again, with a flush after every ten."""
    messages: list[Message] = []
    for number in range(count):
        block = _block(number)
        messages.append(Write(*IDS, 2 * number, (), number % 64, (context_of(block),), block))
        if number % 10 == 9:
            messages.append(Flush(*IDS, 2 * number + 1, (), number // 10 + 1, 1))
    return messages


@pytest.mark.parametrize("skip", [0, 7, 10, 63, 64, 131])
def test_a_kill_in_the_middle_of_writes_loses_nothing_that_was_flushed(tmp_path: Path, skip: int) -> None:
    path, port = make_region(tmp_path / "r"), free_port()
    faults = f'[{{"do": "die", "on": "send", "message": "WriteAck", "skip": {skip}}}]'

    async def run() -> int:
        """The number of flushes that were acknowledged."""
        async with downstairs_process(path, port, faults) as process, await active(port) as client:
            client.send(*_writes(200))
            flushed = 0
            while (message := await client.next()) is not None:
                flushed += isinstance(message, FlushAck)
            assert await process.wait() == -signal.SIGKILL
            return flushed

    flushed = asyncio.run(run())
    _verified(path)
    region = Region.open(path)
    _unused, data = region.read(0, 64)
    region.close()
    for start in range(64):
        # Writes go on in order: a block holds its last flushed write, or one of those that came after it.
        allowed = {_block(number) for number in range(start, 200, 64) if number >= flushed * 10 - 64}
        if not any(number < flushed * 10 for number in range(start, 200, 64)):
            allowed.add(bytes(512))
        assert data[start * 512 : (start + 1) * 512] in allowed
    assert flushed == min(skip // 10, 20)


def test_the_session_after_a_kill_reads_what_was_acknowledged(tmp_path: Path) -> None:
    path, port = make_region(tmp_path / "r"), free_port()

    async def run() -> None:
        faults = '[{"do": "die", "on": "receive", "message": "Flush"}]'
        async with downstairs_process(path, port, faults) as process, await active(port) as client:
            client.send(*_writes(10))
            while await client.next() is not None:
                pass
            await process.wait()
        async with downstairs(path) as running, await active(running.port, generation=2) as client:
            found = await client.ask(ReadRequest(*IDS, 1, (), 0, 10))
            assert isinstance(found, ReadResponse)
            assert bytes(found.data) == b"".join(map(_block, range(10)))

    asyncio.run(run())


def test_a_kill_while_an_extent_is_fetched_leaves_the_old_extent(tmp_path: Path) -> None:
    good, stale, port = make_region(tmp_path / "good"), make_region(tmp_path / "stale"), free_port()
    region = Region.open(good)
    region.write(0, [context_of(_block(9))], _block(9))
    region.flush(3, 3)
    region.close()
    old = (stale / "00" / "000" / "000").read_bytes()

    async def run() -> None:
        async with (
            downstairs(good) as source,
            await active(source.port) as giver,
            downstairs_process(stale, port, '[{"do": "die", "on": "receive", "message": "Ruok"}]') as process,
            await active(port) as taker,
        ):
            for client in (giver, taker):
                assert await client.ask(ExtentClose(1, 0)) == RepairAckId(1)
            address = SocketAddress(ip_address("127.0.0.1"), source.port + 4000)
            taker.send(ExtentRepair(2, 0, 0, address, (1,)), Ruok())
            assert await taker.next() is None
            assert await process.wait() == -signal.SIGKILL

    asyncio.run(run())
    _verified(stale)
    assert (stale / "00" / "000" / "000").read_bytes() == old
