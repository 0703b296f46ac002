# SPDX-License-Identifier: GPL-3.0-or-later
"""Which process a process id means: ids are reused, the moment a process started is not."""

from __future__ import annotations

import struct
from pathlib import Path

PROC = Path("/proc")

# psinfo_t of illumos in the 64-bit data model (proc(5)): pr_nlwp at 4, pr_start (seconds, nanoseconds) at 88,
# pr_psargs (80 characters) at 152.
_PSINFO_LWPS = struct.Struct("=4xi")
_PSINFO_START = struct.Struct("=88xqq")
_PSINFO_ARGS = slice(152, 232)


def start_time(pid: int, proc: Path = PROC) -> str | None:
    """A word that names this very process of this very boot; None when there is none, or only its corpse."""
    directory = proc / str(pid)
    try:
        if (directory / "stat").exists():
            return _start_on_linux((directory / "stat").read_text(errors="replace"), _boot(proc))
        return _start_on_illumos((directory / "psinfo").read_bytes())
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        return None


def command_line(pid: int, proc: Path = PROC) -> str:
    """The command line as a person would type it, empty when it cannot be seen."""
    directory = proc / str(pid)
    try:
        if (directory / "cmdline").exists():
            raw = (directory / "cmdline").read_bytes()
            return " ".join(part.decode(errors="replace") for part in raw.rstrip(b"\0").split(b"\0"))
        return (directory / "psinfo").read_bytes()[_PSINFO_ARGS].rstrip(b"\0 ").decode(errors="replace")
    except OSError:
        return ""


def _boot(proc: Path) -> str:
    try:
        return (proc / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown-boot"


def _start_on_linux(stat: str, boot: str) -> str | None:
    """``stat`` is proc(5)'s line; the second field is in parentheses and may hold any character, also ``)``."""
    fields = stat.rpartition(")")[2].split()
    if len(fields) < 20 or fields[0] in {"Z", "X", "x"}:
        return None
    return f"{boot}/{fields[19]}"


def _start_on_illumos(psinfo: bytes) -> str | None:
    if len(psinfo) < _PSINFO_ARGS.stop or _PSINFO_LWPS.unpack_from(psinfo)[0] == 0:
        return None
    seconds, nanoseconds = _PSINFO_START.unpack_from(psinfo)
    return f"{seconds}.{nanoseconds:09d}"
