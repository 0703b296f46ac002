# SPDX-License-Identifier: GPL-3.0-or-later
"""Dying at a chosen one of the file operations that some code does, by a kill or by a power cut."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch


class Died(BaseException):
    """The process ended here; nothing that it had not done yet was done. No code under test may catch it."""


@dataclass
class Death:
    """When and how. ``at``: which of the operations is not done any more, from 0; one that is never reached spares.

    ``written``: how much of a write that is interrupted reaches the file, 0 to 1. ``power_cut``: what was not synced is
    lost, a part of the file's end (``lost``, 0 to 1), the new name of a file, or the file that was made.
    """

    at: int
    written: float = 0.0
    power_cut: bool = False
    lost: float = 0.0
    operations: int = 0
    _synced: dict[str, int] = field(default_factory=dict)
    _old: dict[str, bytes | None] = field(default_factory=dict)

    def step(self) -> bool:
        """Count one operation; whether death comes instead of it."""
        self.operations += 1
        return self.operations > self.at

    def saw_opened(self, path: str, existed: bool, size: int) -> None:
        self._synced.setdefault(path, size)
        if not existed:
            self._old.setdefault(path, None)

    def saw_replaced(self, path: str, old: bytes | None) -> None:
        self._old.setdefault(path, old)
        self._synced.pop(path, None)

    def saw_synced(self, path: str) -> None:
        if Path(path).is_dir():
            self._old.clear()
        elif Path(path).exists():
            self._synced[path] = Path(path).stat().st_size

    def aftermath(self) -> None:
        """Take away what a power cut takes."""
        if not self.power_cut:
            return
        for path, size in self._synced.items():
            if Path(path).exists():
                surplus = max(0, Path(path).stat().st_size - size)
                os.truncate(path, size + round(surplus * (1 - self.lost)))
        for path, old in self._old.items():
            if self.lost > 0.5:
                Path(path).unlink(missing_ok=True) if old is None else Path(path).write_bytes(old)


@contextlib.contextmanager
def dying(death: Death) -> Iterator[None]:
    """Run the block until ``death``, which is no error; ``death.operations`` tells how far it got."""
    real_write, real_open, real_fsync, real_replace = os.write, os.open, os.fsync, os.replace

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if death.step():
                raise Died
            return function(*arguments, **options)

        return call

    def opened(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if death.step():
            raise Died
        existed = os.path.exists(path)
        handle = real_open(path, flags, *arguments, **options)
        if flags & os.O_ACCMODE and stat.S_ISREG(os.fstat(handle).st_mode):
            death.saw_opened(os.fspath(path), existed, os.fstat(handle).st_size)
        return handle

    def write(handle: int, data: bytes) -> int:
        if death.step():
            real_write(handle, data[: round(len(data) * death.written)])
            raise Died
        return real_write(handle, data)

    def fsync(handle: int) -> None:
        if death.step():
            raise Died
        real_fsync(handle)
        death.saw_synced(os.readlink(f"/proc/self/fd/{handle}"))

    def replace(source: Any, target: Any) -> None:
        if death.step():
            raise Died
        old = Path(target).read_bytes() if os.path.exists(target) else None
        real_replace(source, target)
        death.saw_replaced(os.fspath(target), old)

    with (
        patch.object(os, "open", opened),
        patch.object(os, "write", write),
        patch.object(os, "fsync", fsync),
        patch.object(os, "replace", replace),
        patch.object(os, "ftruncate", counted(os.ftruncate)),
        patch.object(fcntl, "flock", counted(fcntl.flock)),
        contextlib.suppress(Died),
    ):
        yield
    if death.operations > death.at:
        death.aftermath()
