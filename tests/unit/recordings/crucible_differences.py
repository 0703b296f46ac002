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
_LOAD = (
    "the numbers are those of a load that went on by chance; other tests compare the shape of the dump after the fence "
    "and of all later ones, the log of the downstairs, the repaired extents, the error of who was cast out; the dump "
    "amid the load and the rest of the real upstairs' logs are not compared"
)
_DUMP = "crucible-downstairs dump -d ds0 -d ds1 -d ds2 --no-color"
_TARGETS = "-t 127.0.0.1:8810 -t 127.0.0.1:8820 -t 127.0.0.1:8830"
_UNDER_LOAD = (
    f"crutest generic {_TARGETS} -g 10 --continuous --quiet >A.log 2>&1 &",
    *(f"crutest one {_TARGETS} -g {generation} -q >B{generation}.log 2>&1 &" for generation in (10, 9, 11)),
    "messages of B10.log that match /./, last 30",
    "messages of A.log that match /./, last 6",
    "messages of B9.log that match /./, last 30",
    "messages of B11.log that match /[Gg]eneration|gen is|active|Active|fail|Error|error/, last 30",
    "messages of A.log that match /./, last 30",
    "messages of ds0.log that match "
    "/generation|active|Generation|UpstairsConnection|takeover|new upstairs|signal/, last 30",
    f"crutest generic {_TARGETS} -g 20 --continuous --quiet >A20.log 2>&1 &",
    "messages of A20.log that match /[Rr]epair|Offline|Faulted|LiveRepair|Active/, last 40",
    "messages of A20.log that match /./, last 5",
    *(_DUMP if number == 1 else f"{_DUMP} ({number})" for number in range(1, 5)),
)
_LOOKS_AT_UPSTAIRS = (
    "messages of R.log that match /[Rr]econcil|[Rr]epair|Max found|Generation requested|mismatch|All extents/, last 40",
    *(f"messages of G88{number}0.log that match /./, last 12" for number in (4, 5, 6)),
    "messages of S.log that match /./, last 14",
    *(
        f"messages of v{name}.log that match /./, last 6"
        for name in ("50", "50again", "bs", "ec", "bpe", "key", "badkey", "2t", "min", "extra", "region")
    ),
    "messages of e4.log that match /./, last 8",
)
_WRONG_KEY = "the real upstairs aborts when a block is not of its key; the lab's refuses that read and says why"

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
    *(Difference("crucible/04-fencing-and-repair", step, _LOAD, skip=True) for step in _UNDER_LOAD),
    *(
        Difference("crucible/04-fencing-and-repair", step, _UPSTAIRS_LOG, without=r'^"|^thread ')
        for step in _LOOKS_AT_UPSTAIRS
    ),
    Difference(
        "crucible/04-fencing-and-repair",
        "timeout 20 crudd -t 127.0.0.1:8870 -t 127.0.0.1:8880 -t 127.0.0.1:8890 "
        "-k QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI= -g 3 -n 512 read 3>/dev/null > e3.log 2>&1; echo rc=$?",
        _WRONG_KEY,
        without="^rc=| Aborted ",
    ),
    Difference("crucible/04-fencing-and-repair", "messages of e3.log that match /./, last 5", _WRONG_KEY),
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
