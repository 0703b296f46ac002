# SPDX-License-Identifier: GPL-3.0-or-later
"""``create``: a new region, empty, filled from an image, or cloned from another downstairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from propolis_lab.downstairs.clone import clone
from propolis_lab.downstairs.importing import import_image
from propolis_lab.downstairs.logs import Logger
from propolis_lab.downstairs.opening import log_shape
from propolis_lab.downstairs.outcome import Panic
from propolis_lab.region import Age, Definition, Region
from propolis_lab.region.definition import FILE_NAME
from propolis_lab.region.errors import os_error_text, quoted

_MAXIMUM_SHIFT = 15
_MINIMUM_SHIFT = 9
_UNWRAP_PLACES = {Age.TODAY: "downstairs/src/main.rs:348:52", Age.JANUARY_2023: "downstairs/src/main.rs:232:52"}


@dataclass(frozen=True)
class CreateOptions:
    """What ``create`` was asked, sizes in the units of the command line."""

    directory: Path
    uuid: UUID
    block_size: int
    blocks_per_extent: int
    extent_count: int
    encrypted: bool
    image: Path | None
    clone_source: str | None
    age: Age


def create(options: CreateOptions, log: Logger) -> None:
    """Make the region. Raises RegionError, Failure, Panic (an image that cannot be read leaves the empty region)."""
    definition = Definition(
        block_size=_block_size(options),
        blocks_per_extent=options.blocks_per_extent,
        extent_count=options.extent_count,
        uuid=options.uuid,
        encrypted=options.encrypted,
    )
    region = Region.create(options.directory, definition, options.age)
    log.info(f"Created new region file {quoted(options.directory / FILE_NAME)}")
    region.extend(options.extent_count)
    if options.image is not None:
        try:
            import_image(region, options.image)
        except OSError as error:
            text = f"called `Result::unwrap()` on an `Err` value: {os_error_text(error)}"
            raise Panic(_UNWRAP_PLACES[options.age], text) from error
    region.close()
    if options.clone_source is not None:
        log.info(f"Cloning from: {options.clone_source}")
        clone(options.directory, options.clone_source, log)
    log_shape(region, log)


def _block_size(options: CreateOptions) -> int:
    """The block size that the real program makes of the number given.

    Today only the number of zero bits at its end counts; in 2023 that number must be in range and the rest is checked
    later.
    """
    given = options.block_size
    shift = (given & -given).bit_length() - 1 if given else 64
    if options.age is Age.JANUARY_2023:
        if not _MINIMUM_SHIFT <= shift <= _MAXIMUM_SHIFT:
            text = "assertion failed: (MIN_SHIFT..=MAX_SHIFT).contains(&shift)"
            raise Panic("common/src/region.rs:39:9", text)
        return given
    if given == 0:
        raise Panic("common/src/region.rs:94:9", "attempt to shift left with overflow")
    return 1 << shift
