# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads from outside how far the regions of a lab are: the highest generation that was flushed into each."""

from __future__ import annotations

from pathlib import Path

from propolis_lab.region.region import Region


def highest_generations(folder: Path) -> list[int]:
    """One number for each region below `folder` (ds0, ds1, ds2), 0 where nothing was ever flushed."""
    found = []
    for path in sorted(folder.glob("ds?")):
        region = Region.open(path, read_only=True)
        try:
            found.append(max(version.generation for version in region.versions()))
        finally:
            region.close()
    return found
