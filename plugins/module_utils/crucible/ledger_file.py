# SPDX-License-Identifier: GPL-3.0-or-later
"""The file under a ledger: whole lines that are only ever appended, one writer at a time, durable before it returns."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..files import sync_directory
from ..waiting import wait_until
from .errors import LedgerError


@dataclass(frozen=True)
class Content:
    """What is in the file. ``torn`` are the bytes behind the last newline: a line whose writing was interrupted."""

    lines: tuple[bytes, ...]
    torn: bytes


class LedgerFile:
    """One file and its lock file ``<path>.lock``. Every method raises LedgerError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Content | None:
        """Its lines without their newlines; None when there is no file."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._trouble("read", error) from error
        whole, newline, torn = content.rpartition(b"\n")
        return Content(tuple(whole.split(b"\n")) if newline else (), torn)

    def append(self, lines: bytes, *, header: bytes) -> None:
        """Add lines with one write, after cutting off a torn one. A file without whole lines begins with ``header``."""
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._trouble("written", error) from error
        try:
            content = os.pread(handle, os.fstat(handle).st_size, 0)
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                os.ftruncate(handle, whole)
                os.fsync(handle)
            wanted = lines if whole else header + lines
            if os.write(handle, wanted) != len(wanted):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(handle)
            # Every time: a run that made the file may have died before its name was durable.
            sync_directory(self.path.parent)
        except OSError as error:
            raise self._trouble("written", error) from error
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def locked(self, timeout: float) -> Iterator[None]:
        """Be the only writer for the block."""
        path = self.path.with_name(f"{self.path.name}.lock")
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._trouble("locked", error) from error
        try:
            if wait_until(lambda: _try_lock(handle), timeout) is None:
                raise LedgerError(
                    f"{path}: somebody else has held the lock for more than {timeout:g} s; raise 'timeout' or look who "
                    "works on this volume.",
                    code="ledger_locked",
                )
            yield
        finally:
            os.close(handle)

    def _trouble(self, what: str, error: OSError) -> LedgerError:
        mine = "it belongs to another user; use the one that made the region (become_user)"
        advice, code = {
            errno.ENOSPC: ("the disk is full; make room, no number was handed out", "disk_full"),
            errno.EDQUOT: ("the disk quota is used up; no number was handed out", "disk_full"),
            errno.EROFS: ("the file system is read-only; no number was handed out", "read_only_disk"),
            errno.EACCES: (mine, "permission_denied"),
            errno.ENOENT: ("the directory above it is not there; is the region path right?", "no_directory"),
        }.get(error.errno or 0, (error.strerror or str(error), None))
        return LedgerError(f"{self.path}: cannot be {what}: {advice}.", code=code)


def _try_lock(handle: int) -> bool | None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    return True
