# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the commands of a recording with the stand-ins in the place of the real programs, and holds the two together."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from recordings.crucible_differences import DIFFERENCES, Difference
from recordings.crucible_masks import STAND_IN, is_help, masked, same
from recordings.crucible_transcript import Step
from shared import PYTHON, ROOT

LIMIT = 60.0
"""Seconds after which a command that ought to have ended counts as hanging."""
_READY = re.compile(r"downstairs listening on ")
_WRAPPER = """#!/bin/sh
PYTHONPATH='{lab}' exec {python} -m {module} "$@"
"""


@dataclass(frozen=True)
class Answer:
    """What a command wrote and how it ended."""

    stdout: str
    stderr: str
    status: int | None


@dataclass
class Replay:
    """A folder in which one recording is replayed; ``age`` is that of the program called crucible-downstairs."""

    recording: str
    folder: Path
    age: str = "today"
    prefix: tuple[str, ...] = ()
    """Put before every command, to run it elsewhere: in a network of its own."""
    problems: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    commands: int = 0
    """How many recorded commands were run."""
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Put the stand-ins first in the path."""
        tools = self.folder.parent / "bin"
        tools.mkdir()
        self.folder.mkdir()
        lab = ROOT / "roles" / "lab" / "files"
        text = _WRAPPER.format(lab=lab, python=PYTHON, module=f"propolis_lab.downstairs --age {self.age}")
        (tools / "crucible-downstairs").write_text(text)
        crudd = ROOT / "tests" / "unit" / "recordings" / "crucible_crudd.py"
        for name in ("crudd", "crutest"):
            (tools / name).write_text(f'#!/bin/sh\nPYTHONPATH="{lab}" exec {PYTHON} "{crudd}" "$@"\n')
        for tool in tools.iterdir():
            tool.chmod(0o755)

    def play(self, steps: Iterable[Step], change: Callable[[str], str] = lambda command: command) -> None:
        """Run the steps in order; ``change`` may alter a shell line before it is run."""
        try:
            for step in steps:
                self._step(step, change)
        finally:
            for process in self.running.values():
                process.kill()
                process.wait()

    def check(self, recorded: int | None = None) -> None:
        """Fail with everything that differed, and with entries of the list that are of no use.

        With the number of ``recorded`` commands, fail too when any of them was not run.
        """
        if recorded is not None:
            print(f"{self.recording}: {self.commands} of {recorded} recorded commands replayed")
            if self.commands != recorded:
                self.problems.append(f"{self.commands} commands were run, {recorded} are recorded")
        unused = [entry.step for entry in _entries(self.recording) if entry.step not in self.used]
        self.problems += [f"the list of differences names {step!r}, which was not met" for step in unused]
        assert not self.problems, f"{self.recording}\n" + "\n\n".join(self.problems)

    def hold(self, step: Step, answer: Answer) -> None:
        """Compare an answer with what was recorded."""
        self.commands += 1
        entry = next((entry for entry in _entries(self.recording) if entry.step == step.name), None)
        if entry is not None:
            self.used.add(entry.step)
        differ = _differences(step, answer)
        if entry is None:
            self.problems += differ
            return
        if not differ:
            self.problems.append(f"{step.name}: is on the list of differences and does not differ")
        elif entry.without is not None:
            self.problems += _differences(_without(step, entry.without), _answer_without(answer, entry.without))
        elif not entry.status and answer.status != step.status:
            self.problems.append(f"{step.name}: exit status {answer.status}, recorded {step.status}")

    def run(self, command: str | tuple[str, ...], **environment: str) -> Answer:
        """Run one command to its end."""
        arguments = ["bash", "-c", command] if isinstance(command, str) else list(command)
        done = subprocess.run(
            [*self.prefix, *arguments],
            cwd=self.folder,
            env=self._environment() | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT,
            check=False,
        )
        return Answer(done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"), done.returncode)

    def _step(self, step: Step, change: Callable[[str], str]) -> None:
        entry = next((entry for entry in _entries(self.recording) if entry.step == step.name), None)
        if entry is not None and entry.skip:
            self.used.add(entry.step)
            return
        if step.command is None:
            self._signal(step)
        elif isinstance(step.command, str) and step.command.endswith("&"):
            self._start(change(step.command))
        else:
            command = change(step.command) if isinstance(step.command, str) else step.command
            self.hold(step, self.run(command))

    def _start(self, command: str) -> None:
        """Start a downstairs and wait until its log says that it serves."""
        self.commands += 1
        line = re.fullmatch(r"(crucible-downstairs run -d (\S+) .*?)>(\S+) .*&", command)
        if line is None:
            raise ValueError(f"do not know how to start {command!r}")
        log = self.folder / line[3]
        log.unlink(missing_ok=True)  # one of the same name may say that it serves
        shell = [*self.prefix, "bash", "-c", f"exec {command.rstrip('& ')}"]
        process = subprocess.Popen(shell, cwd=self.folder, env=self._environment())
        self.running[line[2]] = process
        end = time.monotonic() + LIMIT
        while not (log.exists() and _READY.search(log.read_text())):
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{command!r} does not serve; its log: {log.read_text()}")
            time.sleep(0.02)

    def _signal(self, step: Step) -> None:
        """Notes tell which process was sent which signal, and how it ended."""
        note = re.fullmatch(r"(\w+): (?:signal )?(SIG\w+) -> return code (-\d+)", step.note or "")
        if note is None:
            return
        process = self.running.pop(note[1])
        number = {"SIGTERM": 15, "SIGKILL": 9}[note[2]]
        process.send_signal(number)
        status = process.wait(LIMIT)
        if status != int(note[3]):
            self.problems.append(f"{step.name}: ended with {status}")

    def _environment(self) -> dict[str, str]:
        tools = str(self.folder.parent / "bin")
        return {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _entries(recording: str) -> list[Difference]:
    return [entry for entry in DIFFERENCES if entry.recording == recording]


def _differences(step: Step, answer: Answer) -> list[str]:
    found = []
    if step.status is not None and step.status != answer.status:
        found.append(f"{step.name}: exit status {answer.status}, recorded {step.status}")
    for stream, recorded, ours in (("stdout", step.stdout, answer.stdout), ("stderr", step.stderr, answer.stderr)):
        if recorded is None or same(recorded, ours):
            continue
        if is_help(recorded):
            if STAND_IN not in ours or not ours.startswith("Error: "):
                found.append(f"{step.name}: its help does not say that it is a stand-in: {ours}")
            continue
        lines = difflib.unified_diff(
            masked(recorded).split("\n"), masked(ours).split("\n"), "recorded", "ours", lineterm="", n=2
        )
        found.append(f"{step.name}: {stream} differs\n" + "\n".join(lines))
    return found


def _without(step: Step, pattern: str) -> Step:
    return Step(step.name, step.command, _left(step.stdout, pattern), _left(step.stderr, pattern), step.status)


def _answer_without(answer: Answer, pattern: str) -> Answer:
    return Answer(_left(answer.stdout, pattern) or "", _left(answer.stderr, pattern) or "", answer.status)


def _left(text: str | None, pattern: str) -> str | None:
    if text is None:
        return None
    return "\n".join(line for line in text.split("\n") if not re.search(pattern, line))
