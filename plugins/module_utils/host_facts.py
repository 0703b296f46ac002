# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host can tell about itself that a migration depends on: memory, processor, clock. Standard library only."""

from __future__ import annotations

import os
import platform
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MIB = 1024 * 1024


@dataclass(frozen=True)
class HostFacts:
    """Memory in MiB, the clock in seconds since 1970. What the host cannot tell is None.

    On illumos guests may live in a reservoir of the kernel, which is not part of the memory that is available.
    """

    system: str
    cpu_vendor: str | None
    cpu_family: str | None
    cpu_model: str | None
    memory_total_mib: int | None
    memory_available_mib: int | None
    clock: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a playbook."""
        cpu = {"vendor": self.cpu_vendor, "family": self.cpu_family, "model": self.cpu_model}
        memory = {"total_mib": self.memory_total_mib, "available_mib": self.memory_available_mib}
        return {"system": self.system, "cpu": cpu, "memory": memory, "clock": self.clock}


def host_facts(proc: Path = Path("/proc")) -> HostFacts:
    """The facts of this host; never raises."""
    processor = _read(proc / "cpuinfo")
    total = _pages("SC_PHYS_PAGES")
    available = _in_mib(_field(_read(proc / "meminfo"), "MemAvailable")) or _pages("SC_AVPHYS_PAGES")
    return HostFacts(
        system=platform.system(),
        cpu_vendor=_field(processor, "vendor_id"),
        cpu_family=_field(processor, "cpu family"),
        cpu_model=_field(processor, "model name"),
        memory_total_mib=total,
        memory_available_mib=available,
        clock=time.time(),
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _field(text: str, name: str) -> str | None:
    """The first value of ``name : value``."""
    found = re.search(rf"^{re.escape(name)}\s*:\s*(.+?)\s*$", text, re.MULTILINE)
    return found[1] if found else None


def _in_mib(kib: str | None) -> int | None:
    found = re.match(r"(\d{1,18}) kB$", kib or "")
    return int(found[1]) // 1024 if found else None


def _pages(name: str) -> int | None:
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE") // _MIB
    except (OSError, ValueError):
        return None
