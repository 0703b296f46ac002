# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a region directory without the program: its definition, its format, its completeness, its generations."""

from __future__ import annotations

import json
import os
import uuid as uuids
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..failures import shown
from .errors import NoRegionError, RegionError
from .extents import ExtentVersion, database_path, extent_path, read_raw, read_sqlite
from .geometry import MAX_EXTENT_BYTES, MAX_EXTENT_COUNT, Geometry

DEFINITION_FILE = "region.json"
_LARGEST_DEFINITION = 64 * 1024
_PROBLEMS_KEPT = 8
_TROUBLES_COUNTED = 10_000

Format = Literal["raw", "sqlite", "none"]


@dataclass(frozen=True)
class RegionDefinition:
    """region.json, and the answer of ``/region-info``, which is the same object.

    ``database_versions`` (read, write) is None in the files of January 2023.
    """

    uuid: str
    geometry: Geometry
    database_versions: tuple[int, int] | None

    @property
    def age(self) -> Literal["2023", "today"]:
        return "2023" if self.database_versions is None else "today"


@dataclass(frozen=True)
class Region:
    """What was found in a directory. ``problems`` are sentences without a full stop.

    ``versions`` are those of the extents that could be read, in the order of the extents.
    """

    path: Path
    definition: RegionDefinition
    format: Format
    versions: tuple[ExtentVersion, ...]
    problems: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return not self.problems

    @property
    def max_generation(self) -> int:
        return max((version.generation for version in self.versions), default=0)

    @property
    def max_flush(self) -> int:
        return max((version.flush for version in self.versions), default=0)

    @property
    def dirty(self) -> int:
        """How many extents have been written to since their last flush."""
        return sum(version.dirty for version in self.versions)

    @property
    def never_flushed(self) -> int:
        """How many extents have been written to and never flushed: what an interrupted import leaves."""
        return sum(version.dirty and version.flush == 0 for version in self.versions)


def parse_definition(text: str | bytes, source: str) -> RegionDefinition:
    """Read region.json of either age. ``source`` names it in errors. Raises RegionError."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RegionError(f"{source} is not JSON ({error}); it is damaged or not a region's definition.") from error
    if not isinstance(found, dict):
        raise RegionError(f"{source} holds no region's definition: found {type(found).__name__}, expected an object.")
    extent_size = _field(found, "extent_size", dict, source)
    block_size = _field(found, "block_size", int, source)
    shift = _field(extent_size, "shift", int, source)
    if block_size < 1 or not 0 <= shift < 64 or 1 << shift != block_size:
        found_both = f"block_size {shown(block_size)} and extent_size.shift {shown(shift)}"
        raise RegionError(f"{source}: {found_both} do not fit each other.")
    name = _field(found, "uuid", str, source)
    try:
        uuid = str(uuids.UUID(name))
    except ValueError:
        raise RegionError(f"{source}: uuid is {shown(name)}, which is not a UUID.") from None
    versions = None
    if "database_read_version" in found or "database_write_version" in found:
        versions = (
            _field(found, "database_read_version", int, source),
            _field(found, "database_write_version", int, source),
        )
    geometry = Geometry(
        block_size,
        _field(extent_size, "value", int, source),
        _field(found, "extent_count", int, source),
        _field(found, "encrypted", bool, source),
    )
    for name, number, low, high in (
        ("extent_size.value", geometry.blocks_per_extent, 1, MAX_EXTENT_BYTES),
        ("extent_count", geometry.extent_count, 0, MAX_EXTENT_COUNT),
    ):
        if not low <= number <= high:
            raise RegionError(f"{source}: {name} is {shown(number)}; it must be positive, and at most {high}.")
    return RegionDefinition(uuid, geometry, versions)


def _field(values: dict[str, Any], name: str, kind: type, source: str) -> Any:
    value = values.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        what = "nothing" if name not in values else shown(value)
        raise RegionError(f"{source}: {name} is {what}, expected {kind.__name__}.")
    return value


def read_definition(path: Path) -> RegionDefinition:
    """region.json below ``path``. Raises NoRegionError when there is none, else RegionError."""
    file = path / DEFINITION_FILE
    try:
        with file.open("rb") as handle:
            text = handle.read(_LARGEST_DEFINITION)
    except (FileNotFoundError, NotADirectoryError):
        raise NoRegionError(f"{path} holds no region: {DEFINITION_FILE} is not there.") from None
    except PermissionError as error:
        raise RegionError(
            f"{file} cannot be read by user id {os.geteuid()}: crucible-downstairs gives it mode 0600, so create, run "
            "and read a region as one and the same user (become_user).",
            code="permission_denied",
        ) from error
    except OSError as error:
        raise RegionError(f"{file} cannot be read: {error.strerror}.") from error
    return parse_definition(text, str(file))


def read_region(path: Path) -> Region:
    """Everything about a region, reading 32 bytes (or a few rows) of each extent. Raises what read_definition does.

    Extents that are missing, of a wrong size or unreadable are ``problems``. region.json is complete before the first
    extent is made, so only all extents of the right size make a region complete.
    """
    definition = read_definition(path)
    geometry = definition.geometry
    form = _format(path, definition)
    versions: list[ExtentVersion] = []
    missing = first = 0
    problems: list[str] = []
    if geometry.extent_count == 0:
        problems.append("extent_count is 0: the directory is half-made, or a region without room")
    for number in range(geometry.extent_count):
        if missing + len(problems) > _TROUBLES_COUNTED:  # a definition may promise billions of extents
            problems.append(f"nothing was looked for beyond extent {number - 1}")
            break
        file = extent_path(path, number)
        try:
            if form == "sqlite":
                versions.append(read_sqlite(file, database_path(path, number), geometry))
            elif file.exists():
                versions.append(read_raw(file, geometry))
            else:
                first = number if not missing else first
                missing += 1
        except RegionError as error:
            problems.append(error.message)
    if missing:
        problems.insert(0, f"{missing} of {geometry.extent_count} extents are missing, first {first}")
    surplus = extent_path(path, geometry.extent_count)
    if geometry.extent_count and surplus.exists():
        problems.append(f"{surplus} lies beyond the last extent: extent_count was lowered or belongs to another region")
    if definition.database_versions not in (None, (1, 1)):
        problems.append(f"database versions are {definition.database_versions}, expected (1, 1)")
    if len(problems) > _PROBLEMS_KEPT:
        problems[_PROBLEMS_KEPT:] = [f"and {len(problems) - _PROBLEMS_KEPT} more problems"]
    return Region(path, definition, form, tuple(versions), tuple(problems))


def _format(path: Path, definition: RegionDefinition) -> Format:
    if database_path(path, 0).exists():
        return "sqlite"
    if extent_path(path, 0).exists() or definition.age == "today":
        return "raw"
    return "none"


def regions_below(root: Path, depth: int = 3) -> Iterator[Path]:
    """Directories below ``root`` that hold a region.json, sorted, at most ``depth`` levels down. Raises RegionError."""
    try:
        children = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.is_symlink())
    except OSError as error:
        raise RegionError(f"{root} cannot be listed: {error.strerror}.") from error
    for child in children:
        if (child / DEFINITION_FILE).exists():
            yield child
        elif depth > 1:
            yield from regions_below(child, depth - 1)
