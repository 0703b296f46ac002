# SPDX-License-Identifier: GPL-3.0-or-later
"""The ages of propolis-server: one writer and reader for each family, and finding out which one a server speaks."""

from __future__ import annotations

from .base import Dialect, MigrationTarget, Request
from .detection import Detected, choose, detect
from .seed import SeedDialect
from .spec import KNOWN_VERSIONS, SpecDialect

__all__ = [
    "KNOWN_VERSIONS",
    "Detected",
    "Dialect",
    "MigrationTarget",
    "Request",
    "SeedDialect",
    "SpecDialect",
    "choose",
    "detect",
]
