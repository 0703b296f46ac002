# SPDX-License-Identifier: GPL-3.0-or-later
"""Which earlier jobs a job must wait for, by the blocks that it touches.

A read waits for the latest write-like job on its blocks. A write-like job waits for the reads since the latest
write-like job on a block if there are any, else for that job. Flushes and barriers are write-like on all blocks, the
reopening of a live repair on those of its extent. Ascending, none twice (seen in recorded sessions).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import NamedTuple


class _Use(NamedTuple):
    """The unretired jobs on a run of blocks: the latest write-like one (0: none) and the reads since."""

    write: int = 0
    reads: tuple[int, ...] = ()


_UNUSED = _Use()


class Dependencies:
    """The unretired jobs on every block of a region of ``blocks`` blocks, kept as runs of blocks that share them."""

    def __init__(self, blocks: int) -> None:
        self._blocks = blocks
        self._starts = [0]
        self._uses = [_UNUSED]

    def read(self, job: int, first: int, count: int) -> tuple[int, ...]:
        """Enter a read of ``count`` blocks; what it depends on."""
        begin, end = self._cut(first), self._cut(first + count)
        found = set()
        for place in range(begin, end):
            use = self._uses[place]
            if use.write:
                found.add(use.write)
            self._uses[place] = _Use(use.write, (*use.reads, job))
        return tuple(sorted(found))

    def write(self, job: int, first: int, count: int) -> tuple[int, ...]:
        """Enter a write-like job on ``count`` blocks; what it depends on."""
        begin, end = self._cut(first), self._cut(first + count)
        found: set[int] = set()
        for use in self._uses[begin:end]:
            found.update(use.reads or ((use.write,) if use.write else ()))
        self._starts[begin:end] = [first]
        self._uses[begin:end] = [_Use(job)]
        return tuple(sorted(found))

    def write_all(self, job: int) -> tuple[int, ...]:
        """Enter a job that is write-like on all blocks; what it depends on."""
        return self.write(job, 0, self._blocks)

    def forget(self, last: int) -> None:
        """Drop all jobs up to and with ``last``: they are retired and nobody needs to wait for them."""
        starts: list[int] = []
        uses: list[_Use] = []
        for start, use in zip(self._starts, self._uses, strict=True):
            kept = _Use(
                use.write if use.write > last else 0,
                tuple(read for read in use.reads if read > last) if use.reads else (),
            )
            if not uses or uses[-1] != kept:
                starts.append(start)
                uses.append(kept)
        self._starts, self._uses = starts, uses

    def _cut(self, block: int) -> int:
        """Make a run begin at ``block``; the place of that run (past the last one for the end of the region)."""
        if block >= self._blocks:
            return len(self._starts)
        place = bisect_left(self._starts, block)
        if place == len(self._starts) or self._starts[place] != block:
            place = bisect_right(self._starts, block)
            self._starts.insert(place, block)
            self._uses.insert(place, self._uses[place - 1])
        return place
