# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads recordings of commands: what was run, what it wrote, how it ended. Two forms: one of today, one of 2023."""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """One recorded thing: a command, or a note of the recorder that stands between commands.

    ``name`` is unique in its recording. ``command`` is a shell line today and a list of arguments in 2023, None for a
    note. A stream is None where the recording says nothing about it; ``status`` is None for what runs on.
    """

    name: str
    command: str | tuple[str, ...] | None = None
    stdout: str | None = None
    stderr: str | None = None
    status: int | None = None
    note: str | None = None


def read_today(path: Path) -> list[Step]:
    """The steps of a recording with ``$ command`` lines, in order; ``[host 1] $ command`` is ``[host 1] command``."""
    text = re.sub(r"(?m)^(\[host \d+\] )\$ ", r"$ \1", path.read_text("utf-8"))
    starts = [match.start() for match in re.finditer(r"(?m)(?:\A|(?<=\n\n))(?=[$#] )", text)]
    chunks = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    seen: Counter[str] = Counter()
    return [_step_of_today(chunk, seen) for chunk in chunks]


def _step_of_today(chunk: str, seen: Counter[str]) -> Step:
    first, _unused, rest = chunk.partition("\n")
    kind, line = first[0], first[2:]
    seen[line] += 1
    name = line if seen[line] == 1 else f"{line} ({seen[line]})"
    if kind == "#":
        return Step(name, note=line)
    parts = re.split(r"(?m)^--- (stdout|stderr|exit)", rest)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    status = int(found["exit"].split()[0]) if "exit" in found else None
    runs_on = status is None and not found
    return Step(
        name,
        line,
        stdout=None if runs_on else found.get("stdout", "").removeprefix("\n"),
        stderr=None if runs_on else found.get("stderr", "").removeprefix("\n"),
        status=status,
    )


def read_2023(path: Path) -> list[Step]:
    """The steps of a recording with ``=== name`` lines, in the order of their names."""
    parts = re.split(r"(?m)^=== (.+)\n", path.read_text("utf-8"))
    return [_step_of_2023(name, body) for name, body in zip(parts[1::2], parts[2::2], strict=True)]


def _step_of_2023(name: str, body: str) -> Step:
    if not body.startswith("argv: "):
        return Step(name, note=body)
    argv = tuple(ast.literal_eval(body.partition("\n")[0].removeprefix("argv: ")))
    status = re.search(r"(?m)^exit: (-?\d+)", body)
    streams = re.search(
        r"(?ms)^----- stdout \(\d+ bytes\)\n(?P<stdout>.*)^----- stderr \(\d+ bytes\)\n(?P<stderr>.*)\Z", body
    )
    if status is None or streams is None:
        raise ValueError(f"step {name} has no exit status or no streams")
    return Step(name, argv, streams["stdout"], streams["stderr"], int(status.group(1)))
