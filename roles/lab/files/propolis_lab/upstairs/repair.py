# SPDX-License-Identifier: GPL-3.0-or-later
"""Live repair: replicas that missed too much are made equal extent by extent while the guest reads and writes on.

Messages, their order and the numbering were seen on the real programs; the replicas copy among themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..protocol.base import ClosedExtent
from ..protocol.messages import (
    ExtentLiveClose,
    ExtentLiveCloseAck,
    ExtentLiveFlushClose,
    ExtentLiveNoOp,
    ExtentLiveReopen,
    ExtentLiveRepair,
    JobRequest,
)
from .jobs import Job, Kind, MakeMessage, Step
from .pipeline import Pipeline
from .session import Session
from .status import Phase
from .target import Log, Target


class RepairError(Exception):
    """The repair cannot go on; it is given up and begun again when the replicas are back."""


@dataclass
class _ExtentJobs:
    """The four numbers with which an extent is repaired, and which of the jobs are entered."""

    extent: int
    first: int
    deps: tuple[int, ...]
    entered: set[Kind] = field(default_factory=set)

    def number(self, kind: Kind) -> int:
        return self.first + _ORDER.index(kind)


_ORDER = (Kind.CLOSE, Kind.REPAIR, Kind.NOOP, Kind.REOPEN)


class LiveRepair:
    """The repair of the targets ``under``; the other targets that are active serve as sources."""

    def __init__(
        self,
        session: Session,
        pipeline: Pipeline,
        targets: Sequence[Target],
        under: Sequence[Target],
        *,
        flush: Callable[[], Job],
        log: Log,
    ) -> None:
        self.under = tuple(target.index for target in under)
        self.limit = -1
        """The last extent that is repaired, or whose jobs are numbered: the repaired targets may have jobs up to it."""
        self._session = session
        self._pipeline = pipeline
        self._targets = targets
        self._flush = flush
        self._log = log
        self._extents: dict[int, _ExtentJobs] = {}
        self._first_job = 0
        self._number(0)  # at once: from now on the repaired targets see the guest's flushes, which need the limit

    # The window through which the guest's jobs see the repair

    def reserve_for(self, first: int, count: int) -> None:
        """Number the jobs of extents that an I/O reaches from a repaired one into unrepaired ones."""
        size = self._session.request.blocks_per_extent
        if first // size <= self.limit:
            for extent in range(self.limit + 1, (first + count - 1) // size + 1):
                self._number(extent)

    def allows(self, job: Job, index: int) -> bool:
        if job.kind not in (Kind.READ, Kind.WRITE, Kind.UNWRITTEN) or index not in self.under:
            return True
        return job.blocks[0] // self._session.request.blocks_per_extent <= self.limit

    def first_job_of(self, index: int) -> int:
        return self._first_job if index in self.under else 0

    # The repair

    async def run(self) -> None:
        """Repair all extents. Raises RepairError; cancelled when a repaired target is lost."""
        for extent in range(self._session.request.extent_count):
            jobs = self._extents.get(extent) or self._number(extent)
            await self._repair(jobs)
            del self._extents[extent]
        flush = self._flush()
        await self._everywhere(flush)

    def _number(self, extent: int) -> _ExtentJobs:
        first = self._pipeline.numbers.take(len(_ORDER))
        self._first_job = self._first_job or first
        size = self._session.request.blocks_per_extent
        deps = self._pipeline.dependencies.write(first + _ORDER.index(Kind.REOPEN), extent * size, size)
        self._extents[extent] = jobs = _ExtentJobs(extent, first, deps)
        self.limit = max(self.limit, extent)
        text = f"RE:{extent} repair extent with ids {','.join(str(first + i) for i in range(4))} deps:[{list(deps)}]"
        self._log(text, {"level": 30})
        return jobs

    async def _repair(self, jobs: _ExtentJobs) -> None:
        extent, session = jobs.extent, self._session
        flush_number = self._pipeline.numbers.take_flush()

        def close(index: int, deps: tuple[int, ...]) -> JobRequest:
            ids = (session.upstairs_id, session.session_id, jobs.number(Kind.CLOSE), deps, extent)
            if index in self.under:
                return ExtentLiveClose(*ids)
            return ExtentLiveFlushClose(*ids, flush_number, session.generation)

        def reopen(_index: int, deps: tuple[int, ...]) -> JobRequest:
            number = jobs.number(Kind.REOPEN)
            return ExtentLiveReopen(session.upstairs_id, session.session_id, number, deps, extent)

        reopened = self._enter(
            jobs, Kind.REOPEN, reopen
        )  # sent first (seen); it waits for the others by its dependency
        closed = self._enter(jobs, Kind.CLOSE, close)
        await self._everywhere(closed)
        await self._everywhere(self._enter(jobs, Kind.REPAIR, self._repair_message(jobs, closed)))
        await self._everywhere(self._enter(jobs, Kind.NOOP, self._noop(jobs, Kind.NOOP)))
        await self._everywhere(reopened)

    def _repair_message(self, jobs: _ExtentJobs, closed: Job) -> MakeMessage:
        """Who must copy the extent from whom, by what the closed extents said."""
        versions: dict[int, ClosedExtent] = {}
        for index, answer in enumerate(closed.answers):
            if isinstance(answer, ExtentLiveCloseAck) and isinstance(answer.result, ClosedExtent):
                versions[index] = answer.result
        sources = [
            target
            for target in self._targets
            if target.phase is Phase.ACTIVE and target.repair_address is not None and target.index in versions
        ]
        if not sources:
            raise RepairError("no replica is left to copy from")
        source = sources[-1]
        copy = [
            index for index in self.under if index in versions and _differs(versions[index], versions[source.index])
        ]
        if copy:
            self._log(f"Repair for extent {jobs.extent} s:{source.index} d:{copy}", {"level": 30})
        address, number, session = source.repair_address, jobs.number(Kind.REPAIR), self._session
        noop = self._noop(jobs, Kind.REPAIR)

        def repair(index: int, deps: tuple[int, ...]) -> JobRequest:
            if index not in copy or address is None:
                return noop(index, deps)
            ids = (session.upstairs_id, session.session_id, number, deps)
            return ExtentLiveRepair(*ids, jobs.extent, source.index, address)

        return repair

    def _noop(self, jobs: _ExtentJobs, kind: Kind) -> MakeMessage:
        session, number = self._session, jobs.number(kind)
        return lambda _index, deps: ExtentLiveNoOp(session.upstairs_id, session.session_id, number, deps)

    def _enter(self, jobs: _ExtentJobs, kind: Kind, make: MakeMessage, as_kind: Kind | None = None) -> Job:
        number = jobs.number(kind)
        job = Job(
            number,
            as_kind or kind,
            jobs.deps if kind is Kind.CLOSE else (number - 1,),
            make,
            everywhere=True,
            outcome=asyncio.get_running_loop().create_future(),
        )
        jobs.entered.add(kind)
        self._pipeline.submit(job)
        return job

    async def _everywhere(self, job: Job) -> None:
        """Wait until every target has done the job, or is no longer waited for."""
        if job.outcome is not None:
            await job.outcome
        if not any(job.steps[index] is Step.DONE for index in self.under):
            raise RepairError("the repaired replica did not do its part")

    def abandon(self) -> None:
        """End the repair: those that wait for jobs that were numbered but never sent get empty ones in their place.

        The repaired targets must already be faulted.
        """
        for extent in sorted(self._extents):
            jobs = self._extents[extent]
            for kind in _ORDER:
                if kind not in jobs.entered:
                    self._enter(jobs, kind, self._noop(jobs, kind), Kind.NOOP)


def _differs(mine: ClosedExtent, source: ClosedExtent) -> bool:
    return mine.dirty or (mine.generation, mine.flush_number) != (source.generation, source.flush_number)
