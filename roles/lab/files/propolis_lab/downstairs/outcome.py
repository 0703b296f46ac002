# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways in which the program ends badly, and how each is shown: an error (1), a panic (134 today, 101 in 2023).

The shapes are those of the real programs: ``Error: …`` with an indented cause, or the panic's place and text.
"""

from __future__ import annotations

import os
import resource
import signal
import sys

from propolis_lab.region.age import Age

_PANIC_STATUS_2023 = 101
_PANIC_STATUS_2023_IN_SERVICE = 1


class Failure(Exception):
    """The command failed: ``message`` follows ``Error: ``, ``cause`` stands under ``Caused by:``."""

    def __init__(self, message: str, cause: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause


class Panic(Exception):
    """The real program panics here: ``place`` is its file, line and column, ``text`` what it says."""

    def __init__(self, place: str, text: str) -> None:
        super().__init__(f"{place}: {text}")
        self.place = place
        self.text = text


def report_failure(message: str, cause: str | None = None) -> int:
    """Print an error on stderr and give the exit status."""
    sys.stdout.flush()
    tail = "" if cause is None else f"\n\nCaused by:\n    {cause}"
    sys.stderr.write(f"Error: {message}{tail}\n")
    return 1


def report_panic(panic: Panic, age: Age, *, in_service: bool) -> int:
    """Print a panic on stderr and end as the program of ``age`` does: by SIGABRT today, with a status in 2023.

    ``in_service``: the command is ``run``, which in 2023 had a status of its own for panics.
    """
    sys.stdout.flush()
    sys.stderr.write(
        f"\nthread 'main' ({os.getpid()}) panicked at {panic.place}:\n{panic.text}\n"
        "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n"
    )
    sys.stderr.flush()
    if age is Age.JANUARY_2023:
        return _PANIC_STATUS_2023_IN_SERVICE if in_service else _PANIC_STATUS_2023
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGABRT, signal.SIG_DFL)
    signal.raise_signal(signal.SIGABRT)
    return 128 + signal.SIGABRT
