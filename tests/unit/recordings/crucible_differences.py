# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the stand-in for crucible-downstairs differs from the recorded programs on purpose, each with its reason.

``DIFFERENCES`` is the one list. The tests fail when an entry is not used or no longer differs.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """One step that differs.

    ``without`` is a regular expression for lines that are left out on both sides before the rest must be equal; without
    it the two outputs may differ altogether. ``status`` tells that the exit status differs too. ``skip`` means that the
    step is not run at all.
    """

    recording: str
    step: str
    reason: str
    without: str | None = None
    status: bool = False
    skip: bool = False


_BACKTRACE = "the recorder asked for a backtrace, and the stand-in has no Rust stack to show"

DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "crucible/02-create",
        "ulimit -n 64; crucible-downstairs create -d z4 -u 12345678-0000-4000-8000-000000000001 --extent-size 16 "
        "--extent-count 100 2>&1 | tail -3; cat z4/region.json; find z4 -type f | wc -l",
        "how many extents are made before the files run out depends on the files that the runtime itself holds",
        without=r"^\d+$",
    ),
    Difference(
        "2023/ds",
        "ds/00-repair-api.txt",
        "the document of the repair service is for people who write its clients; the stand-in leaves the command out",
        status=True,
    ),
    *(
        Difference("2023/ds", f"ds/04-create-bs-{size}.txt", _BACKTRACE, without=r"^stack backtrace:|^ +\d+: |^note: ")
        for size in (0, 256, 513, 65536)
    ),
    Difference(
        "2023/ds",
        "ds/08-on-a-tty.typescript",
        "on a terminal the real program colours its log by the terminal's own escapes; the stand-in never does",
        skip=True,
    ),
)
