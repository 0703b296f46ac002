# SPDX-License-Identifier: GPL-3.0-or-later
"""Opens an existing region and logs it as the real programs do, for all commands."""

from __future__ import annotations

from pathlib import Path

from propolis_lab.downstairs.logs import Logger
from propolis_lab.region import Age, Region
from propolis_lab.region.definition import DATABASE_VERSION, FILE_NAME, read_definition
from propolis_lab.region.errors import DatabaseUnopened, quoted


def open_logged(path: Path, age: Age, log: Logger, *, read_only: bool) -> Region:
    """The region in ``path``, as the program of ``age`` opens it. Raises RegionError."""
    read_definition(path, age)
    log.info(f"Opened existing region file {quoted(path / FILE_NAME)}")
    if age is Age.TODAY:
        log.info(f"Database read version {DATABASE_VERSION}")
        log.info(f"Database write version {DATABASE_VERSION}")
    return open_quietly(path, age, log, read_only=read_only)


def open_quietly(path: Path, age: Age, log: Logger, *, read_only: bool) -> Region:
    """The region, with a word in the log only when a database of 2023 cannot be opened. Raises RegionError."""
    try:
        return Region.open(path, read_only=read_only, age=age)
    except DatabaseUnopened as error:
        log.error(f"Error: {error.message}")
        raise


def log_shape(region: Region, log: Logger) -> None:
    """The two records that ``create`` and ``run`` write about a region."""
    definition = region.definition
    log.info(f"UUID: {definition.uuid}")
    log.info(f"Blocks per extent:{definition.blocks_per_extent} Total Extents: {definition.extent_count}")
