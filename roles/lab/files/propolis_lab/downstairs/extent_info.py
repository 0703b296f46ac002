# SPDX-License-Identifier: GPL-3.0-or-later
"""``extent-info``: what region.json says and where everything lies in a raw extent file."""

from __future__ import annotations

import sys
from pathlib import Path

from propolis_lab.downstairs.outcome import Failure
from propolis_lab.region import Age, Definition
from propolis_lab.region.context import SLOT_SIZE
from propolis_lab.region.definition import DATABASE_VERSION, read_definition
from propolis_lab.region.layout import METADATA_SIZE, Layout

_MIB = 1 << 20


def extent_info(directory: Path, blocks: tuple[int, int] | None) -> None:
    """Print the facts and, for a range of blocks within an extent, their offsets. Raises RegionError, Failure."""
    definition, _unused = read_definition(directory, Age.TODAY)
    layout = Layout(definition.block_size, definition.blocks_per_extent)
    if blocks is not None and blocks[1] >= layout.blocks:
        raise Failure(f"Block {blocks[1]} is not below {layout.blocks}, the number of blocks in an extent")
    sys.stdout.write(_facts(directory, definition) + _offsets(layout))
    if blocks is not None:
        sys.stdout.write(_block_offsets(layout, *blocks))


def _facts(directory: Path, definition: Definition) -> str:
    lines = {
        "Region directory": str(directory),
        "UUID": str(definition.uuid),
        "Encrypted": str(definition.encrypted).lower(),
        "Block size": f"{definition.block_size} bytes",
        "Extent size": f"{definition.blocks_per_extent} blocks",
        "Extent count": str(definition.extent_count),
        "Total size": f"{definition.total_bytes} bytes ({definition.total_bytes / _MIB:.2f} MiB)",
        "DB read version": str(DATABASE_VERSION),
        "DB write version": str(DATABASE_VERSION),
    }
    return "=== Region Information ===\n" + "".join(f"{name + ':':<21}{value}\n" for name, value in lines.items())


def _offsets(layout: Layout) -> str:
    sections = (
        ("Block Data", 0, layout.data_size),
        ("Context Slot A", layout.slot_offset(0, 0), layout.slots_size),
        ("Context Slot B", layout.slot_offset(1, 0), layout.slots_size),
        ("Active Context Array", layout.bitmap_offset, layout.bitmap_size),
        ("Metadata", layout.metadata_offset, METADATA_SIZE),
    )
    rows = "".join(
        f"{name:<30} {f'0x{start:08x}':>15} {size:>15} {f'0x{start + size - 1:08x}':>15}\n"
        for name, start, size in sections
    )
    line = "-" * 80 + "\n"
    return (
        "\n=== Extent File Layout ===\n"
        f"Each extent file contains {layout.blocks} blocks of {layout.block_size} bytes each\n"
        f"Total extent file size: {layout.file_size} bytes ({layout.file_size / _MIB:.2f} MiB)\n"
        "\nOffset Breakdown:\n"
        f"{'Section':<30} {'Start Offset':>15} {'Size (bytes)':>15} {'End Offset':>15}\n"
        f"{line}{rows}{line}{'Total':<30} {'':>15} {layout.file_size:>15}\n"
    )


def _block_offsets(layout: Layout, first: int, last: int) -> str:
    count = last - first + 1
    title = f"Block {first}" if count == 1 else f"Blocks {first}-{last}"
    rows = [f"{'Section':<26} {'Start':<14} End"]
    parts = [("Block Data:", first * layout.block_size, count * layout.block_size, f"{count} blocks")]
    for array, name in enumerate("AB"):
        parts.append((f"Context Slot {name}:", layout.slot_offset(array, first), count * SLOT_SIZE, f"{count} slots"))
    for name, start, size, what in parts:
        rows.append(f"{name:<22}0x{start:08x} - 0x{start + size - 1:08x} ({size} bytes, {what})")
    byte = layout.bitmap_offset + first // 8
    bits = f"bits {first % 8}-{first % 8 + count - 1}"
    rows.append(f"{'Active Context Bits:':<22}0x{byte:08x} {bits} (0 = Slot A, 1 = Slot B)")
    end = layout.metadata_offset + METADATA_SIZE - 1
    rows.append(f"{'Extent Metadata:':<22}0x{layout.metadata_offset:08x} - 0x{end:08x} (shared by all blocks)")
    return f"\n=== {title} File Offsets ===\n" + "\n".join(rows) + "\n"
