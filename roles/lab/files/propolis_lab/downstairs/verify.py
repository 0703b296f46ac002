# SPDX-License-Identifier: GPL-3.0-or-later
"""``verify``: holds every block of one region against its context."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from propolis_lab.downstairs.outcome import Failure
from propolis_lab.region import Age, Region
from propolis_lab.region.layout import extent_name
from propolis_lab.region.region import damage_in_extents

_WORTH_PROCESSES = 64 << 20


def verify(directory: Path, *, threads: int | None) -> None:
    """Print one line for each damaged extent. Raises RegionError, and Failure when there was one."""
    region = Region.open(directory, read_only=True, age=Age.TODAY)
    definition = region.definition
    region.close()
    workers = min(threads or len(os.sched_getaffinity(0)), max(1, definition.extent_count))
    numbers = range(definition.extent_count)
    if workers == 1 or definition.total_bytes < _WORTH_PROCESSES:
        found = damage_in_extents(directory, numbers)
    else:
        # Hashing holds the interpreter, so threads would not help.
        with ProcessPoolExecutor(workers) as pool:
            shares = [numbers[index::workers] for index in range(workers)]
            found = [damage for share in pool.map(partial(damage_in_extents, directory), shares) for damage in share]
    for extent, damage in sorted(found, key=lambda item: item[0]):
        text = f'validation failed for extent {extent} (file {extent_name(extent)}): GenericError("{damage.text}")'
        sys.stdout.write(text + "\n")
    if found:
        raise Failure("Region failed to verify")
