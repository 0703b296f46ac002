# SPDX-License-Identifier: GPL-3.0-or-later
"""Replicas lost under load: ``dump`` shows the recorded shapes after each step, and the upstairs does what was seen."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path

from lab_volumes import BLOCK, FORGETFUL, active, settled, target
from propolis_lab.upstairs import Upstairs
from recordings.crucible_dumps import dumped, recorded, seen
from shared import needs_shared
from trio import Trio
from volumes import Notes, eventually, on_loop

pytestmark = needs_shared

LOST, REPAIRED, TWO_LOST, RECONCILED = 3, 4, 5, 6
"""Which looks at the regions: one lost, repaired, then two lost, and started again at a higher generation."""
REPAIRS = "messages of A20.log that match /[Rr]epair|Offline|Faulted|LiveRepair|Active/, last 40"
REPAIR_OF_EXTENT = re.compile(r"Repair for extent (\d+) s:(\d) d:\[(?:ClientId\()?(\d)\)?\]")
BY_HAND = replace(FORGETFUL, flush_delay=30.0)
"""No flush but those of the test: which of them a lost replica had, decides what ``dump`` shows."""


async def write_everywhere(volume: Upstairs, trio: Trio, seed: int) -> None:
    """A write to each extent, which all replicas that are there have done at the end."""
    for extent in range(trio.extents):
        await volume.write(extent * trio.blocks * BLOCK, bytes([seed]) * BLOCK)
    await settled(volume)


async def under_load(trio: Trio, log: Notes) -> None:
    """Lose a replica, repair it, lose two, which the guest waits for until its upstairs is ended."""
    volume = trio.upstairs(20, BY_HAND, log=log)
    await volume.activate()
    await write_everywhere(volume, trio, 1)
    await volume.flush()
    await write_everywhere(volume, trio, 2)
    await trio.stop(2)
    await eventually(lambda: active(volume) == 2)
    await volume.flush()
    await write_everywhere(volume, trio, 3)
    await volume.flush()
    assert await dumped(trio) == seen(LOST)
    assert target(volume, 2)["mode"] == "faulted"
    await trio.start(2)
    await eventually(lambda: active(volume) == 3)
    assert await dumped(trio) == seen(REPAIRED)
    await write_everywhere(volume, trio, 4)
    await trio.stop(2)
    await eventually(lambda: active(volume) == 2)
    await volume.flush()
    await trio.stop(1)
    await eventually(lambda: active(volume) == 1)
    waiting = asyncio.ensure_future(volume.flush())  # a write would make the one that is left dirty, as it was not
    done, _unused = await asyncio.wait([waiting], timeout=0.3)
    assert not done, "the recorded upstairs was still running, and nothing had failed"
    volume.abandon()
    await asyncio.gather(waiting, return_exceptions=True)


@on_loop
async def test_a_lost_replica_is_repaired_two_lost_ones_hold_the_guest_up_and_dump_shows_each_state_as_recorded(
    tmp_path: Path,
) -> None:
    log = Notes()
    async with Trio(tmp_path) as trio:
        await under_load(trio, log)
        for number in (1, 2):
            await trio.start(number)
        assert await dumped(trio) == seen(TWO_LOST)
        again = trio.upstairs(30)
        await again.activate()
        await again.write(trio.blocks * BLOCK, b"y" * BLOCK)
        await again.deactivate()
        assert await dumped(trio) == seen(RECONCILED)
    ours = [found.groups() for text in log.texts() if (found := REPAIR_OF_EXTENT.match(text))]
    assert ours == REPAIR_OF_EXTENT.findall(recorded(REPAIRS).stdout or "")
