# SPDX-License-Identifier: GPL-3.0-or-later
"""What all parts of one server process share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from propolis_lab.server.disks import VolumeMaker
from propolis_lab.server.faults import Faults
from propolis_lab.server.history import History
from propolis_lab.server.instance_spec import Version
from propolis_lab.server.log import Log


@dataclass(frozen=True)
class Environment:
    """`listen` is the address that the process was told to listen on; `latest_api` is None for the server of January
    2023."""

    listen: tuple[str, int]
    bootrom: Path
    log: Log
    history: History
    faults: Faults
    make_volume: VolumeMaker
    latest_api: Version | None = (5, 0, 0)

    @property
    def address(self) -> str:
        """`IP:PORT`, `[IP]:PORT` for IPv6."""
        host, port = self.listen
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
