# SPDX-License-Identifier: GPL-3.0-or-later
"""``dump -b``: one block of several regions: the checksum of its data, its nonces, tags and hashes.

Seen on the real programs; like theirs, its exit status says nothing about differences.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence

from propolis_lab.downstairs.paint import letters_of, painted
from propolis_lab.region import Age, BlockContext, Region

_ARROW = " <--- "


def dump_block(regions: Sequence[Region], block: int, *, colour: bool) -> None:
    """Print the four tables about an absolute block number."""
    extent, inside = divmod(block, regions[0].definition.blocks_per_extent)
    found = [region.read(block, 1) for region in regions]
    contexts = [context for (context,), _unused in found]
    out = sys.stdout
    out.write(f"Extent {extent} Block in extent {inside}  Actual block {block}\n\n")
    out.write(f"{'DATA':>6}  {'SHA256':64}  VER\n{'-' * 6}  {'-' * 64}  {'-' * 3}\n")
    for index, ((_unused, data), letter) in enumerate(
        zip(found, letters_of([data for _unused, data in found]), strict=True)
    ):
        out.write(f"{index:6}  {hashlib.sha256(data).hexdigest()}   {painted(letter, colour=colour)} \n")
    out.write("\n")
    age = regions[0].age
    _table("NONCES", 24, [_part(context, 0) for context in contexts], _has_row(contexts, age, encrypted=True))
    _table("TAGS", 32, [_part(context, 1) for context in contexts], _has_row(contexts, age, encrypted=True))
    _table("HASHES", 16, [_hash(context) for context in contexts], _has_row(contexts, age, encrypted=False))


def _part(context: BlockContext | None, which: int) -> str:
    if context is None or context.encryption is None:
        return ""
    return context.encryption[which].hex()


def _hash(context: BlockContext | None) -> str:
    return "" if context is None else context.hash.to_bytes(8, "little").hex()


def _has_row(contexts: Sequence[BlockContext | None], age: Age, *, encrypted: bool) -> bool:
    """In 2023 a written block has a row in every table, today only in those that have something to say."""
    present = [context for context in contexts if context is not None]
    if encrypted and age is Age.TODAY:
        present = [context for context in present if context.encryption is not None]
    return bool(present)


def _table(name: str, width: int, cells: Sequence[str], has_row: bool) -> None:
    out = sys.stdout
    out.write(f"{name:>6}  " + "".join(f"{index:^{width}} " for index in range(len(cells))) + f"{'DIFF':>5} \n")
    out.write(f"{'-' * 6}  " + "".join(f"{'-' * width} " for _unused in cells) + f"{'-' * 5} \n")
    if has_row:
        # An empty cell always counts as a difference, even beside others.
        equal = all(cell and cell == cells[0] for cell in cells)
        out.write(f"{0:6}  " + "".join(f"{cell:{width}} " for cell in cells) + ("" if equal else _ARROW) + "\n")
    out.write("\n")
