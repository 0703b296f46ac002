# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorded commands of crucible-downstairs, both ages, as values: command, output, exit status."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shared import recordings

_STEP_OF_2023 = re.compile(
    r"^=== (?P<name>\S+)\nargv: (?P<argv>\[[^\n]*\])\nexit: (?P<exit>-?\d+)[^\n]*\n"
    r"----- stdout \(\d+ bytes\)\n(?P<stdout>.*?)\n----- stderr \(\d+ bytes\)\n(?P<stderr>.*?)(?=^=== |\Z)",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Step:
    """One command. ``where`` names the recording."""

    where: str
    command: str
    stdout: str
    stderr: str
    exit: int

    @property
    def plain(self) -> bool:
        """Whether it is one command of the program and nothing else, with its output whole."""
        return self.command.startswith("crucible-downstairs ") and not re.search(
            r"[;|&<>]|\.\.\. \(\d+ lines\)", self.command + self.stdout + ("<" if self._cut else "")
        )

    @property
    def _cut(self) -> bool:
        return bool(re.search(r"\.\.\. .*(left out|cut)", self.stdout))


def steps() -> list[Step]:
    """All recorded commands; empty without the recordings."""
    if not (recordings / "transcripts").is_dir():
        return []
    found = [step for path in sorted((recordings / "transcripts/crucible").glob("*.txt")) for step in _today(path)]
    return found + [step for path in sorted((recordings / "transcripts/2023").glob("*.txt")) for step in _of_2023(path)]


def _today(path: Path) -> Iterator[Step]:
    for block in re.split(r"^\$ ", path.read_text(errors="replace"), flags=re.MULTILINE)[1:]:
        command, _newline, rest = block.partition("\n")
        ended = re.search(r"^--- exit (-?\d+)$", rest, re.MULTILINE)
        if not ended:
            continue
        parts = re.split(r"^--- (stdout|stderr)\n", rest[: ended.start()], flags=re.MULTILINE)
        outputs = dict(zip(parts[1::2], parts[2::2], strict=True))
        yield Step(path.stem, command, outputs.get("stdout", ""), outputs.get("stderr", ""), int(ended[1]))


def _of_2023(path: Path) -> Iterator[Step]:
    for found in _STEP_OF_2023.finditer(path.read_text(errors="replace")):
        command = " ".join(re.findall(r"'((?:[^'\\]|\\.)*)'", found["argv"]))
        command = command.removeprefix("HEAD:").removeprefix("../bin/0e2bea77/")
        yield Step(f"2023/{found['name']}", command, found["stdout"], found["stderr"], int(found["exit"]))
