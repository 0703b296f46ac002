# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the recordings of the real programs and their API documents are found, and how a program is written."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
recordings = Path(os.environ.get("PROPOLIS_SHARED", ROOT.parent / "shared"))

needs_shared = pytest.mark.skipif(
    not (recordings / "transcripts").is_dir(),
    reason=f"SKIPPED LOUDLY: no recordings of the real programs at {recordings}; set PROPOLIS_SHARED to their folder",
)

PYTHON = shlex.quote(sys.executable)
"""The Python of the tests, for a shell: a clone may lie in a path with a space."""


def python_program(text: str) -> str:
    """An executable file with this text: no ``#!`` line can name a Python in a path with a space."""
    return f"#!/bin/sh\n'''exec' {PYTHON} \"$0\" \"$@\"\n' '''\n{text}"
