# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of running VMs: on one host (here: one listen address) two VMs cannot have the same id, as under
/dev/vmm."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from uuid import UUID


class NameTakenError(Exception):
    """Another server of this host has a VM of this name."""


class VmName:
    """Holds a name until `release`, or until this process ends."""

    def __init__(self, host: str, instance: UUID) -> None:
        folder = Path(tempfile.gettempdir()) / f"propolis-lab-vmm-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise NameTakenError(f"{folder} belongs to another user")
        self._path = folder / f"{host.replace(':', '_')}-{instance}"
        self._descriptor: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            self._descriptor = None
            raise NameTakenError(f"a VM named {instance} exists on {host}") from None

    def release(self) -> None:
        """The file goes too, so that names do not pile up; whoever waits for nothing loses nothing."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None
