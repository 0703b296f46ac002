# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger: the append-only record of every generation of a volume that was ever handed out.

One file of JSON lines beside a region, ``<region path>.ledger``. The first line names the volume, every other line is
one number, in rising order. A number is spent when its line is complete; a line without its newline was never handed
out.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from .errors import GenerationError, LedgerError, LedgerMovedError
from .ledger_entries import Entry, Floor, encode_entry
from .ledger_file import LedgerFile
from .ledger_reader import FORMAT, LedgerReader, Snapshot
from .volume import check_generation


def ledger_path(region: Path) -> Path:
    """Where the ledger of the volume that a region belongs to lies."""
    return region.with_name(f"{region.name}.ledger")


class Ledger:
    """The ledger file of one volume on one host. Every method raises LedgerError.

    Writers hold an exclusive lock on ``<ledger>.lock`` from the reading of the last number to the fsync of the new one.
    One object reads each line of the file once.
    """

    def __init__(self, path: Path, volume: str, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path = path
        self.volume = volume
        self._now = now
        self._file = LedgerFile(path)
        self._known = LedgerReader(self._file, volume)

    def read(self) -> Snapshot:
        """All entries; an absent file is an empty ledger. A torn last line is left out, other damage is an error."""
        self._known.refresh()
        return self._known.snapshot()

    @property
    def last(self) -> int:
        """The highest number handed out, 0 when there is none; reads what is new."""
        self._known.refresh()
        return self._known.last

    def next_generation(self, floors: Iterable[Floor]) -> int:
        """The number that ``allocate`` would hand out now."""
        self._known.refresh()
        return self._highest(0, floors).generation + 1

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
        that has its number already gets the same one. Where a later one was handed out since, its own must not be used
        any more: it gets a new one if the caller saw the later one, which else raises LedgerMovedError. With
        ``dry_run`` nothing is written.
        Raises GenerationError when ``explicit`` is not above every floor.
        """
        with contextlib.nullcontext() if dry_run else self._file.locked(timeout):
            self._known.refresh()
            missing = self._missing(merge)
            mine = self._of_migration(template.migration_id, missing)
            newest = self._newest(missing)
            if mine is not None and not self._is_given_up(mine, newest, expected_last):
                self._check_repeated(mine, newest, explicit)
                if not dry_run:
                    self._write(missing)
                return mine, False
            self._check_expected(newest, expected_last)
            entry = Entry(
                self._choose(newest.generation if newest else 0, floors, explicit),
                template.reason,
                template.instance,
                template.server,
                template.migration_id,
                self._now().astimezone(UTC).isoformat(timespec="milliseconds"),
                template.controller,
            )
            if not dry_run:
                self._write([*missing, entry])
            return entry, True

    def record(
        self,
        entries: Sequence[Entry],
        *,
        expected_last: int | None = None,
        seen_last: int | None = None,
        timeout: float = 10.0,
        dry_run: bool = False,
    ) -> list[Entry]:
        """Write down numbers that were handed out elsewhere; returns those that were not known here.

        ``expected_last`` is the number that will be used once all hosts have recorded it: when a later one is known
        here, it must not be used any more, which raises LedgerMovedError and writes nothing. So numbers come into use
        in rising order, whoever allocated them and however long it took to record them.
        ``seen_last`` is the last number that this ledger held when the caller looked at it: a ledger that holds less
        now has forgotten what would tell of a later one, which raises LedgerMovedError and writes nothing too.
        """
        with contextlib.nullcontext() if dry_run else self._file.locked(timeout):
            self._known.refresh()
            missing = self._missing(entries)
            newest = self._newest(missing)
            self._check_expected(newest, expected_last)
            self._check_kept(seen_last)
            if not dry_run:
                self._write(missing)
            return missing

    # -- numbers -------------------------------------------------------------------------------------------------------

    def _highest(self, last: int, floors: Iterable[Floor]) -> Floor:
        """``last`` counts where it is above what the file holds."""
        known = [
            Floor(max(last, self._known.last), f"the ledger {self.path}"),
            Floor(self._known.torn_generation, f"an unfinished line of the ledger {self.path}"),
            *floors,
        ]
        return max(known, key=_number)

    def _choose(self, last: int, floors: Iterable[Floor], explicit: int | None) -> int:
        floor = self._highest(last, floors)
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

    def _check_expected(self, newest: Entry | None, expected_last: int | None) -> None:
        last = newest.generation if newest else 0
        if expected_last is None or last == expected_last:
            return
        who = f"the newest entry is {newest.sentence}" if newest else "the ledger is empty"
        raise LedgerMovedError(
            f"{self.path}: the last generation of volume {self.volume} is {last}, expected {expected_last}; {who}.",
            details={
                "last": last,
                "expected_last": expected_last,
                "newest": newest.as_dict() if newest else None,
            },
        )

    def _check_kept(self, seen_last: int | None) -> None:
        last = self._known.last
        if seen_last is None or last >= seen_last:
            return
        raise LedgerMovedError(
            f"{self.path}: the last generation of volume {self.volume} is {last} and was {seen_last} when this run "
            "looked, so the ledger was lost, or brought back from an old copy, in between; nothing was written here, "
            "and the same play run again makes it whole.",
            code="ledger_fell_back",
            details={"last": last, "seen_last": seen_last},
        )

    @staticmethod
    def _is_given_up(mine: Entry, newest: Entry | None, expected_last: int | None) -> bool:
        """Whether a later number was handed out since, and the caller knows of it."""
        return newest is not None and mine.generation < newest.generation == expected_last

    def _check_repeated(self, mine: Entry, newest: Entry | None, explicit: int | None) -> None:
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

    def _of_migration(self, migration_id: str | None, missing: Sequence[Entry]) -> Entry | None:
        """The last one that a migration got: it has several where others took later ones before it used its own."""
        if migration_id is None:
            return None
        known = self._known.by_migration.get(migration_id)
        others = (entry for entry in missing if entry.migration_id == migration_id)
        return max(filter(None, (known, *others)), key=_number, default=None)

    def _newest(self, missing: Sequence[Entry]) -> Entry | None:
        return max((entry for entry in (self._known.newest, *missing) if entry), key=_number, default=None)

    def _missing(self, entries: Sequence[Entry]) -> list[Entry]:
        """Entries not known here, in order of their numbers. Two different ones with one number are an error."""
        missing: dict[int, Entry] = {}
        for entry in sorted(entries, key=_number):
            here = self._known.by_generation.get(entry.generation) or missing.setdefault(entry.generation, entry)
            if here != entry:
                raise LedgerError(
                    f"{self.path}: generation {entry.generation} of volume {self.volume} was handed out twice: "
                    f"here {here.sentence}; elsewhere {entry.sentence}. Look with status.yml which of them runs, "
                    "then move the other's ledger away, so that it is made anew from those of the other hosts.",
                    code="ledger_conflict",
                    details={"here": here.as_dict(), "elsewhere": entry.as_dict()},
                )
        return list(missing.values())

    # -- the lines -----------------------------------------------------------------------------------------------------

    def _write(self, entries: Sequence[Entry]) -> None:
        """Write down ``entries``, which are in order: behind the last line, or in a new file where one is older."""
        if not entries:
            return
        header = json.dumps({"ledger": FORMAT, "volume": self.volume}, separators=(",", ":")).encode() + b"\n"
        if entries[0].generation > self._known.last:
            self._file.append(b"".join(map(encode_entry, entries)), header=header)
            return
        self._known.forget()
        self._known.refresh()
        everything = sorted([*self._known.entries, *self._missing(entries)], key=_number)
        self._file.replace(header + b"".join(map(encode_entry, everything)))


def _number(one: Entry | Floor) -> int:
    return one.generation


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
