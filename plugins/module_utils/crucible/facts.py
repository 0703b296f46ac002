# SPDX-License-Identifier: GPL-3.0-or-later
"""What one host knows of its regions and volumes: definitions, completeness, stored and handed-out generations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..occupants import Occupant, users_of
from .claim import Claim
from .errors import CrucibleError
from .image import ImageRecord, read_record
from .ledger import Ledger, ledger_path, volume_of_ledger
from .ledger_reader import Snapshot
from .program import DownstairsProgram
from .region import Region, read_region, regions_below

Method = Literal["auto", "dump", "trailers"]
_SHAPE = ("block_size", "blocks_per_extent", "extent_count", "encrypted")


@dataclass(frozen=True)
class LedgerSeen:
    """The ledger beside a region. ``problem`` says why it cannot be read."""

    path: Path
    volume: str | None
    snapshot: Snapshot
    problem: str | None = None

    def as_dict(self) -> dict[str, Any]:
        newest = self.snapshot.newest
        return {
            "path": str(self.path),
            "exists": self.snapshot.exists,
            "volume": self.volume,
            "last": self.snapshot.last,
            "entries": len(self.snapshot.entries),
            "newest": newest.as_dict() if newest else None,
            "digest": self.snapshot.digest,
            "torn": self.snapshot.torn > 0,
            "problem": self.problem,
        }


@dataclass(frozen=True)
class RegionSeen:
    """One path that was looked at. ``region`` is None where none could be read; ``problems`` then say why."""

    path: Path
    region: Region | None
    problems: tuple[str, ...]
    max_generation: int
    max_flush: int
    method: Literal["dump", "trailers"]
    users: tuple[Occupant, ...]
    image: ImageRecord | None
    ledger: LedgerSeen

    @property
    def complete(self) -> bool:
        return self.region is not None and not self.problems

    def as_dict(self) -> dict[str, Any]:
        definition = self.region.definition if self.region else None
        geometry = definition.geometry if definition else None
        shape = geometry.as_dict() if geometry else {}
        return {
            "path": str(self.path),
            "exists": self.path.exists(),
            "uuid": definition.uuid if definition else None,
            "age": definition.age if definition else None,
            **{name: shape.get(name) for name in _SHAPE},
            "bytes": geometry.bytes if geometry else None,
            "format": self.region.format if self.region else None,
            "complete": self.complete,
            "problems": list(self.problems),
            "max_generation": self.max_generation,
            "max_flush": self.max_flush,
            "dirty": self.region.dirty if self.region else 0,
            "method": self.method,
            "processes": [{"pid": user.pid, "command": user.command} for user in self.users],
            "image": {"sha256": self.image.sha256, "size": self.image.size} if self.image else None,
            "ledger": self.ledger.as_dict(),
        }


def look_at_all(
    paths: Sequence[Path], root: Path | None, method: Method, program: DownstairsProgram | None
) -> list[RegionSeen]:
    """Look at ``paths`` and at every region below ``root``, each once. Raises CrucibleError for what cannot be listed.

    ``dump`` runs the program on regions that nobody serves. Those that are served are always read by us, because the
    program, even reading, removes what a repair in progress has written (today) or needs write permission (2023).
    """
    found = list(dict.fromkeys([*paths, *(regions_below(root) if root else ())]))
    return [look(path, method, program) for path in found]


def look(path: Path, method: Method = "auto", program: DownstairsProgram | None = None) -> RegionSeen:
    """One region. What is wrong with it is a problem, not an error."""
    problems: list[str] = []
    region: Region | None = None
    image: ImageRecord | None = None
    try:
        region = read_region(path)
        problems += region.problems
        image = read_record(path)
        if Claim(path).left_behind():
            problems.append("it was being made when an earlier run was interrupted")
    except CrucibleError as error:
        problems.append(error.message.rstrip("."))
    users = tuple(users_of(path)) if region else ()
    highest = (region.max_generation, region.max_flush) if region else (0, 0)
    how: Literal["dump", "trailers"] = "trailers"
    if method == "dump" and program is not None and region is not None and not users:
        try:
            table = program.dump([path])
            highest, how = (table.max_generation, table.max_flush), "dump"
        except CrucibleError as error:
            problems.append(error.message.rstrip("."))
    seen = RegionSeen(path, region, (), *highest, how, users, image, _ledger(path))
    return replace(seen, problems=tuple(problems))


def _ledger(region: Path) -> LedgerSeen:
    path = ledger_path(region)
    volume = volume_of_ledger(path)
    try:
        return LedgerSeen(path, volume, Ledger(path, volume or "").read())
    except CrucibleError as error:
        return LedgerSeen(path, volume, Snapshot(True, ()), error.message)


def volumes_of(regions: Iterable[RegionSeen]) -> dict[str, dict[str, int]]:
    """By volume id, as far as this host knows: last number handed out, highest stored, lowest that may come next.

    A number may be used only when it is above what *all* hosts of the volume and every live session know.
    """
    volumes: dict[str, dict[str, int]] = {}
    for seen in regions:
        if seen.ledger.volume is None or seen.ledger.problem is not None:
            continue
        known = volumes.setdefault(seen.ledger.volume, {"generation": 0, "stored_generation": 0, "next_generation": 1})
        known["generation"] = max(known["generation"], seen.ledger.snapshot.last)
        known["stored_generation"] = max(known["stored_generation"], seen.max_generation)
        spent = max(known["generation"], known["stored_generation"], seen.ledger.snapshot.torn_generation)
        known["next_generation"] = max(known["next_generation"], spent + 1)
    return volumes
