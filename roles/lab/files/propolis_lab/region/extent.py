# SPDX-License-Identifier: GPL-3.0-or-later
"""What a region needs of an extent, whichever way the extent is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from propolis_lab.region.context import BlockContext
from propolis_lab.region.files import Buffer


@dataclass(frozen=True, slots=True)
class ExtentVersion:
    """The three numbers by which replicas of an extent are compared."""

    generation: int
    flush: int
    dirty: bool


@dataclass(frozen=True, slots=True)
class Damage:
    """A block whose bytes do not fit its context; ``text`` is the sentence of the real program."""

    block: int
    text: str


class Extent(Protocol):
    """One open extent; block numbers count from the start of the extent."""

    number: int

    @property
    def version(self) -> ExtentVersion: ...

    def read(self, start: int, count: int) -> tuple[Sequence[BlockContext | None], bytes]:
        """Contexts (None: never written) and data of ``count`` blocks."""

    def read_data(self, start: int, count: int) -> bytes:
        """Data alone."""

    def write(self, start: int, contexts: Sequence[BlockContext], hashes: Sequence[int], data: Buffer) -> None:
        """Write blocks; ``hashes`` are those of their bytes. Not durable before ``flush``."""

    def import_blocks(self, start: int, hashes: Sequence[int], data: Buffer) -> None:
        """Write unencrypted blocks whose hashes are known."""

    def unwritten(self, start: int, count: int) -> list[tuple[int, int]]:
        """Runs (first block, length) of blocks in the range that were never written."""

    def flush(self, flush_number: int, generation: int) -> None:
        """Make everything durable and store the numbers, if anything was written since the last flush."""

    def settle(self) -> None:
        """Let written data reach the disk before the flush that must wait for it."""

    def close(self) -> None:
        """Close the files as they are: a dirty extent stays dirty."""

    def damage(self) -> list[Damage]:
        """Blocks whose bytes do not fit their contexts; the first one only, as the real program stops there."""
