# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the recordings of the real programs and their API documents are found: the one place that knows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
recordings = Path(os.environ.get("PROPOLIS_SHARED", ROOT.parent / "shared"))

needs_shared = pytest.mark.skipif(
    not (recordings / "transcripts").is_dir(),
    reason=f"SKIPPED LOUDLY: no recordings of the real programs at {recordings}; set PROPOLIS_SHARED to their folder",
)
