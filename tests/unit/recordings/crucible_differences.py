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
_UPSTAIRS_LOG = "the log of the real upstairs is its own; what the lab's upstairs says to its user is compared"
_CRUDD = "head -c 512 /dev/urandom | timeout {} crudd -t 127.0.0.1:8810 -t 127.0.0.1:8820 -t 127.0.0.1:8830 -g {}"
_RECORDS = r'^\{"msg":|^"'
_LOOK_FOR_RECONCILIATION = "messages of r-{}.log that match /[Rr]econ|[Rr]epair|Error|Active|error/, last 30"
_ONLY_REAL = (
    '^"(extent 0 needs|Transition|Task list|starting|sending|halting|Clear|client stopping|done|All required|not ready)'
)
_CRUDD_STEPS = (
    _CRUDD.format(20, 1) + " -n 512 write 2>&1 | tail -12",
    *(
        _CRUDD.format(12, f"{generation} -b 16384") + " -n 512 write 2>&1 | tail -5; echo rc=${PIPESTATUS[1]}"
        for generation in (5, 3, 0)
    ),
    _CRUDD.format(12, "7 -b 8192") + " -n 512 write 2>&1 | tail -8; echo rc=${PIPESTATUS[1]}",
    _CRUDD.format(20, "8 -b 8192") + " -n 512 write > up.log 2>&1; echo rc=$?; "
    """grep -o '"msg":"[^"]*"' up.log | sed "s/\\"msg\\"://" | head -80""",
)

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
    *(Difference("crucible/03-run-and-generations", step, _UPSTAIRS_LOG, without=_RECORDS) for step in _CRUDD_STEPS),
    *(
        Difference(
            "crucible/07-wildcard-repair-address",
            _LOOK_FOR_RECONCILIATION.format(kind),
            "the real upstairs also logs each state of each of its clients and the list of its steps; that list is "
            "compared for itself, and here what both say in their own words: what is copied, its failure, its success",
            without=_ONLY_REAL,
        )
        for kind in ("wild", "addr")
    ),
)
