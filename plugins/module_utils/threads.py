# SPDX-License-Identifier: GPL-3.0-or-later
"""Threads beside the one that waits for something, which take no signal away from it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable


def start_deaf(work: Callable[[], None]) -> threading.Thread:
    """A daemon thread that does ``work``. No signal reaches it: one that it took would wake nobody who waits."""
    thread = threading.Thread(target=work, daemon=True)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    thread.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return thread
