# SPDX-License-Identifier: GPL-3.0-or-later
"""``dump``: generation, flush number and dirty mark of every extent, of one to three regions side by side.

The table, its colours and its habits with regions of different length were seen on the real programs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from propolis_lab.downstairs.dump_block import dump_block
from propolis_lab.downstairs.dump_extent import dump_extent
from propolis_lab.downstairs.logs import Logger
from propolis_lab.downstairs.opening import open_quietly
from propolis_lab.downstairs.outcome import Failure, Panic
from propolis_lab.downstairs.paint import GREEN, RED, RESET
from propolis_lab.region import Age, Definition, ExtentVersion

_MAXIMUM_DIRECTORIES = 3
_PLACES = {
    Age.TODAY: ("downstairs/src/dump.rs:250:29", "downstairs/src/dump.rs:413:5"),
    Age.JANUARY_2023: ("downstairs/src/dump.rs:202:29", "downstairs/src/dump.rs:365:5"),
}


@dataclass(frozen=True)
class DumpOptions:
    """What ``dump`` was asked: directories in order; one extent, or one block, or neither."""

    directories: Sequence[Path]
    extent: int | None
    block: int | None
    only_differences: bool
    colour: bool
    age: Age


def dump(options: DumpOptions, log: Logger) -> None:
    """Print what was asked. Raises RegionError, Failure (also for a difference found, after the table), Panic."""
    if not options.directories:
        raise Failure("Need at least one data directory to dump")
    if options.extent is not None and options.block is not None:
        raise Failure("Either a specific block, or a specific extent, not both")
    versions = []
    definition = None
    for directory in options.directories:
        region = open_quietly(directory, options.age, log, read_only=True)
        definition = region.definition
        versions.append(region.versions())
        region.close()
    assert definition is not None  # noqa: S101 - there is at least one directory
    if options.block is None and options.extent is None:
        _Table(options, versions, definition).print()
        return
    if len(options.directories) < 2:
        raise Failure("Need more than one region directory to compare data")
    regions = [open_quietly(directory, options.age, log, read_only=True) for directory in options.directories]
    if options.extent is not None:
        _check_extent(options.extent, definition)
        dump_extent(regions, options.extent, only_differences=options.only_differences, colour=options.colour)
    elif options.block is not None:
        _check_block(options.block, definition)
        dump_block(regions, options.block, colour=options.colour)


def _check_extent(extent: int, definition: Definition) -> None:
    if extent >= definition.extent_count:
        raise Failure(f"Requested extent {extent} is a higher index than valid ({definition.extent_count})")


def _check_block(block: int, definition: Definition) -> None:
    if block >= definition.total_blocks:
        raise Failure(f"Requested block {block} > max block {definition.total_blocks - 1}")


class _Table:
    """The default table. Column widths are those of the last directory and of the first printed row's maxima."""

    def __init__(self, options: DumpOptions, versions: Sequence[Sequence[ExtentVersion]], last: Definition) -> None:
        self._options = options
        self._versions = versions
        self._per_extent = last.blocks_per_extent
        self._extent_width = max(3, len(str(last.extent_count)))
        self._block_width = max(3, len(str(last.total_blocks)))
        self._generation_width = 0
        self._flush_width = 0

    def print(self) -> None:
        count = len(self._versions)
        most_generation = most_flush = 0
        differ = False
        for extent in range(max(len(column) for column in self._versions)):
            row = self._row(extent)
            if row is None:
                continue
            most_generation = max(most_generation, *(version.generation for version in row))
            most_flush = max(most_flush, *(version.flush for version in row))
            row_differs = any(version != row[0] for version in row)
            differ = differ or row_differs
            if self._options.only_differences and not row_differs:
                continue
            if not self._generation_width:
                self._generation_width = max(4, len(str(most_generation)) + 1)
                self._flush_width = max(3, len(str(most_flush)) + 1)
                sys.stdout.write(self._header(count))
            if count > _MAXIMUM_DIRECTORIES:
                if self._options.age is Age.JANUARY_2023:
                    # Only a panic that unwinds still writes the unfinished line.
                    sys.stdout.write(self._start(extent))
                raise Panic(_PLACES[self._options.age][1], "assertion failed: len <= 3")
            sys.stdout.write(self._line(extent, row, row_differs=row_differs))
        sys.stdout.write(f"Max gen: {most_generation},  Max flush: {most_flush}\n")
        if differ:
            raise Failure("Difference in extent metadata found!")

    def _row(self, extent: int) -> list[ExtentVersion] | None:
        """The extent in all directories; None, after a line about each, when some of them do not have it."""
        row: list[ExtentVersion] = []
        for index, column in enumerate(self._versions):
            if extent >= len(column):
                sys.stdout.write(f"{extent:{self._extent_width}} column {index} bad \n")
                continue
            if index > len(row):
                text = f"insertion index (is {index}) should be <= len (is {len(row)})"
                raise Panic(_PLACES[self._options.age][0], text)
            row.append(column[extent])
        return row if len(row) == len(self._versions) else None

    def _header(self, count: int) -> str:
        generations = "".join(f" {f'GEN{index}':>{self._generation_width}}" for index in range(count))
        flushes = "".join(f" {f'FL{index}':>{self._flush_width}}" for index in range(count))
        dirty = "".join(f" D{index}" for index in range(count))
        blocks = f"{'BLOCKS':>{max(7, 2 * self._block_width + 1)}}"
        difference = "" if self._options.colour else " DIFF"
        return f"{'EXT':>{self._extent_width}} {blocks}{generations} {flushes} {dirty}{difference}\n"

    def _start(self, extent: int) -> str:
        first = extent * self._per_extent
        last = first + self._per_extent - 1
        blocks = f"{first:0{self._block_width}}-{last:0{self._block_width}}"
        return f"{extent:{self._extent_width}} {blocks:>{max(7, 2 * self._block_width + 1)}}"

    def _line(self, extent: int, row: Sequence[ExtentVersion], *, row_differs: bool) -> str:
        generations = self._numbers([version.generation for version in row], self._generation_width)
        flushes = self._numbers([version.flush for version in row], self._flush_width)
        dirty = "".join(f"  {self._dirty(version)}" for version in row)
        reset = RESET if self._options.colour else ""
        arrow = " <---" if row_differs and not self._options.colour else ""
        return f"{self._start(extent)}{generations}{reset} {flushes}{reset} {dirty}{reset}{arrow}\n"

    def _numbers(self, numbers: Sequence[int], width: int) -> str:
        if not self._options.colour:
            return "".join(f" {number:{width}}" for number in numbers)
        most = max(numbers)
        return "".join(f" {GREEN if number == most else RED}{number:{width}}" for number in numbers)

    def _dirty(self, version: ExtentVersion) -> str:
        letter = "T" if version.dirty else "F"
        if not self._options.colour:
            return letter
        return f"{RED if version.dirty else GREEN}{letter}"
