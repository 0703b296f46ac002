# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of lost and repaired replicas do and look at."""

from __future__ import annotations

import random
from dataclasses import replace

from propolis_lab.upstairs import Upstairs
from propolis_lab.upstairs.status import Phase
from volumes import QUICK, eventually

BLOCK = 512
FORGETFUL = replace(QUICK, offline_jobs=2)
"""More than two jobs missed, and a live repair is needed."""


def target(volume: Upstairs, index: int) -> dict[str, str]:
    """The state of a target as the API tells it."""
    targets = volume.status().to_json()["volume"]["sub_volumes"][0]["upstairs"]["targets"]
    state: dict[str, str] = targets[index]["state"]
    return state


def active(volume: Upstairs) -> int:
    return sum(one.phase is Phase.ACTIVE for one in volume.region_sets[0].targets)


async def settled(volume: Upstairs) -> None:
    """Wait until every replica that is there has done all that it was asked for: two are enough for the guest."""
    await eventually(lambda: all(one.jobs_done for one in volume.region_sets))


async def fill(volume: Upstairs, seed: int, count: int = 20) -> None:
    """Some writes of one to four blocks anywhere."""
    choose = random.Random(seed)
    blocks = volume.size // BLOCK
    for number in range(count):
        first = choose.randrange(blocks - 4)
        await volume.write(first * BLOCK, bytes([seed, number]) * (BLOCK // 2) * choose.randint(1, 4))
