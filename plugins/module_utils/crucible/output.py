# SPDX-License-Identifier: GPL-3.0-or-later
"""Understanding what crucible-downstairs prints: log records, import reports, versions, errors. Both ages."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .errors import OutputError

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_IMPORT_SIZES = re.compile(r"Import file_size: (\d+) +Extent size: (\d+) +Needed extents: (\d+)")
_IMPORT_DONE = re.compile(r"Populated (\d+) extents by copying (\d+) bytes \((\d+) blocks\)")
_EXTENDED = "Extending region to fit image"
_COMMIT = re.compile(r"^Commit SHA: ([0-9a-f]{7,64})$", re.MULTILINE)
_CRATE = re.compile(r"^Crucible Version: (?:Crucible Version: )?(\S+)$", re.MULTILINE)
_MESSAGE_VERSION = re.compile(r"^Upstairs <-> Downstairs Message Version: (\d+)$", re.MULTILINE)
_NO_SUCH_SUBCOMMAND = re.compile(r"unrecognized subcommand '|subcommand '[^']*' wasn't recognized")


@dataclass(frozen=True)
class Version:
    """What a crucible-downstairs is. ``commit`` alone identifies a build; the crate's version never changes.

    Programs of January 2023 cannot tell: ``version`` and ``commit`` are None, and they speak message version 1.
    """

    version: str | None
    commit: str | None
    message_version: int

    def as_dict(self) -> dict[str, str | int | None]:
        return {"version": self.version, "commit": self.commit, "message_version": self.message_version}


OF_2023 = Version(None, None, 1)


@dataclass(frozen=True)
class ImportReport:
    """What ``create --import-path`` says. ``extended``: the image was larger, so the region grew beyond what was asked.

    ``bytes`` counts whole blocks, the padding of the last one included.
    """

    file_size: int
    extent_bytes: int
    extended: bool
    extents: int
    bytes: int
    blocks: int


@dataclass(frozen=True)
class Complaint:
    """An error that the program printed: the ``code`` we give it and a sentence that says what to do."""

    code: str
    sentence: str


# In this order: the first that is found in the error output wins. Texts as printed by programs of both ages.
_COMPLAINTS: tuple[tuple[re.Pattern[str], Complaint], ...] = tuple(
    (re.compile(pattern), Complaint(code, sentence))
    for pattern, code, sentence in (
        (r"Config file already exists|Extent file already exists", "region_exists", "there is a region already"),
        (r"cannot open all required files|Too many open files", "open_file_limit",
         "the limit of open files is too low; a region needs 4 for each extent and 13 more (ulimit -n)"),
        (r"No space left on device|os error 28\b|code: 28\b", "disk_full", "the disk is full"),
        (r"Address already in use", "port_in_use", "the port, or the repair port 4000 above it, is in use"),
        (r"Cannot assign requested address", "address_not_here", "the address is not one of this host"),
        (r"missing field `database_read_version`", "program_too_new",
         "the region was made by a program of January 2023; programs of today cannot read it, make the region anew"),
        (r"File size \d+ does not match expected \d+", "program_too_old",
         "an extent has not the size that this program expects; was the region made by a program of another age?"),
        (r"[Dd]atabase (?:read|write) version mismatch", "program_age", "the region was made by another age's program"),
        (r"has unknown tag|metadata deserialization failed|file size \d+ does not match expected \d+",
         "region_damaged", "an extent file is cut off or damaged; make this region anew, the other two can repair it"),
        (r"open of \S+ failed: No such file", "region_incomplete",
         "an extent file is missing: the directory is half-made"),
        (r"missing context slot for block", "region_busy",
         "the region was read while it was written to; try again when nothing writes"),
        (r"attempt to write a readonly database|[Pp]ermission ?[Dd]enied|os error 13\b", "permission_denied",
         "the file belongs to another user: create, run and read a region as one and the same user (become_user)"),
        (r"file not found opening region config", "no_region", "there is no region"),
        (r"Error parse \"", "region_damaged", "region.json is damaged"),
        (r"Source downstairs is not read only", "clone_source_not_read_only",
         "the downstairs to clone from must run in mode ro"),
        (r"Incompatible region definitions", "clone_source_differs", "the region to clone from has another shape"),
        (r"Read-only file system|os error 30\b", "read_only_disk", "the file system is read-only"),
    )
)  # fmt: skip


def plain_lines(text: str) -> list[str]:
    """Standard output without the log records that programs of today mix into it, and without colours."""
    return [line for line in _COLOUR.sub("", text).splitlines() if not line.startswith("{")]


def log_messages(lines: Sequence[str]) -> list[str]:
    """Log lines for people: the message of a JSON record, any other line as it is."""
    return [_message(line) for line in lines]


def _message(line: str) -> str:
    if not line.startswith("{"):
        return line
    try:
        record: Any = json.loads(line)
    except (ValueError, RecursionError):
        return line
    message = record.get("msg") if isinstance(record, dict) else None
    return message if isinstance(message, str) else line


def complaint(error_output: str) -> Complaint | None:
    """What the program's error output means, if it is one of the errors that it is known to make."""
    for pattern, meaning in _COMPLAINTS:
        if pattern.search(error_output):
            return meaning
    return None


