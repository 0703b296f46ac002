# SPDX-License-Identifier: GPL-3.0-or-later
"""The file under a ledger: whole lines, one writer at a time, durable before a method returns."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..files import sync_directory, write_atomically
from ..waiting import wait_until
from .errors import LedgerError

_TAIL = 4096
_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.005


@dataclass(frozen=True)
class Mark:
    """How far a file was read: which file it was, where its whole lines ended, and the last of them."""

    device: int
    inode: int
    end: int
    last_line: bytes


@dataclass(frozen=True)
class Content:
    """Lines without their newlines. ``torn`` are the bytes behind the last newline: an interrupted line.

    ``continued``: the lines are those behind the mark that was given; otherwise they are all lines of the file.
    """

    lines: tuple[bytes, ...]
    torn: bytes
    mark: Mark
    continued: bool


class LedgerFile:
    """One file and its lock file ``<path>.lock``. Every method raises LedgerError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = f"{path}.lock"

    def read(self, since: Mark | None = None) -> Content | None:
        """Its lines, or only those behind ``since`` where the file still is what was read then; None without a file."""
        try:
            with self.path.open("rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                continued = since is not None and _is_continued(file.fileno(), status, since)
                begin = since.end if since is not None and continued else 0
                file.seek(begin)
                content = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._trouble("read", error) from error
        whole, newline, torn = content.rpartition(b"\n")
        lines = tuple(whole.split(b"\n")) if newline else ()
        last = lines[-1] if lines else since.last_line if since is not None and continued else b""
        end = begin + len(content) - len(torn)
        return Content(lines, torn, Mark(status.st_dev, status.st_ino, end, last), continued)

    def append(self, lines: bytes, *, header: bytes) -> None:
        """Add lines with one write, after cutting off a torn one. A file without whole lines begins with ``header``."""
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._trouble("written", error) from error
        try:
            size = os.fstat(handle).st_size
            whole = _end_of_whole_lines(handle, size)
            if whole < size:
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

    def replace(self, content: bytes) -> None:
        """Put another file in its place: a reader sees the old one or the new one."""
        try:
            write_atomically(self.path, content, mode=0o644)
        except OSError as error:
            raise self._trouble("written", error) from error

    @contextlib.contextmanager
    def locked(self, timeout: float) -> Iterator[None]:
        """Be the only writer for the block."""
        handle = wait_until(self._try_lock, timeout, first_pause=_FIRST_PAUSE, longest_pause=_LONGEST_PAUSE)
        if handle is None:
            raise LedgerError(
                f"{self._lock}: somebody else has held the lock for more than {timeout:g} s; raise 'timeout' or look "
                "who works on this volume.",
                code="ledger_locked",
            )
        try:
            yield
        finally:
            os.close(handle)

    def _try_lock(self) -> int | None:
        try:
            handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._trouble("locked", error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A lock on a file that was removed meanwhile keeps nobody out.
            if os.path.samestat(os.fstat(handle), os.stat(self._lock)):
                return handle
        except (BlockingIOError, FileNotFoundError):
            pass
        except OSError as error:
            os.close(handle)
            raise self._trouble("locked", error) from error
        os.close(handle)
        return None

    def _trouble(self, what: str, error: OSError) -> LedgerError:
        mine = "it belongs to another user; use the one that made the region (become_user)"
        nothing = "" if what == "read" else "; no number was handed out"
        advice, code = {
            errno.ENOSPC: (f"the disk is full; make room{nothing.replace(';', ',')}", "disk_full"),
            errno.EDQUOT: (f"the disk quota is used up{nothing}", "disk_full"),
            errno.EFBIG: (f"the file must not become larger (ulimit -f){nothing}", "disk_full"),
            errno.EROFS: (f"the file system is read-only{nothing}", "read_only_disk"),
            errno.EACCES: (mine, "permission_denied"),
            errno.ENOENT: ("the directory above it is not there; correct the region path", "no_directory"),
        }.get(error.errno or 0, (f"{error.strerror or str(error)}{nothing}", None))
        return LedgerError(f"{self.path}: cannot be {what}: {advice}.", code=code)


def _is_continued(handle: int, status: os.stat_result, since: Mark) -> bool:
    if (status.st_dev, status.st_ino) != (since.device, since.inode) or status.st_size < since.end:
        return False
    if not since.end:
        return True
    tail = since.last_line + b"\n"
    return os.pread(handle, len(tail), since.end - len(tail)) == tail


def _end_of_whole_lines(handle: int, size: int) -> int:
    """Where the last newline before ``size`` ends, 0 when there is none."""
    end = size
    while end:
        begin = max(0, end - _TAIL)
        newline = os.pread(handle, end - begin, begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        end = begin
    return 0
