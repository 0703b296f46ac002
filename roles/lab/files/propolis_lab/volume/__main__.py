# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m propolis_lab.volume``."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

from propolis_lab.upstairs.request import REPLICAS

from .commands import run
from .options import parser

FEW_COLLECTIONS = 50_000
"""Frames of small blocks bring thousands of short-lived objects; the usual 700 would have the collector run in each."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; its exit status: 0 done, 1 failed, 2 wrong command line."""
    top = parser()
    options = top.parse_args(arguments)
    if len(options.targets) != REPLICAS:
        top.error(f"-t/--target must be given {REPLICAS} times, once for each downstairs; found {len(options.targets)}")
    gc.set_threshold(FEW_COLLECTIONS)
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
