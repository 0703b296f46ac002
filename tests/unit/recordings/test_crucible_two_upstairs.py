# SPDX-License-Identifier: GPL-3.0-or-later
"""Two upstairs at once on three downstairs: a downstairs says of them what the recorded one said, in its order."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

import pytest
from lab_volumes import settled
from propolis_lab.upstairs import IoError, Settings
from recordings import crucible_dumps
from recordings.crucible_transcript import Step, read_today
from shared import needs_shared, recordings
from trio import Trio
from volumes import on_loop

pytestmark = needs_shared

VOLUME = "11111111-2222-4333-8444-555555555555"
FENCING, TWO_LIVE = "04-fencing-and-repair", "06-two-live-upstairs"
LOOK = re.compile(r"messages of ds0\.log that match /(.*)/, last \d+")
"""How the recorder looked into the log of the first downstairs."""
NAMES = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
AS_RECORDED = Settings(flush_delay=0.05)
"""With the real ten seconds before a refused upstairs comes again, in which the recorder ended it."""


def steps(name: str) -> list[Step]:
    return read_today(recordings / "transcripts" / "crucible" / f"{name}.txt")


def recorded_log(name: str) -> list[str]:
    """What the downstairs said: each look shows the last lines, so some of the look before."""
    found: list[str] = []
    for step in steps(name):
        if LOOK.match(step.name):
            lines = [line.strip('"') for line in (step.stdout or "").strip("\n").split("\n")]
            known = next(n for n in range(min(len(found), len(lines)), -1, -1) if n == 0 or found[-n:] == lines[:n])
            found += lines[known:]
    return found


def our_log(name: str, trio: Trio) -> list[str]:
    """What ours said of what the recorder looked for."""
    pattern = next(found[1] for step in steps(name) if (found := LOOK.match(step.name)))
    return [line for line in trio.running[0].messages() if re.search(pattern, line)]


def recorded_generations(name: str) -> list[int]:
    """The highest generation in the regions at each look at them."""
    return [int(number) for step in steps(name) for number in re.findall(r"Max gen: (\d+)", step.stdout or "")]


def with_numbers(lines: Iterable[str]) -> list[str]:
    """The lines with a number for each upstairs and session, in the order in which they come up."""
    numbers: dict[str, int] = {}

    def named(found: re.Match[str]) -> str:
        return f"<{numbers.setdefault(found[0], len(numbers) + 1)}>"

    return [NAMES.sub(named, line) for line in lines]


def highest(trio: Trio) -> int:
    """The highest generation in any region."""
    return max(generation for number in range(3) for generation, _unused, _unused in trio.versions(number))


async def comes_beside(trio: Trio, generation: int) -> None:
    """One of the same volume is refused once, gets in, writes all over and goes without a word."""
    second = trio.upstairs(generation, id=VOLUME)
    await second.activate()
    size = trio.blocks * 512
    for extent in range(trio.extents):
        await second.write(extent * size, b"x" * size)
    await second.flush()
    second.abandon()
    await trio.running[0].said(f"generation: {generation} }} (ConnectionId({len(gone(trio)) + 1})) was previously")


def gone(trio: Trio) -> list[str]:
    return [line for line in trio.running[0].messages() if "removed" in line]


@on_loop
async def test_a_second_upstairs_of_the_same_volume_gets_in_beside_an_idle_one_as_recorded(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        first = trio.upstairs(30, id=VOLUME)
        await first.activate()
        seen = [highest(trio)]
        await comes_beside(trio, 30)
        seen.append(highest(trio))
        first.abandon()
        await trio.running[0].said("(ConnectionId(0)) removed")
        idle = trio.upstairs(40, id=VOLUME)
        await idle.activate()
        seen.append(highest(trio))
        await comes_beside(trio, 35)
        seen.append(highest(trio))
        ours = our_log(TWO_LIVE, trio)
        idle.abandon()
    assert with_numbers(ours) == with_numbers(recorded_log(TWO_LIVE))
    assert seen == recorded_generations(TWO_LIVE)


@on_loop
async def test_another_volume_is_refused_until_it_has_a_higher_generation_and_then_casts_out_as_recorded(
    tmp_path: Path,
) -> None:
    async with Trio(tmp_path) as trio:
        first = trio.upstairs(10, id=str(uuid4()))
        await first.activate()
        for extent in range(trio.extents):
            await first.write(extent * trio.blocks * 512, b"x" * 512)
        await first.flush()
        await settled(first)
        seen = [highest(trio)]
        for number, generation in enumerate((10, 9), 1):
            refused = trio.upstairs(generation, AS_RECORDED, id=str(uuid4()))
            waiting = asyncio.ensure_future(refused.activate())
            await trio.running[0].said(f"(ConnectionId({number})) removed")
            refused.abandon()
            waiting.cancel()
        last = trio.upstairs(11, id=str(uuid4()))
        await last.activate()
        with pytest.raises(IoError, match="Upstairs is not active"):
            await first.write(0, b"y" * 512)
        await last.write(16 * 512, b"z" * 512)
        await last.flush()
        await settled(last)
        last.abandon()
        await trio.running[0].said("(ConnectionId(3)) was previously")
        assert await crucible_dumps.dumped(trio) == crucible_dumps.seen(2)
        ours = our_log(FENCING, trio)
        first.abandon()
        seen.append(highest(trio))
    assert with_numbers(ours) == with_numbers(recorded_log(FENCING))
    assert seen == recorded_generations(FENCING)[:2]
