# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs on their way: sent to the downstairs that may have them, judged by their answers, sent again, and retired.

What counts as success: a read with its first good answer, a write with two, a flush with two when nobody is left to
wait for or as soon as there are two (all of them when the session ends). The real upstairs of today tells the guest
that a write succeeded before any downstairs answered; here it takes two, as in 2023, so that "written" can be trusted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from ..protocol.errors import CrucibleError
from ..protocol.messages import ErrorReport, JobDone, JobMessage
from .dependencies import Dependencies
from .errors import TOO_MANY_FAILED, IoError
from .jobs import Job, JobNumbers, JobTable, Kind, Step
from .settings import Settings
from .status import Mode, Phase
from .target import Log, Target

QUORUM = 2
"""So many of the three must have done a write or a flush; so many that have not make it fail."""

Judge = Callable[[Job, int, JobMessage], bool]
"""Looks at the answer to a read; True when it is good. Sets the outcome of the job when it is the first."""


class Window(Protocol):
    """What a live repair lets through to the targets that it repairs."""

    def allows(self, job: Job, index: int) -> bool:
        """Whether a target may have a job now."""

    def first_job_of(self, index: int) -> int:
        """The first job that a repaired target can have got; 0 for the others."""


class Pipeline:
    """All jobs of one session that are not retired."""

    def __init__(
        self,
        targets: Sequence[Target],
        numbers: JobNumbers,
        blocks: int,
        settings: Settings,
        log: Log,
        *,
        judge_read: Judge,
        on_event: Callable[[], None],
        on_fault: Callable[[Target, str], None],
    ) -> None:
        self.numbers = numbers
        self.dependencies = Dependencies(blocks)
        self.jobs = JobTable()
        self.window: Window | None = None
        self._targets = targets
        self._settings = settings
        self._log = log
        self._judge_read = judge_read
        self._on_event = on_event
        self._on_fault = on_fault
        self._last_barrier = 0
        self._few_jobs = min(settings.open_jobs, settings.offline_jobs)
        self._few_bytes = min(settings.open_bytes, settings.offline_bytes)
        self._room = asyncio.Event()
        self._room.set()

    # Sending

    async def room(self) -> None:
        """Wait until no living downstairs has too much to do."""
        while not self._room.is_set():
            await self._room.wait()

    def submit(self, job: Job) -> None:
        """Enter a job and send it to all downstairs that are there; the others get it later, or not at all."""
        self.jobs.enter(job)
        for target in self._targets:
            step = self._first_step(job, target)
            self.jobs.put(job, target.index, step)
            if step is Step.SENT:
                target.send(job.make(target.index, self._deps(job, target.index)))
        self._settle(job)
        self._on_event()
        self._watch_limits()

    def _first_step(self, job: Job, target: Target) -> Step:
        if target.phase is Phase.ACTIVE:
            return Step.SENT
        if target.phase is Phase.LIVE_REPAIR and self.window is not None:
            return Step.SENT if self.window.allows(job, target.index) else Step.SKIPPED
        if target.mode is Mode.OFFLINE:
            return Step.WAITING
        return Step.SKIPPED

    def _deps(self, job: Job, index: int) -> tuple[int, ...]:
        """What a job depends on at a downstairs: nothing that it never got, or got in another connection."""
        deps, skipped = job.deps, self.jobs.skipped[index]
        if skipped and deps:
            deps = tuple(number for number in deps if number not in skipped)
        least = 0 if self.window is None else self.window.first_job_of(index)
        return tuple(number for number in deps if number >= least) if least else deps

    def replay(self, target: Target) -> None:
        """Send all jobs after the last flush that a returned downstairs acknowledged, as they were sent before."""
        after = target.last_flush or 0
        for job in self.jobs:
            if job.id <= after or job.steps[target.index] is Step.SKIPPED:
                continue
            job.replayed = True
            self.jobs.put(job, target.index, Step.SENT)
            target.send(job.make(target.index, self._deps(job, target.index)))
        self._on_event()

    def can_replay(self, target: Target) -> bool:
        """Whether nothing was forgotten that this downstairs might have lost with its connection."""
        return (target.last_flush or 0) >= self._last_barrier

    # Answers

    def on_answer(self, target: Target, message: JobMessage) -> None:
        """Take an answer. One that fits no open job drops the connection, where the real upstairs aborts."""
        job = self.jobs.find(message.job_id)
        if isinstance(message, ErrorReport):
            self._on_report(target, job, message)
            return
        if job is None or type(message) not in job.kind.answers or job.steps[target.index] is not Step.SENT:
            target.drop(f"{type(message).__name__} for job {message.job_id}, which is not open there")
            return
        error = message.result if isinstance(message, JobDone) else getattr(message, "result", None)
        good = not isinstance(error, CrucibleError)
        if job.kind is Kind.READ:
            good = self._judge_read(job, target.index, message)
        job.answers[target.index] = message if job.kind is not Kind.READ else None
        if good and job.kind is Kind.FLUSH:
            target.last_flush = max(job.id, target.last_flush or 0)
        self._finish(job, target.index, Step.DONE if good else Step.FAILED)
        if not good and job.kind is not Kind.READ:
            self._on_fault(target, f"{job.kind.text} job {job.id} failed: {error}")
        self._on_event()

    def _on_report(self, target: Target, job: Job | None, report: ErrorReport) -> None:
        """An error that the downstairs will try to overcome by itself, unless it is about a live repair."""
        text = f"DS Reports error {report.error} on job {report.job_id}"
        self._log(text, {"level": 50, "client": str(target.index)})
        if job is not None and job.kind.repairs:
            self._on_fault(target, text)

    def _finish(self, job: Job, index: int, step: Step) -> None:
        closed = self.jobs.put(job, index, step)
        self._settle(job)
        if closed:
            job.contexts = None
            if job.kind in (Kind.FLUSH, Kind.BARRIER):
                self._retire(job)
        self._watch_limits()

    def _settle(self, job: Job) -> None:
        """Tell the one who waits for the job, when its outcome is known."""
        outcome = job.outcome
        if outcome is None or outcome.done():
            return
        done, still_open = job.count(Step.DONE), job.open
        if job.kind is Kind.READ:
            if not still_open and done == 0:
                outcome.set_exception(IoError("IO Error: no downstairs could be read"))
        elif job.everywhere:
            if not still_open:
                outcome.set_result(None)
        elif done >= QUORUM:
            outcome.set_result(None)
        elif job.count(Step.FAILED, Step.SKIPPED) >= QUORUM and not (job.kind is Kind.FLUSH and still_open):
            outcome.set_exception(IoError(TOO_MANY_FAILED))

    def _retire(self, job: Job) -> None:
        if job.kind is Kind.BARRIER and job.count(Step.DONE):
            self._last_barrier = job.id
        self.jobs.retire(job.id)
        self.dependencies.forget(job.id)

    # Losses

    def skip(self, target: Target) -> None:
        """Give up all open jobs of a downstairs: it will be repaired, or is not waited for any longer."""
        for job in self.jobs:
            if job.steps[target.index].open:
                self._finish(job, target.index, Step.SKIPPED)
        self._on_event()

    def wait_for(self, target: Target) -> None:
        """Keep the open jobs of a lost downstairs for its return."""
        for job in self.jobs:
            if job.steps[target.index] is Step.SENT:
                self.jobs.put(job, target.index, Step.WAITING)

    def forget_all(self) -> None:
        """Forget all jobs; none may be open any more."""
        last = self.numbers.take() - 1
        self.jobs.retire(last)
        self.dependencies.forget(last)

    def abort(self, error: IoError) -> None:
        """Fail everybody who waits; the session is over."""
        for job in self.jobs:
            if job.outcome is not None and not job.outcome.done():
                job.outcome.set_exception(error)
                job.outcome.exception()  # nobody may be left to ask for it
        self._room.set()

    # Limits

    def _watch_limits(self) -> None:
        limits, jobs = self._settings, self.jobs
        if max(jobs.open_jobs) <= self._few_jobs and max(jobs.open_bytes) <= self._few_bytes:
            self._room.set()
            return
        living = [target.index for target in self._targets if target.phase in (Phase.ACTIVE, Phase.LIVE_REPAIR)]
        full = any(
            jobs.open_jobs[index] > limits.open_jobs or jobs.open_bytes[index] > limits.open_bytes for index in living
        )
        if full:
            self._room.clear()
        else:
            self._room.set()
        for target in self._targets:
            if target.mode is Mode.OFFLINE and target.index not in living:
                count, size = jobs.open_jobs[target.index], jobs.open_bytes[target.index]
                if count > limits.offline_jobs or size > limits.offline_bytes:
                    self._on_fault(target, f"{count} jobs with {size} bytes wait for it")

    @property
    def wants_barrier(self) -> bool:
        """Whether so much is finished but not flushed that it should be forgotten."""
        many = self.jobs.finished_jobs >= self._settings.barrier_jobs
        much = self.jobs.finished_bytes >= self._settings.barrier_bytes
        return (many or much) and self.jobs.waiting == 0
