# SPDX-License-Identifier: GPL-3.0-or-later
"""A volume as a tree: pieces one after the other, and a parent that shows through where nothing was ever written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from .block_io import Blocks
from .crypt import written
from .errors import IoError
from .region_set import RegionSet
from .request import RegionRequest, VolumeRequest
from .status import PieceStatus, VolumeStatus

SCRUB_BYTES = 128 * 1024
"""How much of a parent is copied with one job: our choice, so that the guest's own jobs get between them."""


@dataclass(frozen=True)
class Leaf:
    """Three regions and the session with them."""

    region_set: RegionSet
    blocks: int

    def region_sets(self) -> Iterator[RegionSet]:
        yield self.region_set

    def status(self) -> PieceStatus:
        return self.region_set.status()

    async def read(self, first: int, count: int) -> list[Blocks]:
        await self.region_set.ready()
        return await self.region_set.io.read(first, count)

    async def write(self, first: int, data: bytes, *, only_unwritten: bool = False) -> None:
        await self.region_set.ready()
        if self.region_set.session.read_only:
            raise IoError("The volume is read-only and cannot be written")
        io = self.region_set.io
        await (io.write_unwritten if only_unwritten else io.write)(first, data)

    async def flush(self) -> None:
        await self.region_set.ready()
        if not self.region_set.session.read_only:
            await self.region_set.io.flush()


@dataclass(frozen=True)
class Branch:
    """Pieces in their order, and the parent if there is one. Offsets and counts are in blocks."""

    block_size: int
    pieces: tuple[Node, ...]
    parent: Node | None

    @property
    def blocks(self) -> int:
        return sum(piece.blocks for piece in self.pieces)

    def region_sets(self) -> Iterator[RegionSet]:
        """All sessions of the volume, those of the parent last."""
        for piece in (*self.pieces, *([self.parent] if self.parent else [])):
            yield from piece.region_sets()

    def status(self) -> VolumeStatus:
        parent = self.parent.status() if self.parent else None
        return VolumeStatus(tuple(piece.status() for piece in self.pieces), parent)

    def _parts(self, first: int, count: int) -> Iterator[tuple[Node, int, int]]:
        """The pieces that a run of blocks touches: piece, first block in it, number of blocks."""
        start = 0
        for piece in self.pieces:
            begin, end = max(first, start), min(first + count, start + piece.blocks)
            if begin < end:
                yield piece, begin - start, end - begin
            start += piece.blocks

    async def read(self, first: int, count: int) -> list[Blocks]:
        found = await asyncio.gather(*(piece.read(*part) for piece, *part in self._parts(first, count)))
        blocks = [block for blocks in found for block in blocks]
        if self.parent is None or first >= self.parent.blocks:
            return blocks
        filled = []
        for one in blocks:
            filled.append(await self._fill(first, one, self.parent))
            first += len(one.contexts)
        return filled

    async def _fill(self, first: int, blocks: Blocks, parent: Node) -> Blocks:
        """The blocks with what the parent has for those that were never written. ``first`` is their place here."""
        shown = max(0, min(len(blocks.contexts), parent.blocks - first))
        if not shown or all(written(blocks.contexts[:shown])):
            return blocks
        below = join(await parent.read(first, shown))
        data, contexts = bytearray(blocks.data), list(blocks.contexts)
        for place, own in enumerate(written(blocks.contexts[:shown])):
            if not own:
                at = slice(place * self.block_size, (place + 1) * self.block_size)
                data[at] = below.data[at]
                contexts[place] = below.contexts[place]
        return Blocks(bytes(data), tuple(contexts))

    async def write(self, first: int, data: bytes, *, only_unwritten: bool = False) -> None:
        begin, tasks = 0, []
        for piece, start, count in self._parts(first, len(data) // self.block_size):
            end = begin + count * self.block_size
            part = data[begin:end] if end - begin < len(data) else data
            tasks.append(piece.write(start, part, only_unwritten=only_unwritten))
            begin = end
        await asyncio.gather(*tasks)

    async def flush(self) -> None:
        await asyncio.gather(*(piece.flush() for piece in self.pieces))

    async def scrub(self) -> None:
        """Copy what the parent shows into the blocks that were never written, and flush."""
        if self.parent is None:
            return
        step = max(1, SCRUB_BYTES // self.block_size)
        end = min(self.parent.blocks, self.blocks)
        for first in range(0, end, step):
            below = join(await self.parent.read(first, min(step, end - first)))
            await self.write(first, below.data, only_unwritten=True)
        await self.flush()


Node: TypeAlias = Leaf | Branch


def build(request: VolumeRequest, make: Callable[[RegionRequest], RegionSet]) -> Branch:
    """The tree of a request; nothing is connected yet."""

    def node(piece: VolumeRequest | RegionRequest) -> Node:
        if isinstance(piece, RegionRequest):
            return Leaf(make(piece), piece.blocks)
        parent = None if piece.read_only_parent is None else node(piece.read_only_parent)
        return Branch(piece.block_size, tuple(node(sub) for sub in piece.sub_volumes), parent)

    root = node(request)
    assert isinstance(root, Branch)  # noqa: S101 -- a request is a volume
    return root


def join(found: list[Blocks]) -> Blocks:
    """Consecutive results as one."""
    if len(found) == 1:
        return found[0]
    contexts = tuple(context for one in found for context in one.contexts)
    return replace(found[0], data=b"".join(one.data for one in found), contexts=contexts) if found else Blocks(b"", ())
