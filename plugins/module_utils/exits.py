# SPDX-License-Identifier: GPL-3.0-or-later
"""How a process ended, or why it could not begin, in words."""

from __future__ import annotations

import errno
import signal


def why_not_run(error: OSError) -> str:
    """What the operating system said when a program that is there was to be run."""
    said = error.strerror or str(error)
    return f"it is no program for this host: {said}" if error.errno == errno.ENOEXEC else said


def describe_exit(code: int) -> str:
    """``code`` as subprocess gives it: an exit status, or the negative number of the signal that ended it."""
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
