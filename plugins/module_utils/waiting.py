# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a condition that nothing announces: a probe, a monotonic clock, a bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    probe: Callable[[], T | None],
    timeout: float,
    *,
    first_pause: float = 0.02,
    longest_pause: float = 0.5,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> T | None:
    """Call ``probe`` until it returns something other than None, at least once; None when ``timeout`` seconds are over.

    The pause between two probes doubles from ``first_pause`` to ``longest_pause`` (seconds) and never outlasts the
    bound. What ``probe`` raises ends the wait.
    """
    deadline = clock() + timeout
    step = first_pause
    while True:
        found = probe()
        if found is not None:
            return found
        left = deadline - clock()
        if left <= 0:
            return None
        pause(min(step, left))
        step = min(step * 2, longest_pause)
