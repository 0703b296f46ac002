# SPDX-License-Identifier: GPL-3.0-or-later
"""What downstairs answer to one who may soon be their upstairs: asked by address, never with the protocol's hello."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from .errors import CrucibleError
from .geometry import Geometry
from .repair_api import RepairApi
from .volume import VolumeError, check_ip, check_port

_AT_ONCE = 32


@dataclass(frozen=True)
class TargetSeen:
    """One downstairs as seen from here; ``uuid``, ``geometry`` and ``read_only`` are None where it does not tell."""

    address: str
    port: int
    reachable: bool
    error: str | None = None
    uuid: str | None = None
    geometry: Geometry | None = None
    read_only: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a playbook."""
        return asdict(self)


def look_at_targets(targets: Sequence[tuple[str, int]], *, timeout: float) -> list[TargetSeen]:
    """Ask all of ``targets`` (IP address, data port) at once; each question may take ``timeout`` seconds.

    Raises VolumeError for an address, a port or a timeout that cannot be; a silent downstairs is an answer.
    """
    if timeout <= 0:
        raise VolumeError("timeout", timeout, "a number of seconds above 0")
    checked = [
        (check_ip(f"targets[{index}].address", address), check_port(f"targets[{index}].port", port))
        for index, (address, port) in enumerate(targets)
    ]
    if not checked:
        return []
    with ThreadPoolExecutor(max_workers=min(len(checked), _AT_ONCE)) as pool:
        return list(pool.map(lambda target: _look(target[0], target[1], timeout), checked))


def _look(address: str, port: int, timeout: float) -> TargetSeen:
    try:
        with socket.create_connection((address, port), timeout):
            pass
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        return TargetSeen(address, port, False, f"The data port {address}:{port} does not answer: {reason}.")
    api = RepairApi(address, port, timeout)
    try:
        definition = api.region_info()
        if definition is None:
            api.extent_files(0)
            return TargetSeen(address, port, True)
        return TargetSeen(address, port, True, None, definition.uuid, definition.geometry, api.read_only())
    except CrucibleError as error:
        return TargetSeen(address, port, False, error.message)
