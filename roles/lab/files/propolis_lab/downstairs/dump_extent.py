# SPDX-License-Identifier: GPL-3.0-or-later
"""``dump -e``: which blocks of one extent differ between regions, in data and in context.

Seen on the real programs. The real one opens every region once for every block; the stand-in reads the extent once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from propolis_lab.downstairs.outcome import Failure
from propolis_lab.downstairs.paint import letters_of, painted
from propolis_lab.region import Age, BlockContext, Region

_CHUNK_BYTES = 4 << 20


def dump_extent(regions: Sequence[Region], extent: int, *, only_differences: bool, colour: bool) -> None:
    """Print the comparison. Raises Failure at the end when anything differed."""
    versions = [region.open_extent(extent).version for region in regions]
    out = sys.stdout
    out.write(f"           Extent {extent}\n")
    out.write("GEN      " + "".join(f"{version.generation:8} " for version in versions) + "\n")
    out.write("FLUSH_ID " + "".join(f"{version.flush:8} " for version in versions) + "\n")
    out.write("DIRTY    " + "".join(f"{'D' if version.dirty else '':>8} " for version in versions) + "\n\n")
    definition = regions[0].definition
    first = extent * definition.blocks_per_extent
    width = max(3, len(str(first + definition.blocks_per_extent - 1)))
    data_heads = "".join(f" D{index}" for index in range(len(regions)))
    context_heads = "".join(f" C{index}" for index in range(len(regions)))
    out.write(f"{'BLOCK':>{width}} {data_heads} {context_heads}{'' if only_differences else ' DIFF '}\n")
    differ = False
    for block, datas, contexts in _blocks(regions, first, definition.blocks_per_extent):
        row_differs = any(data != datas[0] for data in datas) or any(context != contexts[0] for context in contexts)
        differ = differ or row_differs
        if only_differences and not row_differs:
            continue
        row = _number(regions[0].age, block, width)
        row += " " + "".join(f"  {painted(letter, colour=colour)}" for letter in letters_of(datas))
        row += " " + "".join(f"  {painted(letter, colour=colour)}" for letter in letters_of(contexts))
        if not only_differences:
            row += " <---" if row_differs else "     "
        out.write(row + "\n")
    if differ:
        raise Failure("Difference found!")


def _number(age: Age, block: int, width: int) -> str:
    """Zeros before it today, spaces to the width of its heading in 2023."""
    return f"{block:0{width}}" if age is Age.TODAY else f"{block:{max(5, width)}}"


def _blocks(
    regions: Sequence[Region], first: int, count: int
) -> Iterator[tuple[int, list[bytes], list[BlockContext | None]]]:
    """Each block with its data and context in every region."""
    size = regions[0].definition.block_size
    step = max(1, _CHUNK_BYTES // size)
    for start in range(first, first + count, step):
        length = min(step, first + count - start)
        found = [region.read(start, length) for region in regions]
        for index in range(length):
            piece = slice(index * size, (index + 1) * size)
            yield (
                start + index,
                [data[piece] for _unused, data in found],
                [contexts[index] for contexts, _unused in found],
            )
