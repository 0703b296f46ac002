# SPDX-License-Identifier: GPL-3.0-or-later
"""Two upstairs at once on three downstairs: a downstairs says of them what the recorded one said, in its order."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from recordings.crucible_transcript import Step, read_today
from shared import needs_shared, recordings
from trio import Trio
from volumes import on_loop

pytestmark = needs_shared

VOLUME = "11111111-2222-4333-8444-555555555555"
ABOUT_SESSIONS = re.compile("takeover|active|removed|Same gen|Current gen")
"""What the recorder looked for in the log of the first downstairs."""
SESSION = re.compile(r"session_id: ([0-9a-f-]{36})")


def steps() -> list[Step]:
    return read_today(recordings / "transcripts" / "crucible" / "06-two-live-upstairs.txt")


def recorded_log() -> list[str]:
    """What the downstairs said: each look shows the last lines, so some of the look before."""
    found: list[str] = []
    for step in steps():
        if "messages of ds0.log" in step.name:
            lines = [line.strip('"') for line in (step.stdout or "").strip("\n").split("\n")]
            known = next(n for n in range(min(len(found), len(lines)), -1, -1) if n == 0 or found[-n:] == lines[:n])
            found += lines[known:]
    return found


def recorded_generations() -> list[int]:
    """The highest generation in the regions at each look at them."""
    return [int(number) for step in steps() for number in re.findall(r"Max gen: (\d+)", step.stdout or "")]


def with_named_sessions(lines: Iterable[str]) -> list[str]:
    """The lines with a number for each session, in the order in which the sessions come up."""
    numbers: dict[str, int] = {}

    def named(found: re.Match[str]) -> str:
        return f"session_id: <{numbers.setdefault(found[1], len(numbers) + 1)}>"

    return [SESSION.sub(named, line) for line in lines]


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
        ours = [line for line in trio.running[0].messages() if ABOUT_SESSIONS.search(line)]
        idle.abandon()
    assert with_named_sessions(ours) == with_named_sessions(recorded_log())
    assert seen == recorded_generations()
