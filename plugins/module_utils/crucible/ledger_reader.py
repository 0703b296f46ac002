# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a ledger's lines: all of them once, later only those that were appended since.

The numbers of a ledger rise from line to line: writers append a number only above the last one, and put a new file in
its place when an older number has to be written down. So where the last line that was read is still at its place in
the same file, no line before it holds a higher number, whatever became of the file in between: a reader that trusts
its memory may miss an old number there, but never the highest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..failures import shown
from .errors import LedgerError
from .ledger_entries import Entry, decode_entry, encode_entry
from .ledger_file import LedgerFile, Mark

FORMAT = 1
_TORN_NUMBER = re.compile(rb'"generation":(\d{1,19})')


@dataclass(frozen=True)
class Snapshot:
    """What a ledger holds, in the order of its lines. ``torn``: bytes of an unfinished line at its end.

    ``torn_generation`` is the number that this unfinished line was about (possibly cut off), else 0.
    """

    exists: bool
    entries: tuple[Entry, ...]
    torn: int = 0
    torn_generation: int = 0

    @property
    def last(self) -> int:
        """The highest number handed out, 0 when there is none."""
        return self.entries[-1].generation if self.entries else 0

    @property
    def newest(self) -> Entry | None:
        return self.entries[-1] if self.entries else None

    @property
    def digest(self) -> str:
        """SHA-256, as hex digits, of all entries: equal ledgers, equal digests."""
        return hashlib.sha256(b"".join(map(encode_entry, self.entries))).hexdigest()


class LedgerReader:
    """What is known of one ledger file. Every method raises LedgerError."""

    def __init__(self, file: LedgerFile, volume: str) -> None:
        self.file = file
        self.volume = volume
        self.forget()

    def forget(self) -> None:
        """Take nothing for known."""
        self._mark: Mark | None = None
        self._lines = 0
        self.exists = False
        self.entries: list[Entry] = []
        self.torn = 0
        self.torn_generation = 0
        self.by_generation: dict[int, Entry] = {}
        self.by_migration: dict[str, Entry] = {}  # the last of each

    def refresh(self) -> None:
        """Read what is new; no file is an empty ledger, a torn last line is left out, other damage is an error."""
        content = self.file.read(self._mark)
        if content is None or not content.continued:
            self.forget()
        if content is None:
            return
        self.exists = True
        try:
            self._take(content.lines)
        except LedgerError:
            self.forget()
            raise
        self._mark = content.mark
        self.torn = len(content.torn)
        found = _TORN_NUMBER.search(content.torn)
        self.torn_generation = int(found[1]) if found else 0

    def snapshot(self) -> Snapshot:
        """What is known, as a value of its own."""
        return Snapshot(self.exists, tuple(self.entries), self.torn, self.torn_generation)

    @property
    def newest(self) -> Entry | None:
        """The entry with the highest number."""
        return self.entries[-1] if self.entries else None

    @property
    def last(self) -> int:
        """The highest number handed out, 0 when there is none."""
        return self.entries[-1].generation if self.entries else 0

    def _take(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            self._lines += 1
            if self._lines == 1:
                self._check_header(line)
            else:
                self._add(line)

    def _add(self, line: bytes) -> None:
        entry = decode_entry(line)
        if entry is None or entry.generation <= self.last:
            what = repr(line[:60]) if entry is None else f"{entry.generation} comes after {self.last}"
            raise LedgerError(
                f"{self.file.path}: line {self._lines} is damaged ({what}); move the file away, so that it is made "
                "anew from the ledgers of the other two hosts.",
                code="ledger_damaged",
            )
        self.entries.append(entry)
        self.by_generation[entry.generation] = entry
        if entry.migration_id is not None:
            self.by_migration[entry.migration_id] = entry

    def _check_header(self, line: bytes) -> None:
        try:
            header: Any = json.loads(line)
        except (ValueError, RecursionError):
            header = None
        if not isinstance(header, dict) or header.get("ledger") != FORMAT:
            raise LedgerError(
                f"{self.file.path}: its first line is not that of a ledger in format {FORMAT}; move the file away, so "
                "that it is made anew from the ledgers of the other two hosts."
            )
        found = header.get("volume")
        if found != self.volume:
            found = f"{found:.100}" if isinstance(found, str) else shown(found)
            raise LedgerError(
                f"{self.file.path}: belongs to volume {found}, expected {self.volume}; is the region path right?",
                code="foreign_ledger",
                details={"found": found, "expected": self.volume},
            )
