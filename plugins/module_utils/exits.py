# SPDX-License-Identifier: GPL-3.0-or-later
"""How a process ended, in words."""

from __future__ import annotations

import signal


def describe_exit(code: int) -> str:
    """``code`` as subprocess gives it: an exit status, or the negative number of the signal that ended it."""
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
