# SPDX-License-Identifier: GPL-3.0-or-later
"""Trouble that was asked for: the test options of the real program (``--lossy``, ``--read-errors`` …) and slow jobs.

A job that fails is tried again until it succeeds, and every failure is reported to the upstairs, as the real program
does (read in its source). How often trouble strikes, one time in four, and for how long is our choice.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from propolis_lab.protocol.errors import CrucibleError, ErrorKind
from propolis_lab.protocol.faults import Faults
from propolis_lab.protocol.messages import Flush, JobRequest, ReadRequest, Write, WriteUnwritten

from .options import RunOptions

_ONE_IN_FOUR = 0.25
_LONGEST_PAUSE = 1.0


class Trouble:
    """Decides for each job what happens to it; without options nothing does."""

    def __init__(self, options: RunOptions, faults: Faults) -> None:
        self._faults = faults
        self._port = options.port
        self._lossy = options.lossy
        self._failing = tuple(
            kind
            for wanted, kinds in (
                (options.read_errors, (ReadRequest,)),
                (options.write_errors, (Write, WriteUnwritten)),
                (options.flush_errors, (Flush,)),
            )
            if wanted
            for kind in kinds
        )
        self._random = random.Random()  # noqa: S311 - no secret

    def delay(self) -> float:
        """Seconds by which a job is late."""
        seconds = self._faults.slowness(self._port) if self._faults else 0.0
        if self._lossy and self._random.random() < _ONE_IN_FOUR:
            seconds += self._random.uniform(0, _LONGEST_PAUSE)
        return seconds

    def errors(self, job: JobRequest) -> Iterator[CrucibleError]:
        """The failures of a job before it succeeds."""
        while self._failing and isinstance(job, self._failing) and self._random.random() < _ONE_IN_FOUR:
            yield CrucibleError(ErrorKind.GENERIC_ERROR, ("test error",))
