# SPDX-License-Identifier: GPL-3.0-or-later
"""Knowing our own unfinished work: the claim file beside a region that is being made, and setting things aside."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from .errors import RegionError


class Claim:
    """``<region path>.making``: there, and locked, while a run makes the region. There and not locked, that run died.

    The program's region.json looks complete before the first extent is made, so nothing else tells a region that was
    never finished from one that lost extents later.
    """

    def __init__(self, region: Path) -> None:
        self.path = region.with_name(f"{region.name}.making")

    def left_behind(self) -> bool:
        """Whether an earlier run was interrupted. Raises RegionError when another run is at work right now."""
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._trouble(error) from error
        try:
            self._lock(handle)
        finally:
            os.close(handle)
        return True

    @contextlib.contextmanager
    def held(self, uuid: str, *, left_behind: bool) -> Iterator[None]:
        """Claim the path for the block. The file stays when the block is left before ``fulfilled`` is called.

        ``left_behind`` is what was found when it was decided what to do; RegionError when that has changed since.
        """
        handle = self._take(uuid, left_behind)
        try:
            yield
        finally:
            os.close(handle)

    def _take(self, uuid: str, left_behind: bool) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC | (0 if left_behind else os.O_CREAT | os.O_EXCL)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, flags, 0o644)
        except (FileExistsError, FileNotFoundError):
            raise self._changed() from None
        except OSError as error:
            raise self._trouble(error) from error
        try:
            self._lock(handle)
            if not os.path.samestat(os.fstat(handle), self.path.stat()):
                raise self._changed()
            os.ftruncate(handle, 0)
            os.write(handle, (json.dumps({"uuid": uuid, "pid": os.getpid()}) + "\n").encode())
            os.fsync(handle)
        except OSError as error:
            os.close(handle)
            raise self._trouble(error) from error
        except RegionError:
            os.close(handle)
            raise
        return handle

    def fulfilled(self) -> None:
        """The region is whole, or gone: forget the claim."""
        self.path.unlink(missing_ok=True)

    def _lock(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RegionError(
                f"{self.path}: another run is making this region right now; wait until it has ended.", code="being_made"
            ) from None

    def _changed(self) -> RegionError:
        return RegionError(
            f"{self.path}: another run has worked on this region meanwhile; run again when it has ended.",
            code="being_made",
        )

    def _trouble(self, error: OSError) -> RegionError:
        code = {errno.ENOSPC: "disk_full", errno.EROFS: "read_only_disk", errno.EACCES: "permission_denied"}
        return RegionError(
            f"{error.filename or self.path}: {error.strerror}; no region was made.", code=code.get(error.errno or 0)
        )


def set_aside(path: Path) -> Path | None:
    """Rename a half-made region to ``<path>.incomplete-<time>``; None when it had to be emptied instead.

    A directory that is a file system of its own cannot be renamed. It was empty before we began, so what is in it now
    is ours. Raises RegionError.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = path.with_name(f"{path.name}.incomplete-{stamp}")
    number = 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.incomplete-{stamp}-{number}")
    try:
        path.rename(target)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EXDEV):
            raise RegionError(f"{path} is half-made and cannot be set aside: {error.strerror}.") from error
        for entry in path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.suffix != ".pem":
                entry.unlink()
        return None
    return target