def error_line(error_output: str) -> str:
    """The line that says what is wrong: what stands behind ``Error: ``, or where a panic happened and why."""
    lines = [line.strip() for line in _COLOUR.sub("", error_output).splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if line.startswith("Error: "):
            rest = line.removeprefix("Error: ").removeprefix("error: ")
            cause = (
                lines[number + 2] if lines[number + 1 : number + 2] == ["Caused by:"] and lines[number + 2 :] else ""
            )
            return f"{rest}: {cause}" if cause else rest
        if " panicked at " in line:
            why = lines[number + 1] if lines[number + 1 :] else ""
            return f"it panicked: {why}" if why else f"it panicked: {line}"
    return log_messages(lines[-1:])[0] if lines else "no error text"


def knows_no_subcommand(error_output: str) -> bool:
    """Whether the error is that the program has no such subcommand, as those of 2023 have no ``version``."""
    return bool(_NO_SUCH_SUBCOMMAND.search(error_output))


def parse_version(output: str) -> Version:
    """The output of ``version``. Raises OutputError."""
    text = "\n".join(plain_lines(output))
    message, commit, crate = _MESSAGE_VERSION.search(text), _COMMIT.search(text), _CRATE.search(text)
    if not message:
        raise OutputError(
            "crucible-downstairs version: expected a line 'Upstairs <-> Downstairs Message Version: N', found "
            f"{text[:200]!r}; is it a crucible-downstairs?"
        )
    return Version(crate[1] if crate else None, commit[1] if commit else None, _number(message[1]))


def parse_import(output: str) -> ImportReport:
    """The four plain lines of ``create --import-path``. Raises OutputError."""
    lines = plain_lines(output)
    text = "\n".join(lines)
    sizes, done = _IMPORT_SIZES.search(text), _IMPORT_DONE.search(text)
    if not sizes or not done:
        raise OutputError(
            "crucible-downstairs create: expected the lines 'Import file_size: ...' and 'Populated ... extents', found "
            f"{text[:200]!r}; nothing tells that the image was imported."
        )
    return ImportReport(
        file_size=_number(sizes[1]),
        extent_bytes=_number(sizes[2]),
        extended=_EXTENDED in lines,
        extents=_number(done[1]),
        bytes=_number(done[2]),
        blocks=_number(done[3]),
    )


def _number(digits: str) -> int:
    if len(digits) > 20:
        raise OutputError(f"crucible-downstairs printed the number {digits[:20]}..., which is more than 64 bits.")
    return int(digits)
