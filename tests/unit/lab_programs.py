# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's programs as processes of their own, forked from one that has loaded all of the lab.

What a program does is the same as when ``python -m`` starts it, which the tests of its start do, and all plays.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import forked_processes
from forked_processes import ForkedProcess

UNIT = Path(__file__).resolve().parent
LAB = UNIT.parents[1] / "roles" / "lab" / "files"

Program = subprocess.Popen[bytes] | ForkedProcess


def start(program: str, *arguments: str, directory: Path, environment: Mapping[str, str], output: Path) -> Program:
    """A module that is a program, or a file that is one, with all that it says appended to a file."""
    environment = {**environment, "PYTHONPATH": str(LAB)}
    if forked_processes.begin_server("preloaded_lab", (UNIT, UNIT.parent, LAB), os.environ):
        about = (program, arguments, directory, environment, output)
        return ForkedProcess(_run, about, alone=True)
    command = [sys.executable, *([] if program.endswith(".py") else ["-m"]), program, *arguments]
    with output.open("ab") as sink:
        return subprocess.Popen(
            command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT
        )


def _run(program: str, arguments: tuple[str, ...], directory: Path, environment: dict[str, str], output: Path) -> None:
    if "preloaded_lab" not in sys.modules:  # the server is silent about what it could not load
        raise RuntimeError("the process that programs are forked from has not loaded the lab")
    forked_processes.become(environment, directory, output, append=True)
    tempfile.tempdir = None  # as it was in another environment
    sys.argv = [program, *arguments]
    if program.endswith(".py"):
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)
