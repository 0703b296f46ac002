# SPDX-License-Identifier: GPL-3.0-or-later
"""The stages of the recording in which people ask the databases of a region of 2023, and what each step means there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from recordings.crucible_replay import Answer, Replay
from recordings.crucible_states import serve_and_write
from recordings.crucible_transcript import Step
from shared import PYTHON

_READER = """#!/bin/sh
shift
PYTHONPATH='{path}' exec {python} -c '
import sys; from pathlib import Path; from recordings.crucible_states import greatest_numbers
print(greatest_numbers(Path(sys.argv[2]), sys.argv[1]))' "$@"
"""
# The recorder became another user. The tests stay root, whose interpreter another user may not reach, give the files
# to the other user and lay down the rights by which root passes over their modes.
_BECOME_NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
_BECOME_POWERLESS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
_NOBODY = 65534


class SqliteStages:
    """Performs the steps in order: a stopped process, a running one, a killed one, a clean region, another user."""

    def __init__(self, replay: Replay, region: Path) -> None:
        self._replay = replay
        self._region = region
        self._process: subprocess.Popen[bytes] | None = None
        self._at_first = self._listing()
        reader = replay.folder.parent / "bin" / "python3"
        reader.write_text(_READER.format(path=":".join(sys.path), python=PYTHON))
        reader.chmod(0o755)

    def perform(self, step: Step) -> None:
        """Bring about what the step's name tells, then ask what it asks."""
        name = step.name.removeprefix("sqlite/").removesuffix(".txt")
        assert isinstance(step.command, tuple)
        if name == "04-running-mode-ro":
            self._process = serve_and_write(self._region)
        if name == "06-after-kill9-mode-ro":
            self.end()
        if "nobody" in name:
            self._as_nobody(step, name)
        elif step.command[0] == "cat":
            asked = self._changes() if name.startswith("03") else "\n".join(self._listing())
            self._replay.hold(step, Answer(asked, "", 0))
        else:
            self._replay.play([step])

    def end(self) -> None:
        """End the process that holds the region."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _listing(self) -> list[str]:
        """The databases' files as ``ls -l`` shows them."""
        paths = sorted(self._region.glob("*/*/*.db*"))
        return [f"-rw-r--r-- 1 root root {path.stat().st_size:6}  {path.name}" for path in paths]

    def _changes(self) -> str:
        """What is different in the listing since the recording began."""
        now = self._listing()
        return "\n".join(sorted({*now} ^ {*self._at_first}))

    def _as_nobody(self, step: Step, name: str) -> None:
        """The steps of another user, who owns nothing of a copy of the region."""
        copy = self._replay.folder / "nb8810"
        if name.startswith("10"):
            shutil.copytree(self._region, copy)
        if name.startswith("11"):
            (copy / "region.json").chmod(0o644)
        if name.startswith("12"):
            for path in [*copy.glob("*/*/*-wal"), *copy.glob("*/*/*-shm")]:
                path.unlink()
        for path in [copy, *copy.rglob("*")]:
            os.chown(path, _NOBODY, _NOBODY)
        assert isinstance(step.command, tuple)
        assert step.command[: len(_BECOME_NOBODY)] == _BECOME_NOBODY
        command = _BECOME_POWERLESS + step.command[len(_BECOME_NOBODY) :]
        self._replay.hold(step, self._replay.run(command))
