# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the recordings of the wire: who sent which frame on which connection, and the bytes of extents.

Run as a program it prints which part of the protocol's messages the recordings hold::

    PYTHONPATH=tests/unit:roles/lab/files python tests/unit/wire_recordings.py
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from propolis_lab.protocol.messages import MESSAGES
from shared import recordings

FOLDER = recordings / "transcripts" / "protocol"
_FRAME = re.compile(r"([<>]) ds(\d)#(\d+) t=[\d.]+ (\w+) ([0-9a-f]+)(\.\.\.[0-9a-f]*)?")
_CONNECTED = re.compile(r"# ds(\d)#(\d+) t=[\d.]+ connected")
_CLOSED = re.compile(r"# ds(\d)#(\d+) t=[\d.]+ (upstairs|downstairs) closed its side")


@dataclass(frozen=True)
class Event:
    """One line: a frame (``send`` is the upstairs', ``reply`` the downstairs'), a connection's begin or end, a note.

    ``whole`` is false for frames of which the recording kept the beginning only.
    """

    kind: Literal["send", "reply", "connected", "upstairs closed", "downstairs closed", "note"]
    replica: int = -1
    connection: int = -1
    name: str = ""
    frame: bytes = b""
    whole: bool = True

    @property
    def key(self) -> tuple[int, int]:
        return self.replica, self.connection


def names() -> list[str]:
    """The recordings, without their ending."""
    return sorted(path.stem for path in FOLDER.glob("?*-*.txt"))


def events(name: str) -> Iterator[Event]:
    """The lines of one recording, in order."""
    for line in (FOLDER / f"{name}.txt").read_text("utf-8").splitlines():
        if match := _FRAME.match(line):
            arrow, replica, connection, what, hexadecimal, shortened = match.groups()
            kind: Literal["send", "reply"] = "send" if arrow == ">" else "reply"
            whole = shortened is None and "..." not in line
            frame = bytes.fromhex(hexadecimal if len(hexadecimal) % 2 == 0 else hexadecimal[:-1])
            yield Event(kind, int(replica), int(connection), what, frame, whole)
        elif match := _CONNECTED.fullmatch(line):
            yield Event("connected", int(match[1]), int(match[2]))
        elif match := _CLOSED.fullmatch(line):
            who: Literal["upstairs closed", "downstairs closed"] = (
                "upstairs closed" if match[3] == "upstairs" else "downstairs closed"
            )
            yield Event(who, int(match[1]), int(match[2]))
        elif line.startswith("# "):
            yield Event("note", name=line[2:])


@dataclass(frozen=True)
class Coverage:
    """What all recordings together hold. ``missing`` are the names of the messages that are in none of them."""

    messages: int
    missing: tuple[str, ...]
    frames: int
    shortened: int

    def __str__(self) -> str:
        return (
            f"{self.messages - len(self.missing)} of {self.messages} messages are in the recordings, in {self.frames} "
            f"frames, of which {self.shortened} are shortened; in none of them: {', '.join(self.missing)}"
        )


def coverage() -> Coverage:
    """Counts over all recordings."""
    frames = [event for name in names() for event in events(name) if event.kind in ("send", "reply")]
    seen = {event.name for event in frames}
    missing = tuple(cls.__name__ for _tag, cls in sorted(MESSAGES.items()) if cls.__name__ not in seen)
    return Coverage(len(MESSAGES), missing, len(frames), sum(not event.whole for event in frames))


def moments(name: str, what: str) -> dict[tuple[int, int], list[float]]:
    """The seconds at which something, ``connected`` or a message's name, happened on each connection of a recording."""
    found: dict[tuple[int, int], list[float]] = {}
    pattern = re.compile(rf"[<>#] ds(\d)#(\d+) t=([\d.]+) {what}\b")
    for line in (FOLDER / f"{name}.txt").read_text("utf-8").splitlines():
        if match := pattern.match(line):
            found.setdefault((int(match[1]), int(match[2])), []).append(float(match[3]))
    return found


def extent(name: str) -> bytes:
    """The bytes of a recorded extent file, from its dump (``*`` stands for repeated lines)."""
    return undump((FOLDER / "extents" / f"{name}.txt").read_text("utf-8"))


def undump(text: str) -> bytes:
    """The bytes behind ``od -A d -t x1``."""
    data = bytearray()
    last = b""
    repeated = False
    for line in text.splitlines():
        if line == "*":
            repeated = True
        elif re.match(r"\d{7}\b", line):
            offset, *values = line.split()
            while repeated and len(data) < int(offset):
                data += last
            repeated = False
            assert len(data) == int(offset)
            last = bytes.fromhex("".join(values))
            data += last
    return bytes(data)


if __name__ == "__main__":
    sys.stdout.write(f"{coverage()}\n")
