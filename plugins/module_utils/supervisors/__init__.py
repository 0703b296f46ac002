# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry of supervisors: the one place that a new one (systemd, SMF) is added to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .process import ProcessSupervisor
from .service import Supervisor, UnknownSupervisorError

SUPERVISORS: dict[str, Callable[[Path], Supervisor]] = {
    "process": ProcessSupervisor,
}


def choose(name: str, run_dir: str | Path) -> Supervisor:
    """The supervisor of that name, keeping its state and logs in ``run_dir``. Raises UnknownSupervisorError."""
    try:
        make = SUPERVISORS[name]
    except KeyError:
        known = ", ".join(sorted(SUPERVISORS))
        raise UnknownSupervisorError(
            f"supervisor: '{name}' is not known; use one of: {known}.",
            details={"found": name, "known": sorted(SUPERVISORS)},
        ) from None
    return make(Path(run_dir))
