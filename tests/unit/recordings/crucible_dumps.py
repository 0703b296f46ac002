# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``dump`` shows of three regions after each of the recorded faults, and of ours, without the chance in it."""

from __future__ import annotations

import asyncio
import re
import sys

from downstairs_harness import ENVIRONMENT
from recordings.crucible_transcript import Step, read_today
from shared import recordings
from trio import Trio

DUMP = "crucible-downstairs dump -d ds0 -d ds1 -d ds2 --no-color"


def recorded(name: str) -> Step:
    """The step of this name."""
    steps = read_today(recordings / "transcripts" / "crucible" / "04-fencing-and-repair.txt")
    return next(step for step in steps if step.name == name)


def shape(text: str) -> list[list[str]]:
    """The words of a dump: in each line a flush number is its rank there, as how often was flushed is chance."""
    header, *lines = text.strip("\n").split("\n")
    words = [header.split()]
    first, last = words[0].index("FL0"), words[0].index("FL2") + 1
    for line in lines:
        cells = re.sub(r"Max flush: \d+", "Max flush", line).split()
        if cells[0].isdigit():
            ranks = sorted(set(map(int, cells[first:last])))
            cells[first:last] = [f"rank {ranks.index(int(cell))}" for cell in cells[first:last]]
        words.append(cells)
    return words


async def dumped(trio: Trio) -> tuple[list[list[str]], str, int | None]:
    """What ``dump`` makes of the three regions: shape, complaint, exit status."""
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "propolis_lab.downstairs", "dump"],
        *[word for number in range(3) for word in ("-d", str(trio.path(number)))],
        "--no-color",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=ENVIRONMENT,
    )
    out, complaint = await process.communicate()
    return shape(out.decode()), complaint.decode(), process.returncode


def seen(number: int) -> tuple[list[list[str]], str, int | None]:
    """The same of the look of this number in the recording."""
    step = recorded(DUMP if number == 1 else f"{DUMP} ({number})")
    return shape(step.stdout or ""), step.stderr or "", step.status
