# SPDX-License-Identifier: GPL-3.0-or-later
"""region.json: what a region is, in the form of today and of January 2023.

Pretty JSON with two spaces and a newline at the end, mode 0600, written under a temporary name and renamed. The two
``database_*`` keys exist today only. Seen on the real programs.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from propolis_lab.region import files, serde
from propolis_lab.region.age import Age
from propolis_lab.region.errors import RegionError, os_error_text, quoted

FILE_NAME = "region.json"
MINIMUM_BLOCK_SIZE = 512
MAXIMUM_EXTENT_BYTES = 1 << 29
DATABASE_VERSION = 1
_SIZE_KEYS: serde.Shape = {"value": serde.U64, "shift": serde.U32}
_KEYS_2023: serde.Shape = {
    "block_size": serde.U64,
    "extent_size": _SIZE_KEYS,
    "extent_count": serde.U32,
    "uuid": serde.UUID_TEXT,
    "encrypted": serde.BOOL,
}
_KEYS_TODAY: serde.Shape = {**_KEYS_2023, "database_read_version": serde.U32, "database_write_version": serde.U32}


@dataclass(frozen=True)
class Definition:
    """The shape of a region: ``block_size`` bytes, ``blocks_per_extent``, ``extent_count``; and whose it is."""

    block_size: int
    blocks_per_extent: int
    extent_count: int
    uuid: UUID
    encrypted: bool = False

    @property
    def extent_bytes(self) -> int:
        """Bytes of data in one extent."""
        return self.block_size * self.blocks_per_extent

    @property
    def total_blocks(self) -> int:
        return self.blocks_per_extent * self.extent_count

    @property
    def total_bytes(self) -> int:
        return self.extent_bytes * self.extent_count

    def with_extents(self, extent_count: int) -> Definition:
        return replace(self, extent_count=extent_count)

    def check(self) -> None:
        """Raise RegionError, with the text of the real program, when no region can have this shape."""
        size = self.block_size
        if size & (size - 1):
            raise RegionError(f"block size must be a power of two, not {size}")
        if size < MINIMUM_BLOCK_SIZE:
            raise RegionError(f"minimum block size is {MINIMUM_BLOCK_SIZE} bytes, not {size}")
        if self.blocks_per_extent < 1:
            raise RegionError("extent size must be at least 1 block")
        if self.extent_bytes > MAXIMUM_EXTENT_BYTES:
            raise RegionError(
                f"extent size {self.blocks_per_extent} x {size} bytes = {self.extent_bytes}, "
                f"bigger than {MAXIMUM_EXTENT_BYTES}"
            )

    def as_json(self, age: Age) -> dict[str, Any]:
        """The object of region.json and of the repair service's ``/region-info``."""
        document: dict[str, Any] = {
            "block_size": self.block_size,
            "extent_size": {"value": self.blocks_per_extent, "shift": self.block_size.bit_length() - 1},
            "extent_count": self.extent_count,
            "uuid": str(self.uuid),
            "encrypted": self.encrypted,
        }
        if age is Age.TODAY:
            document["database_read_version"] = DATABASE_VERSION
            document["database_write_version"] = DATABASE_VERSION
        return document

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Definition:
        """From an object with the keys of region.json (``/region-info`` of another downstairs); no check of shape."""
        return cls(
            block_size=document["block_size"],
            blocks_per_extent=document["extent_size"]["value"],
            extent_count=document["extent_count"],
            uuid=UUID(document["uuid"]),
            encrypted=document["encrypted"],
        )


def read_definition(directory: Path, age: Age | None = None) -> tuple[Definition, Age]:
    """The definition in ``directory`` and the age of the program that made it.

    With ``age`` the file is judged as the program of that age does: today's refuses a file without database versions.
    Raises RegionError with the recorded texts.
    """
    path = directory / FILE_NAME
    opening = f"opening region config {quoted(path)}"
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise RegionError(f"Error open {quoted(path)}: file not found {opening}") from None
    except OSError as error:
        raise RegionError(f"Error open {quoted(path)}: {_debug_os_error(error)} {opening}") from None
    except UnicodeDecodeError:
        raise RegionError(f"Error parse {quoted(path)}", f"stream did not contain valid UTF-8 {opening}") from None
    try:
        document = serde.parse(text, _KEYS_TODAY if age is Age.TODAY else _KEYS_2023)
    except serde.SerdeError as error:
        raise RegionError(f"Error parse {quoted(path)}", f"{error} {opening}") from None
    made_by = Age.TODAY if "database_read_version" in document else Age.JANUARY_2023
    if age is not Age.JANUARY_2023:
        _check_database_versions(document)
    definition = Definition.from_json(document)
    if age is not None:
        definition.check()
    return definition, made_by


def write_definition(directory: Path, definition: Definition, age: Age) -> None:
    """Put region.json in ``directory``, in place of the one that is there."""
    text = json.dumps(definition.as_json(age), indent=2) + "\n"
    descriptor, name = tempfile.mkstemp(prefix=".tmp", dir=directory)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            files.sync(file.fileno())
        files.rename(Path(name), directory / FILE_NAME)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise RegionError(os_error_text(error)) from error


def _check_database_versions(document: dict[str, Any]) -> None:
    for kind in ("read", "write"):
        found = document.get(f"database_{kind}_version", DATABASE_VERSION)
        if found != DATABASE_VERSION:
            raise RegionError(f"Database {kind} version mismatch, expected {DATABASE_VERSION}, got {found}")


def _debug_os_error(error: OSError) -> str:
    kind = {1: "PermissionDenied", 13: "PermissionDenied", 20: "NotADirectory", 21: "IsADirectory"}.get(
        error.errno or 0, "Uncategorized"
    )
    return f'Os {{ code: {error.errno}, kind: {kind}, message: "{error.strerror}" }}'
