# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``crucible-downstairs run`` was asked to do, as the service receives it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from propolis_lab.region.age import Age


class Mode(enum.Enum):
    """Whether upstairs may write; the values are those of ``--mode``."""

    READ_WRITE = "rw"
    READ_ONLY = "ro"


@dataclass(frozen=True)
class RunOptions:
    """The options of ``run``, checked.

    ``address`` is an IP literal, ``port`` the data port (0..65535; the repair service listens on ``port`` + 4000).
    ``lossy`` and the three ``*_errors`` are the test options of the real program. ``faults`` is the text of the
    laboratory's own ``--faults`` option (a file name or JSON), given to the service as it is; ``advertise`` is the IP
    literal that it names for repair, as one does that listens on a wildcard, instead of ``address``; ``strict_fence``
    asks for a downstairs without the real one's gap in fencing.
    """

    path: Path
    address: str = "0.0.0.0"  # noqa: S104 - the default of the real program
    port: int = 9000
    mode: Mode = Mode.READ_WRITE
    lossy: bool = False
    read_errors: bool = False
    write_errors: bool = False
    flush_errors: bool = False
    age: Age = Age.TODAY
    faults: str | None = None
    advertise: str | None = None
    strict_fence: bool = False
