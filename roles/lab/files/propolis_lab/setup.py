# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts a lab in place below a directory, or takes it away: programs, something to boot from, empty fault files.

``python -m propolis_lab.setup put ROOT --api today --faults ROOT/faults [--no-history] [--image-mib 8] [--check]``
``python -m propolis_lab.setup remove ROOT [--check]``

Prints one JSON object: ``changed`` (bool), ``changes`` (a sentence for each) and ``diff`` (unified, of the programs).
Run again, it changes nothing. It asks for the standard library alone, so that it can say what the stand-ins lack.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from propolis_lab.image import bootable, bootrom

FILES = Path(__file__).resolve().parents[1]
IMPORTED = ("aiohttp", "cryptography", "xxhash")
NEWEST_API = "5.0.0"
FAULTS = {"wire.json": b"[]\n", "server.json": b"{}\n"}


class CannotError(Exception):
    """One sentence on why the lab cannot be put in place."""


@dataclass(frozen=True)
class Wish:
    """The lab that somebody wants: where, of which age, with what. The Python that puts it there runs it."""

    root: Path
    api: str
    faults: Path
    history: bool
    image_mib: int


@dataclass
class Changes:
    """What was done, or in check mode would be."""

    check: bool
    sentences: list[str] = field(default_factory=list)
    diff: list[str] = field(default_factory=list)

    def add(self, sentence: str) -> bool:
        """Remember a change; whether it shall be made."""
        self.sentences.append(sentence)
        return not self.check

    def as_json(self) -> str:
        return json.dumps({"changed": bool(self.sentences), "changes": self.sentences, "diff": "".join(self.diff)})


def programs(wish: Wish) -> dict[str, str]:
    """The text of each program, by name: a shell script that becomes the stand-in of the wanted age."""
    of_2023 = wish.api == "2023-01"
    age = ["--age", "2023-01"] if of_2023 else ["--latest-api", NEWEST_API if wish.api == "today" else wish.api]
    history = ["--history", str(wish.root / "history.jsonl")] if wish.history else []
    return {
        "crucible-downstairs": _program(
            wish,
            f"The lab's stand-in for crucible-downstairs{' of January 2023' if of_2023 else ''}.",
            "propolis_lab.downstairs",
            ["--age", "2023"] if of_2023 else [],
        ),
        "propolis-server": _program(
            wish,
            f"The lab's stand-in for propolis-server (API {wish.api}).",
            "propolis_lab.server",
            [*age, *history, "--faults", str(wish.faults / "server.json")],
        ),
        "crucible-volume": _program(
            wish,
            "Reads, writes or looks at a volume over any three downstairs, with the lab's own upstairs.",
            "propolis_lab.volume",
            [],
        ),
    }


def _program(wish: Wish, what: str, module: str, options: Sequence[str]) -> str:
    environment = (
        f"PYTHONPATH={shlex.quote(str(FILES))} PROPOLIS_LAB_FAULTS={shlex.quote(str(wish.faults / 'wire.json'))}"
    )
    command = shlex.join([sys.executable, "-m", module, *options])
    return f'#!/bin/sh\n# Made by the role apiary.propolis.lab.\n# {what}\n{environment} \\\nexec {command} "$@"\n'


def check_imports() -> None:
    """Raises CannotError when this Python lacks what the stand-ins import."""
    lacking = []
    for name in IMPORTED:
        try:
            importlib.import_module(name)
        except ImportError:
            lacking.append(name)
    if lacking:
        raise CannotError(
            f"{sys.executable} lacks {', '.join(lacking)}, which the stand-ins import; "
            "install what requirements.txt names, or set lab_python to a Python that has it"
        )


def put(wish: Wish, changes: Changes) -> None:
    """Make what is missing and mend what differs. Raises CannotError, OSError."""
    wanted = {wish.root / "bin" / name: text for name, text in programs(wish).items()}
    if any(not path.exists() or path.read_text() != text for path, text in wanted.items()):
        check_imports()  # a fifth of a second, so only when the programs are made
    for directory in (wish.root, wish.root / "bin", wish.root / "share", wish.faults):
        _directory(directory, changes)
    for path, text in wanted.items():
        _script(path, text, changes)
    if _missing(wish.root / "share" / "lab.raw", changes):
        write_whole(wish.root / "share" / "lab.raw", bootable(wish.image_mib))
    if _missing(wish.root / "share" / "OVMF_CODE.fd", changes):
        write_whole(wish.root / "share" / "OVMF_CODE.fd", bootrom())
    for name, nothing in FAULTS.items():
        if _missing(wish.faults / name, changes):
            write_whole(wish.faults / name, nothing)


def _directory(path: Path, changes: Changes) -> None:
    if path.exists() and not path.is_dir():
        raise CannotError(f"{path} is no directory")
    if not path.exists():
        if changes.add(f"{path} made"):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o755)
    elif path.stat().st_mode & 0o777 != 0o755 and changes.add(f"{path} has mode 0755"):
        path.chmod(0o755)


def _missing(path: Path, changes: Changes) -> bool:
    return not path.exists() and changes.add(f"{path} made")


def _script(path: Path, text: str, changes: Changes) -> None:
    before = path.read_text() if path.exists() else ""
    if before != text:
        lines = difflib.unified_diff(
            before.splitlines(True), text.splitlines(True), f"before: {path}", f"after: {path}"
        )
        changes.diff.extend(lines)
        if changes.add(f"{path} written"):
            write_whole(path, text.encode(), mode=0o755)
    elif path.stat().st_mode & 0o777 != 0o755 and changes.add(f"{path} has mode 0755"):
        path.chmod(0o755)


def write_whole(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write under another name, make it durable, rename: a reader sees the whole file or none."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.chmod(mode)
    part.rename(path)


def remove(root: Path, changes: Changes) -> None:
    """Remove the directory with all that is in it, if it holds a lab. Raises OSError."""
    if (root / "bin" / "propolis-server").exists() and changes.add(f"{root} removed"):
        shutil.rmtree(root)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    outer = argparse.ArgumentParser(
        prog="python -m propolis_lab.setup", description="Put a lab in place, or remove it."
    )
    commands = outer.add_subparsers(dest="command", required=True)
    one = commands.add_parser("put", help="make what is missing, mend what differs")
    one.add_argument("root", type=Path)
    one.add_argument("--api", default="today", help="age of the stand-ins: today, 2023-01, or 1.0.0 to 5.0.0")
    one.add_argument("--faults", type=Path, required=True, help="directory of the fault files")
    one.add_argument("--no-history", dest="history", action="store_false")
    one.add_argument("--image-mib", type=int, default=8, help="size of the boot image, at least 1")
    other = commands.add_parser("remove", help="remove the directory, if it holds a lab")
    other.add_argument("root", type=Path)
    for command in (one, other):
        command.add_argument("--check", action="store_true", help="change nothing, say what would be changed")
    return outer


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0, or 1 with one sentence on stderr."""
    options = parser().parse_args(arguments)
    changes = Changes(options.check)
    try:
        if options.command == "remove":
            remove(options.root, changes)
        else:
            if options.image_mib < 1:
                raise CannotError(f"the image size is {options.image_mib} MiB; at least 1 is needed")
            put(Wish(options.root, options.api, options.faults, options.history, options.image_mib), changes)
    except (CannotError, OSError) as error:
        print(f"Error: {error}.", file=sys.stderr)
        return 1
    print(changes.as_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
