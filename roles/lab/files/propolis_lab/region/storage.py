# SPDX-License-Identifier: GPL-3.0-or-later
"""How extents of each age are made and opened: the one place that chooses between raw and SQLite extents."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from propolis_lab.region.age import Age
from propolis_lab.region.definition import Definition
from propolis_lab.region.errors import RegionError, quoted
from propolis_lab.region.extent import Extent
from propolis_lab.region.layout import Layout
from propolis_lab.region.raw_extent import RawExtent, create_raw_extent


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


def storage_of(age: Age, directory: Path, definition: Definition) -> Storage:
    """The storage that a program of ``age`` uses for the region in ``directory``."""
    return RawStorage(definition)
