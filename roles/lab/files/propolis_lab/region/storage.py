# SPDX-License-Identifier: GPL-3.0-or-later
"""How extents of each age are made and opened: the one place that chooses between raw and SQLite extents."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from propolis_lab.region.age import Age
from propolis_lab.region.database import Database
from propolis_lab.region.definition import Definition
from propolis_lab.region.errors import RegionError, os_error_text, quoted
from propolis_lab.region.extent import Extent
from propolis_lab.region.layout import Layout
from propolis_lab.region.raw_extent import RawExtent, create_raw_extent
from propolis_lab.region.sqlite_extent import SqliteExtent, create_sqlite_extent


class Storage(Protocol):
    """Makes and opens the extents of one region."""

    age: Age
    parallel_flush: bool

    def prepare(self) -> None:
        """Put beside region.json what new extents need."""

    def create_extent(self, path: Path) -> None:
        """Make the files of one extent that was never written."""

    def open_extent(self, path: Path, number: int, *, read_only: bool) -> Extent:
        """Open the files of one extent."""


class RawStorage:
    """Raw extents: one file each."""

    age = Age.TODAY
    parallel_flush = True

    def __init__(self, definition: Definition) -> None:
        self.layout = Layout(definition.block_size, definition.blocks_per_extent)

    def prepare(self) -> None:
        """Raw extents need nothing."""

    def create_extent(self, path: Path) -> None:
        try:
            create_raw_extent(path, self.layout)
        except FileExistsError:
            raise RegionError(f"Extent file already exists {quoted(path)}") from None
        except OSError as error:
            raise RegionError(
                f'IO Error: Os {{ code: {error.errno}, kind: Uncategorized, message: "{error.strerror}" }}'
            ) from error

    def open_extent(self, path: Path, number: int, *, read_only: bool) -> RawExtent:
        return RawExtent.open(path, number, self.layout, read_only=read_only)


class SqliteStorage:
    """Extents of 2023: a data file and a database each, the databases copied from ``seed.db``."""

    age = Age.JANUARY_2023
    parallel_flush = False

    def __init__(self, directory: Path, definition: Definition) -> None:
        self._seed = directory / "seed.db"
        self._block_size = definition.block_size
        self._blocks = definition.blocks_per_extent

    def prepare(self) -> None:
        Database.create(self._seed)

    def create_extent(self, path: Path) -> None:
        try:
            create_sqlite_extent(path, self._block_size * self._blocks, self._seed.read_bytes())
        except FileExistsError:
            raise RegionError(f"Extent file already exists {quoted(path)}") from None
        except OSError as error:
            raise RegionError(os_error_text(error)) from error

    def open_extent(self, path: Path, number: int, *, read_only: bool) -> SqliteExtent:
        return SqliteExtent.open(path, number, self._block_size, self._blocks, read_only=read_only)


def storage_of(age: Age, directory: Path, definition: Definition) -> Storage:
    """The storage that a program of ``age`` uses for the region in ``directory``."""
    if age is Age.JANUARY_2023:
        return SqliteStorage(directory, definition)
    return RawStorage(definition)
