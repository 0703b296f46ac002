# SPDX-License-Identifier: GPL-3.0-or-later
"""Answering one question to a ledger: hand out a number, record numbers, or tell what is known."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .errors import InvalidValueError, NoRegionError
from .ledger import Ledger, ledger_path
from .ledger_entries import Entry, Floor, entry_from_mapping
from .region import read_region
from .volume import check_generation


@dataclass(frozen=True)
class Request:
    """What is asked of the ledger beside the region ``path``. ``template`` is the new entry but for number and time."""

    path: Path
    volume: str
    state: Literal["allocated", "recorded", "read"]
    template: Entry
    floors: tuple[Floor, ...] = ()
    stored: bool = True
    expected_last: int | None = None
    seen_last: int | None = None
    explicit: int | None = None
    merge: tuple[Entry, ...] = ()
    timeout: float = 10.0

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Request:
        """The options of the module ``crucible_generation``. Raises InvalidValueError."""
        holder = options["holder"] or {}
        explicit = options["generation"]
        for name in ("expected_last", "seen_last"):
            if options[name] is not None and options[name] < 0:
                raise InvalidValueError(name, options[name], "0 or a number that was handed out")
        if options["seen_last"] is not None and options["state"] != "recorded":
            raise InvalidValueError("seen_last", options["seen_last"], "none, since state is not recorded")
        return cls(
            path=_absolute(options["path"]),
            volume=_uuid("volume", options["volume"]),
            state=options["state"],
            template=Entry(
                0, options["reason"], holder.get("instance"), holder.get("server"),
                None if options["migration_id"] is None else _uuid("migration_id", options["migration_id"]),
                controller=options["controller"],
            ),
            floors=tuple(_floor(number, floor) for number, floor in enumerate(options["floors"])),
            stored=options["stored"],
            expected_last=options["expected_last"],
            seen_last=options["seen_last"],
            explicit=None if explicit is None else check_generation(explicit),
            merge=tuple(entry_from_mapping(entry) for entry in options["entries"]),
            timeout=options["timeout"],
        )  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What the ledger says afterwards. ``new`` are the entries that this request wrote (or, dry, would write)."""

    path: Path
    entries: tuple[Entry, ...]
    new: tuple[Entry, ...]
    entry: Entry | None
    stored: int | None
    next: int

    @property
    def last(self) -> int:
        return max((entry.generation for entry in self.entries), default=0)


def answer(request: Request, *, dry_run: bool) -> Answer:
    """Do what is asked; with ``dry_run`` only say what would be. Raises CrucibleError.

    A region that is incomplete, damaged or not to be read is an error where its stored generations are a floor: a floor
    that cannot be seen must not be taken for none.
    """
    ledger = Ledger(ledger_path(request.path), request.volume)
    stored = _stored(request)
    floors = list(request.floors)
    if stored is not None:
        floors.append(Floor(stored, f"the region {request.path}"))
    before = ledger.read()
    entry: Entry | None = None
    if request.state == "allocated":
        entry, _is_new = ledger.allocate(
            request.template, floors=floors, explicit=request.explicit, expected_last=request.expected_last,
            merge=request.merge, timeout=request.timeout, dry_run=dry_run,
        )  # fmt: skip
        wanted = (*request.merge, entry)
    elif request.state == "recorded":
        ledger.record(
            request.merge, expected_last=request.expected_last, seen_last=request.seen_last,
            timeout=request.timeout, dry_run=dry_run,
        )  # fmt: skip
        wanted = request.merge
    else:
        wanted = ()
    known = {found.generation for found in before.entries}
    new = tuple(sorted({one for one in wanted if one.generation not in known}, key=lambda one: one.generation))
    entries = (
        tuple(sorted({*before.entries, *new}, key=lambda one: one.generation)) if dry_run else ledger.read().entries
    )
    highest = max([floor.generation for floor in floors] + [one.generation for one in entries], default=0)
    return Answer(ledger.path, entries, new, entry, stored, max(highest, before.torn_generation) + 1)


def _stored(request: Request) -> int | None:
    if not request.stored:
        return None
    try:
        region = read_region(request.path)
    except NoRegionError:
        if request.state == "allocated":
            raise
        return None
    if not region.complete and request.state == "allocated":
        raise InvalidValueError(
            "stored", "; ".join(region.problems), f"a whole region at {request.path}", code="region_incomplete",
            hint="what is stored in the missing part may be higher; repair the region, or set stored to false and give "
            "the highest number of the other two in floors",
        )  # fmt: skip
    return region.max_generation


def _floor(number: int, found: Mapping[str, Any]) -> Floor:
    generation = found["generation"]
    if isinstance(generation, bool) or generation < 0:
        raise InvalidValueError(f"floors[{number}].generation", generation, "0 or more")
    return Floor(generation, found["source"])


def _uuid(name: str, text: str) -> str:
    try:
        return str(uuids.UUID(text))
    except ValueError:
        raise InvalidValueError(name, text, "a UUID") from None


def _absolute(path: str) -> Path:
    if not path.startswith("/"):
        raise InvalidValueError("path", path, "an absolute path")
    return Path(path.rstrip("/") or "/")
