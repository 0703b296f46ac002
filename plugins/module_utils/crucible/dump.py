# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the table of ``crucible-downstairs dump``: stored generations of one to three regions, extent by extent."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import OutputError
from .extents import ExtentVersion
from .output import plain_lines

_HEADER = re.compile(r"\s*EXT\s+BLOCKS(?:\s+GEN\d)+(?:\s+FL\d)+(?:\s+D\d)+(?:\s+DIFF)?\s*")
_MAXIMA = re.compile(r"Max gen: (\d{1,20}),\s+Max flush: (\d{1,20})\s*")
_SHORT = re.compile(r"\s*(\d{1,10}) column (\d) bad\s*")
_BLOCKS = re.compile(r"(\d{1,20})-(\d{1,20})")
_NUMBER = re.compile(r"\d{1,20}")
_MARK = "<---"


@dataclass(frozen=True)
class Row:
    """One extent: its absolute blocks, and what each directory (in the order of the command line) stores."""

    extent: int
    first_block: int
    last_block: int
    versions: tuple[ExtentVersion, ...]

    @property
    def differs(self) -> bool:
        return any(version != self.versions[0] for version in self.versions)


@dataclass(frozen=True)
class Dump:
    """The whole table. With ``-o`` only differing rows are there, so the maxima are those of the last line.

    ``shorter`` holds the directories (by position) that have fewer extents than another.
    """

    rows: tuple[Row, ...]
    max_generation: int
    max_flush: int
    shorter: frozenset[int]

    @property
    def differing(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.differs)


def parse_dump(output: str) -> Dump:
    """Read standard output of ``dump``: with and without colours, with log records in between, any column width.

    Columns are told apart by blanks, because numbers grow wider than the columns whose width the first row fixes.
    The exit status is no part of it: 1 means that the directories differ, and the table is complete.
    Raises OutputError.
    """
    rows: list[Row] = []
    shorter: set[int] = set()
    directories = 0
    maxima: re.Match[str] | None = None
    for line in plain_lines(output):
        if not line.strip():
            continue
        if maxima:
            raise _odd(line, "nothing after the line of the maxima")
        if found := _MAXIMA.fullmatch(line):
            maxima = found
        elif _HEADER.fullmatch(line):
            directories = line.count("GEN")
            if directories > 3 or line.count("FL") != directories:
                raise _odd(line, "a header of one to three directories")
        elif short := _SHORT.fullmatch(line):
            shorter.add(int(short[2]))
        elif directories:
            rows.append(_row(line, directories))
        else:
            raise _odd(line, "a header 'EXT BLOCKS GEN0 ...'")
    if not maxima:
        raise OutputError("crucible-downstairs dump: its last line 'Max gen: ..., Max flush: ...' is missing.")
    return Dump(tuple(rows), int(maxima[1]), int(maxima[2]), frozenset(shorter))


def _row(line: str, directories: int) -> Row:
    cells = line.split()
    if cells[-1] == _MARK:
        cells.pop()
    if len(cells) != 2 + 3 * directories:
        raise _odd(line, f"{2 + 3 * directories} columns")
    extent, blocks, *rest = cells
    span = _BLOCKS.fullmatch(blocks)
    generations, flushes = rest[:directories], rest[directories : 2 * directories]
    marks = rest[2 * directories :]
    if not span or not _numbers([extent, *generations, *flushes]) or not set(marks) <= {"T", "F"}:
        raise _odd(line, "an extent number, its blocks, generations, flushes and T or F")
    versions = (
        ExtentVersion(int(generation), int(flush), mark == "T")
        for generation, flush, mark in zip(generations, flushes, marks, strict=True)
    )
    return Row(int(extent), int(span[1]), int(span[2]), tuple(versions))


def _numbers(cells: Iterable[str]) -> bool:
    return all(_NUMBER.fullmatch(cell) for cell in cells)


def _odd(line: str, expected: str) -> OutputError:
    return OutputError(f"crucible-downstairs dump: found the line {line[:200]!r}, expected {expected}.")
