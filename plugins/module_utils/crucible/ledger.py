# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger: the append-only record of every generation of a volume that was ever handed out.

One file of JSON lines beside a region, ``<region path>.ledger``. The first line names the volume, every other line is
one number. A number is spent when its line is complete; a line without its newline was never handed out.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import GenerationError, LedgerError, LedgerMovedError
from .ledger_entries import Entry, Floor, decode_entry, encode_entry
from .ledger_file import LedgerFile
from .volume import check_generation

_FORMAT = 1
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
        return max((entry.generation for entry in self.entries), default=0)

    @property
    def newest(self) -> Entry | None:
        return max(self.entries, key=lambda entry: entry.generation, default=None)

    @property
    def digest(self) -> str:
        """SHA-256, as hex digits, of all entries in the order of their numbers: equal ledgers, equal digests."""
        ordered = sorted(self.entries, key=lambda entry: entry.generation)
        return hashlib.sha256(b"".join(encode_entry(entry) for entry in ordered)).hexdigest()


def ledger_path(region: Path) -> Path:
    """Where the ledger of the volume that a region belongs to lies."""
    return region.with_name(f"{region.name}.ledger")


class Ledger:
    """The ledger file of one volume on one host. Every method raises LedgerError.

    Writers hold an exclusive lock on ``<ledger>.lock`` from the reading of the last number to the fsync of the new one.
    """

    def __init__(self, path: Path, volume: str, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path = path
        self.volume = volume
        self._now = now
        self._file = LedgerFile(path)

    def read(self) -> Snapshot:
        """All entries; an absent file is an empty ledger. A torn last line is left out, other damage is an error."""
        content = self._file.read()
        if content is None:
            return Snapshot(False, ())
        if content.lines:
            self._check_header(content.lines[0])
        entries = tuple(self._entry(number, line) for number, line in enumerate(content.lines[1:], start=2))
        found = _TORN_NUMBER.search(content.torn)
        return Snapshot(True, entries, len(content.torn), int(found[1]) if found else 0)

    def next_generation(self, floors: Iterable[Floor]) -> int:
        """The number that ``allocate`` would hand out now."""
        return self._highest(self.read(), floors).generation + 1

    def allocate(
        self,
        template: Entry,
        *,
        floors: Sequence[Floor] = (),
        explicit: int | None = None,
        expected_last: int | None = None,
        merge: Sequence[Entry] = (),
        timeout: float = 10.0,
        dry_run: bool = False,
    ) -> tuple[Entry, bool]:
        """Hand out one number and return its entry, and whether it is new.

        ``template`` has everything but the number and the time. ``merge`` are entries that other hosts know; they are
        recorded first, so that a lost ledger is whole again. ``explicit`` asks for one certain number.
        ``expected_last`` is the last number the caller saw: another one found here raises LedgerMovedError. A migration
        that has its number already gets the same one, as long as no later one was handed out. With ``dry_run`` nothing
        is written.
        Raises GenerationError when ``explicit`` is not above every floor.
        """
        with contextlib.nullcontext() if dry_run else self._file.locked(timeout):
            snapshot = self.read()
            missing = self._missing(snapshot, merge)
            snapshot = Snapshot(snapshot.exists, (*snapshot.entries, *missing), snapshot.torn, snapshot.torn_generation)
            mine = _of_migration(snapshot, template.migration_id)
            if mine is not None:
                self._check_repeated(mine, snapshot, explicit)
                if not dry_run:
                    self._append(missing)
                return mine, False
            self._check_expected(snapshot, expected_last)
            entry = Entry(
                self._choose(snapshot, floors, explicit),
                template.reason,
                template.instance,
                template.server,
                template.migration_id,
                self._now().astimezone(UTC).isoformat(timespec="milliseconds"),
                template.controller,
            )
            if not dry_run:
                self._append([*missing, entry])
            return entry, True

    def record(self, entries: Sequence[Entry], *, timeout: float = 10.0, dry_run: bool = False) -> list[Entry]:
        """Write down numbers that were handed out elsewhere; returns those that were not known here."""
        with contextlib.nullcontext() if dry_run else self._file.locked(timeout):
            missing = self._missing(self.read(), entries)
            if not dry_run:
                self._append(missing)
            return missing

    # -- numbers -------------------------------------------------------------------------------------------------------

    def _highest(self, snapshot: Snapshot, floors: Iterable[Floor]) -> Floor:
        known = [
            Floor(snapshot.last, f"the ledger {self.path}"),
            Floor(snapshot.torn_generation, f"an unfinished line of the ledger {self.path}"),
            *floors,
        ]
        return max(known, key=lambda floor: floor.generation)

    def _choose(self, snapshot: Snapshot, floors: Iterable[Floor], explicit: int | None) -> int:
        floor = self._highest(snapshot, floors)
        if explicit is None:
            return check_generation(floor.generation + 1)
        number = check_generation(explicit)
        if number <= floor.generation:
            raise GenerationError(
                f"generation: {number} must not be used for volume {self.volume}, it has to be more than "
                f"{floor.generation}, which {floor.source} holds; the next free one is {floor.generation + 1}.",
                details={"generation": number, "floor": floor.generation, "source": floor.source},
            )
        return number

    def _check_expected(self, snapshot: Snapshot, expected_last: int | None) -> None:
        if expected_last is None or snapshot.last == expected_last:
            return
        newest = snapshot.newest
        who = f"the newest entry is {newest.sentence}" if newest else "the ledger is empty"
        raise LedgerMovedError(
            f"{self.path}: the last generation of volume {self.volume} is {snapshot.last}, expected {expected_last}; "
            f"{who}.",
            details={
                "last": snapshot.last,
                "expected_last": expected_last,
                "newest": newest.as_dict() if newest else None,
            },
        )

    def _check_repeated(self, mine: Entry, snapshot: Snapshot, explicit: int | None) -> None:
        newest = snapshot.newest
        if newest is not None and newest.generation != mine.generation:
            raise LedgerMovedError(
                f"{self.path}: migration {mine.migration_id} got generation {mine.generation} of volume {self.volume}, "
                f"but a later one was handed out since: {newest.sentence}; {mine.generation} must not be used.",
                details={"generation": mine.generation, "newest": newest.as_dict()},
            )
        if explicit is not None and explicit != mine.generation:
            raise GenerationError(
                f"generation: migration {mine.migration_id} has generation {mine.generation} already, not {explicit}.",
                code="migration_has_generation",
                details={"generation": explicit, "found": mine.generation},
            )

    def _missing(self, snapshot: Snapshot, entries: Sequence[Entry]) -> list[Entry]:
        """Entries not known here, in order of their numbers. Two different ones with one number are an error."""
        known = {entry.generation: entry for entry in snapshot.entries}
        missing = []
        for entry in sorted(entries, key=lambda entry: entry.generation):
            here = known.setdefault(entry.generation, entry)
            if here is entry:
                missing.append(entry)
            elif here != entry:
                raise LedgerError(
                    f"{self.path}: generation {entry.generation} of volume {self.volume} was handed out twice: "
                    f"here {here.sentence}; elsewhere {entry.sentence}. Look with status.yml which of them runs.",
                    code="ledger_conflict",
                    details={"here": here.as_dict(), "elsewhere": entry.as_dict()},
                )
        return missing

    # -- the lines -----------------------------------------------------------------------------------------------------

    def _check_header(self, line: bytes) -> None:
        try:
            header: Any = json.loads(line)
        except (ValueError, RecursionError):
            header = None
        if not isinstance(header, dict) or header.get("ledger") != _FORMAT:
            raise LedgerError(
                f"{self.path}: its first line is not that of a ledger in format {_FORMAT}; move the file away, so that "
                "it is made anew from the ledgers of the other two hosts."
            )
        if header.get("volume") != self.volume:
            raise LedgerError(
                f"{self.path}: belongs to volume {header.get('volume')}, expected {self.volume}; "
                "is the region path right?",
                code="foreign_ledger",
                details={"found": header.get("volume"), "expected": self.volume},
            )

    def _entry(self, number: int, line: bytes) -> Entry:
        entry = decode_entry(line)
        if entry is None:
            raise LedgerError(
                f"{self.path}: line {number} is damaged ({line[:60]!r}); move the file away, so that it is made anew "
                "from the ledgers of the other two hosts.",
                code="ledger_damaged",
            )
        return entry

    def _append(self, entries: Sequence[Entry]) -> None:
        if entries:
            header = json.dumps({"ledger": _FORMAT, "volume": self.volume}, separators=(",", ":")).encode() + b"\n"
            self._file.append(b"".join(encode_entry(entry) for entry in entries), header=header)


def _of_migration(snapshot: Snapshot, migration_id: str | None) -> Entry | None:
    if migration_id is None:
        return None
    return next((entry for entry in snapshot.entries if entry.migration_id == migration_id), None)


def volume_of_ledger(path: Path) -> str | None:
    """The volume that a ledger file says it belongs to; None when there is no such file or it says nothing."""
    try:
        with path.open("rb") as file:
            line = file.readline(4096)
        header = json.loads(line) if line.endswith(b"\n") else None
    except (OSError, ValueError, RecursionError):
        return None
    volume = header.get("volume") if isinstance(header, dict) else None
    return volume if isinstance(volume, str) else None
