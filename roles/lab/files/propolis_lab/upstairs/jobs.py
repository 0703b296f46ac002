# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs: one request that goes to all three downstairs under one number, and what became of it at each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ..protocol.basics import ReadContexts
from ..protocol.messages import (
    BarrierAck,
    ExtentLiveAckId,
    ExtentLiveCloseAck,
    ExtentLiveRepairAckId,
    FlushAck,
    JobMessage,
    JobRequest,
    ReadResponse,
    WriteAck,
    WriteUnwrittenAck,
)
from .request import REPLICAS

FIRST_JOB = 1000
"""The number of an upstairs' first job (seen)."""


class Kind(Enum):
    """What a job does. ``answers`` are the messages that end it, ``repairs`` that it is part of a live repair."""

    READ = ("read", ReadResponse)
    WRITE = ("write", WriteAck)
    UNWRITTEN = ("unwritten write", WriteUnwrittenAck)
    FLUSH = ("flush", FlushAck)
    BARRIER = ("barrier", BarrierAck)
    CLOSE = ("close", ExtentLiveCloseAck, True)
    REPAIR = ("repair", ExtentLiveRepairAckId, True)
    NOOP = ("noop", ExtentLiveAckId, True)
    REOPEN = ("reopen", ExtentLiveAckId, True)

    def __init__(self, text: str, answer: type[JobMessage], repairs: bool = False) -> None:
        self.text = text
        # A replica that has nothing to copy gets an empty job in the place of a repair.
        self.answers = (answer, ExtentLiveAckId) if answer is ExtentLiveRepairAckId else (answer,)
        self.repairs = repairs


class Step(Enum):
    """How far a job is at one downstairs. ``open`` ones may still change the outcome."""

    WAITING = ("waiting", True)  # it is away; the job goes out when it is back
    SENT = ("sent", True)
    DONE = ("done", False)
    FAILED = ("failed", False)
    SKIPPED = ("skipped", False)  # it will get this job's effect by repair, or never

    def __init__(self, text: str, is_open: bool) -> None:
        self.text = text
        self.open = is_open


MakeMessage = Callable[[int, tuple[int, ...]], JobRequest]
"""From the index of a downstairs and the jobs to depend on there to the message."""


@dataclass(eq=False, slots=True)
class Job:
    """One job. ``blocks`` are (first, count); ``size`` the bytes that it keeps or asks for."""

    id: int
    kind: Kind
    deps: tuple[int, ...]
    make: MakeMessage
    blocks: tuple[int, int] = (0, 0)
    size: int = 0
    everywhere: bool = False
    """The outcome is known only when no downstairs is left to wait for."""
    outcome: asyncio.Future[Any] | None = None
    """What a read gives; for others None. Its exceptions are IoErrors. Nobody waits when there is none."""
    steps: list[Step] = field(default_factory=lambda: [Step.SKIPPED] * REPLICAS)
    answers: list[JobMessage | None] = field(default_factory=lambda: [None] * REPLICAS)
    contexts: ReadContexts | None = None
    """What the first good answer to a read said, to compare the others with it."""
    replayed: bool = False

    def count(self, *steps: Step) -> int:
        return sum(map(self.steps.count, steps))

    @property
    def open(self) -> bool:
        return Step.SENT in self.steps or Step.WAITING in self.steps


class JobNumbers:
    """The numbers of jobs, and of flushes, of one upstairs."""

    def __init__(self) -> None:
        self._next = FIRST_JOB
        self.next_flush = 0

    def take(self, count: int = 1) -> int:
        """The first of ``count`` new consecutive job numbers."""
        first = self._next
        self._next += count
        return first

    def take_flush(self) -> int:
        number = self.next_flush
        self.next_flush += 1
        return number


class JobTable:
    """The jobs that are not yet retired, in the order of their numbers, and what is open where."""

    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        self.open_jobs = [0] * REPLICAS
        self.open_bytes = [0] * REPLICAS
        self.skipped: tuple[set[int], ...] = tuple(set() for _unused in range(REPLICAS))
        """The jobs that a downstairs never gets; none of its other jobs may depend on them."""
        self.finished_jobs = 0
        self.finished_bytes = 0
        self.waiting = 0
        """How many flushes and barriers are under way, after which jobs will be retired."""

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        """Ascending. Live repairs enter jobs out of order, hence the sorting."""
        return iter(sorted(self._jobs.values(), key=lambda job: job.id))

    def find(self, number: int) -> Job | None:
        return self._jobs.get(number)

    def enter(self, job: Job) -> None:
        self._jobs[job.id] = job
        self.waiting += job.kind in (Kind.FLUSH, Kind.BARRIER)

    def put(self, job: Job, index: int, step: Step) -> bool:
        """Set a job's step at a downstairs; True when with this the job is no longer open anywhere."""
        before = job.steps[index]
        job.steps[index] = step
        change = step.open - before.open
        if step is Step.SKIPPED:
            self.skipped[index].add(job.id)
        if change == 0:
            return False
        self.open_jobs[index] += change
        self.open_bytes[index] += change * job.size
        if job.open:
            return False
        self.finished_jobs += 1
        self.finished_bytes += job.size if job.kind in (Kind.WRITE, Kind.UNWRITTEN) else 0
        return True

    @property
    def any_open(self) -> bool:
        return any(self.open_jobs)

    def retire(self, last: int) -> None:
        """Forget all jobs up to and with ``last``."""
        for number in [number for number in self._jobs if number <= last]:
            job = self._jobs.pop(number)
            self.waiting -= job.kind in (Kind.FLUSH, Kind.BARRIER)
            for skipped in self.skipped:
                skipped.discard(number)
        self.finished_jobs = sum(not job.open for job in self._jobs.values())
        kept = (Kind.WRITE, Kind.UNWRITTEN)
        self.finished_bytes = sum(job.size for job in self._jobs.values() if job.kind in kept and not job.open)
