# SPDX-License-Identifier: GPL-3.0-or-later
"""Regions on disk: what a downstairs keeps, in the format of today (raw extents) and of January 2023 (SQLite)."""

from propolis_lab.region.age import Age
from propolis_lab.region.context import BlockContext, PlainContexts, context_of
from propolis_lab.region.definition import Definition
from propolis_lab.region.errors import (
    ExtentClosed,
    HashMismatch,
    OutOfBounds,
    ReadOnlyRegion,
    RegionError,
)
from propolis_lab.region.extent import ExtentVersion
from propolis_lab.region.region import Region

__all__ = [
    "Age",
    "BlockContext",
    "Definition",
    "ExtentClosed",
    "ExtentVersion",
    "HashMismatch",
    "OutOfBounds",
    "PlainContexts",
    "ReadOnlyRegion",
    "Region",
    "RegionError",
    "context_of",
]
