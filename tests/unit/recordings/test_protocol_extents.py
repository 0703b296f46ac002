# SPDX-License-Identifier: GPL-3.0-or-later
"""Extents recorded in the middle of things: dirty, written twice, opened after a kill, reconciled."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import wire_recordings as wire
from downstairs_harness import ENVIRONMENT, SESSION, UPSTAIRS, Client, active, downstairs, make_region
from propolis_lab.protocol.basics import SocketAddress
from propolis_lab.protocol.messages import (
    ExtentClose,
    ExtentFlush,
    ExtentReopen,
    ExtentRepair,
    Flush,
    FlushAck,
    RepairAckId,
    Write,
    WriteAck,
)
from propolis_lab.region import context_of
from shared import needs_shared

pytestmark = needs_shared
IDS = (UPSTAIRS, SESSION)
PATTERN = bytes((7 * i + 3) % 256 for i in range(512))
COMPLEMENT = bytes(255 - byte for byte in PATTERN)


def _extent_0(region: Path) -> bytes:
    return (region / "00" / "000" / "000").read_bytes()


async def _write(client: Client, job: int, block: int, data: bytes) -> None:
    assert await client.ask(Write(*IDS, job, (), block, (context_of(data),), data)) == WriteAck(*IDS, job, None)


async def _written_twice(path: Path) -> None:
    """Two generations of flushed writes to block 0, as recorded."""
    for generation, data in ((1, PATTERN), (2, COMPLEMENT)):
        async with downstairs(path) as running, await active(running.port, generation=generation) as client:
            await _write(client, 1, 0, data)
            assert await client.ask(Flush(*IDS, 2, (1,), generation, generation)) == FlushAck(*IDS, 2, None)
    assert _extent_0(path) == wire.extent("4-overwrite-gen2")


def test_the_life_of_a_dirty_extent_leaves_the_recorded_bytes_at_each_stage(tmp_path: Path) -> None:
    path, stale = make_region(tmp_path / "ds0"), make_region(tmp_path / "ds1")

    async def run() -> None:
        await _written_twice(path)
        await _written_twice(stale)
        async with downstairs(path) as running, await active(running.port, generation=3) as client:
            await _write(client, 1, 0, PATTERN)
            await _write(client, 2, 2, PATTERN)
            assert _extent_0(path) == wire.extent("5-dirty-gen3-unflushed")
            await _write(client, 3, 0, COMPLEMENT)
            assert _extent_0(path) == wire.extent("6-dirty-block0-twice")
        await _reconcile(path, stale)

    asyncio.run(run())
    assert _extent_0(path) == wire.extent("7-after-reopen-and-reconcile")
    assert _extent_0(stale) == wire.extent("7b-replica1")


def test_an_imported_image_leaves_the_recorded_bytes(tmp_path: Path) -> None:
    image = tmp_path / "image.raw"
    image.write_bytes(wire.extent("2-import")[:1736])
    geometry = ["--block-size", "512", "--extent-size", "16", "--extent-count", "4"]
    words = ["create", "-d", str(tmp_path / "r"), "-u", str(UPSTAIRS), *geometry, "--import-path", str(image)]
    subprocess.run([sys.executable, "-m", "propolis_lab.downstairs", *words], env=ENVIRONMENT, check=True)
    assert _extent_0(tmp_path / "r") == wire.extent("2-import")
    assert (tmp_path / "r" / "00" / "000" / "001").read_bytes() == wire.extent("1-fresh")


async def _reconcile(source: Path, target: Path) -> None:
    """What an upstairs of generation 4 does with a dirty extent and a clean one."""
    async with (
        downstairs(source) as giving,
        downstairs(target) as taking,
        await active(giving.port, generation=4) as giver,
        await active(taking.port, generation=4) as taker,
    ):
        assert await giver.ask(ExtentFlush(0, 0, 0, 3, 3)) == RepairAckId(0)
        for client in (giver, taker):
            assert await client.ask(ExtentClose(1, 0)) == RepairAckId(1)
        address = SocketAddress(ip_address("127.0.0.1"), giving.port + 4000)
        assert await taker.ask(ExtentRepair(2, 0, 0, address, (1,))) == RepairAckId(2)
        for client in (giver, taker):
            assert await client.ask(ExtentReopen(3, 0)) == RepairAckId(3)
