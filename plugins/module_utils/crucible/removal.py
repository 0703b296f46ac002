# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing one region: the checks that protect somebody else's data, and the removal."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..occupants import users_of
from .claim import Claim
from .errors import ForeignRegionError, NoRegionError, RegionError
from .geometry import Difference
from .image import record_path
from .region import DEFINITION_FILE, read_definition


def check_removal(path: Path, uuid: str | None, *, force: bool) -> bool:
    """Whether there is something to remove; changes nothing. Raises CrucibleError when it must not be removed.

    A region that a process has open is never removed. ``force`` allows one with another uuid, or that is damaged.
    """
    if not path.exists():
        return False
    users = users_of(path)
    if users:
        raise RegionError(
            f"{path} is in use by {users[0]}; stop its downstairs first. Nothing was changed.",
            code="region_in_use",
            details={"processes": [{"pid": user.pid, "command": user.command} for user in users]},
        )
    if not path.is_dir() or not ((path / DEFINITION_FILE).exists() or Claim(path).left_behind()):
        if path.is_dir() and not any(path.iterdir()):
            return True
        raise NoRegionError(f"{path} holds no region ({DEFINITION_FILE} is not there), so it is not removed.")
    if force:
        return True
    found = read_definition(path).uuid
    if found != uuid:
        raise ForeignRegionError(
            f"{path} holds the region {found}, expected {uuid or 'a uuid to be given'}; nothing was removed. "
            "Set force to remove it all the same.",
            details={"differences": [Difference("uuid", found, uuid).as_dict()]},
        )
    return True


def remove(path: Path) -> None:
    """Remove the directory and what is remembered of its image. The ledger stays: numbers are spent for ever."""
    try:
        if os.path.ismount(path):
            for entry in path.iterdir():
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        else:
            shutil.rmtree(path)
        for beside in (Claim(path).path, record_path(path)):
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise RegionError(f"{error.filename or path} cannot be removed: {error.strerror}.") from error
