# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest's reads, writes and flushes as jobs of a session, and the flush that comes by itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ..protocol.basics import ReadContexts
from ..protocol.errors import CrucibleError
from ..protocol.messages import Barrier, Flush, JobMessage, JobRequest, ReadRequest, ReadResponse, Write, WriteUnwritten
from .crypt import Seal, SpoiltDataError
from .errors import IoError
from .jobs import Job, Kind, Step
from .pipeline import Pipeline
from .repair import LiveRepair
from .session import Session
from .settings import Settings
from .target import Log


@dataclass(frozen=True)
class Blocks:
    """What a read gave: the bytes, and the contexts that tell blocks never written from others."""

    data: bytes
    contexts: ReadContexts


class BlockIo:
    """Reads, writes and flushes of one session. Offsets and lengths are in blocks and checked by the caller."""

    def __init__(self, session: Session, seal: Seal, settings: Settings, log: Log) -> None:
        self.repair: LiveRepair | None = None
        self.unflushed = False
        """Something was read or written since the last flush was submitted."""
        self._session = session
        self._seal = seal
        self._settings = settings
        self._log = log
        self._pipeline: Pipeline | None = None
        self._spoilt: IoError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._last_event = 0.0
        timeout = session.request.options.flush_timeout
        self._flush_delay = settings.flush_delay if timeout is None else timeout

    def begin(self, pipeline: Pipeline) -> None:
        """Work with this pipeline from now on."""
        self._pipeline = pipeline
        self._spoilt = None

    def end(self) -> None:
        """No more jobs, no more flushes by itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pipeline = None
        self.unflushed = False

    @property
    def pipeline(self) -> Pipeline:
        if self._pipeline is None:
            raise IoError("Upstairs is not active")
        return self._pipeline

    # Jobs

    async def read(self, first: int, count: int) -> list[Blocks]:
        """Read blocks; one result per job, in order. Raises IoError."""
        step = max(1, self._settings.largest_io // self._session.request.block_size)
        jobs = [
            await self._submit_read(start, min(step, first + count - start))
            for start in range(first, first + count, step)
        ]
        return list(await _outcomes(jobs))

    async def write(self, first: int, data: bytes) -> None:
        """Write whole blocks. Raises IoError."""
        size = self._session.request.block_size
        step = max(1, self._settings.largest_io // size) * size
        jobs = [
            await self._submit_write(first + at // size, data[at : at + step] if len(data) > step else data)
            for at in range(0, len(data), step)
        ]
        await _outcomes(jobs)

    async def write_unwritten(self, first: int, data: bytes) -> None:
        """Write those of the blocks that were never written; as one job, which the real upstairs does not split either.

        Raises IoError.
        """
        await _outcomes([await self._submit_write(first, data, Kind.UNWRITTEN)])

    async def flush(self) -> None:
        """Make all that was written durable. Raises IoError."""
        await _outcomes([self.submit_flush(_future())])

    async def _submit_read(self, first: int, count: int) -> Job:
        await self._before(first, count)
        session, pipeline = self._session, self.pipeline
        number = pipeline.numbers.take()

        def make(_index: int, deps: tuple[int, ...]) -> JobRequest:
            return ReadRequest(session.upstairs_id, session.session_id, number, deps, first, count)

        deps = pipeline.dependencies.read(number, first, count)
        size = count * session.request.block_size
        return self._submit(Job(number, Kind.READ, deps, make, (first, count), size, outcome=_future()))

    async def _submit_write(self, first: int, data: bytes, kind: Kind = Kind.WRITE) -> Job:
        count = len(data) // self._session.request.block_size
        await self._before(first, count)
        session, pipeline, sealed = self._session, self.pipeline, self._seal.close(data)
        number = pipeline.numbers.take()

        def make(_index: int, deps: tuple[int, ...]) -> JobRequest:
            message = Write if kind is Kind.WRITE else WriteUnwritten
            return message(session.upstairs_id, session.session_id, number, deps, first, sealed.contexts, sealed.data)

        deps = pipeline.dependencies.write(number, first, count)
        return self._submit(Job(number, kind, deps, make, (first, count), len(data), outcome=_future()))

    async def _before(self, first: int, count: int) -> None:
        await self.pipeline.room()
        if self._spoilt is not None:
            raise self._spoilt
        if self.repair is not None:
            self.repair.reserve_for(first, count)

    def _submit(self, job: Job) -> Job:
        self.unflushed = True
        self.pipeline.submit(job)
        return job

    def submit_flush(self, outcome: asyncio.Future[None] | None = None, *, everywhere: bool = False) -> Job:
        """Send a flush of everything before it."""
        session, pipeline, repair = self._session, self.pipeline, self.repair
        number, flush_number = pipeline.numbers.take(), pipeline.numbers.take_flush()

        def make(index: int, deps: tuple[int, ...]) -> JobRequest:
            limit = repair.limit if repair is not None and index in repair.under else None
            ids = (session.upstairs_id, session.session_id, number, deps)
            return Flush(*ids, flush_number, session.generation, extent_limit=limit)

        self.unflushed = False
        job = Job(number, Kind.FLUSH, pipeline.dependencies.write_all(number), make, everywhere=everywhere)
        job.outcome = outcome
        pipeline.submit(job)
        return job

    def submit_repair_flush(self) -> Job:
        """The flush that ends a live repair; its outcome is there when everybody has answered."""
        return self.submit_flush(_future(), everywhere=True)

    def _shorten(self) -> None:
        """Send what lets finished jobs be forgotten: a barrier, or a flush to those who may know no barriers."""
        if self._session.read_only:
            self.submit_flush()
        else:
            self._submit_barrier()

    def _submit_barrier(self) -> None:
        session, pipeline = self._session, self.pipeline
        number = pipeline.numbers.take()

        def make(_index: int, deps: tuple[int, ...]) -> JobRequest:
            return Barrier(session.upstairs_id, session.session_id, number, deps)

        pipeline.submit(Job(number, Kind.BARRIER, pipeline.dependencies.write_all(number), make))

    # Answers to reads

    def judge_read(self, job: Job, index: int, message: JobMessage) -> bool:
        """Take an answer to a read: the first good one is what the guest gets, all must tell the same contexts."""
        assert isinstance(message, ReadResponse)  # noqa: S101 -- the pipeline checked the kind
        if isinstance(message.blocks, CrucibleError):
            self._complain(job, index, str(message.blocks))
            return False
        if job.contexts is not None and not job.replayed and job.contexts != message.blocks:
            self._complain(job, index, "its blocks have other contexts than those of the replica that answered first")
        if job.outcome is None or job.outcome.done():
            return True
        try:
            data = self._seal.open(message.blocks, message.data)
        except SpoiltDataError as error:
            self._complain(job, index, str(error))
            others = job.count(Step.SENT, Step.WAITING) - 1
            if error.decryption and (job.count(Step.FAILED) or not others):  # not one replica's fault: the key is wrong
                self._spoilt = IoError(f"IO Error: {error}; is it the right key?")
                job.outcome.set_exception(self._spoilt)
            return False
        job.contexts = message.blocks
        job.outcome.set_result(Blocks(data, message.blocks))
        return True

    def _complain(self, job: Job, index: int, text: str) -> None:
        """Log what the real upstairs does not survive."""
        where = f"read job {job.id} of block {job.blocks[0]}"
        self._log(f"{where}: {text}; the real upstairs aborts here", {"level": 50, "client": str(index)})

    # The flush that comes by itself

    def on_event(self) -> None:
        """Something was sent or answered: the clock of the automatic flush begins anew."""
        loop = asyncio.get_running_loop()
        self._last_event = loop.time()
        if self._pipeline is None:
            return
        if self.unflushed and self._timer is None:
            self._timer = loop.call_later(self._flush_delay, self._check)
        if self._pipeline.wants_barrier:
            self._shorten()

    def _check(self) -> None:
        self._timer = None
        if not self.unflushed or self._pipeline is None:
            return
        loop = asyncio.get_running_loop()
        rest = self._last_event + self._flush_delay - loop.time()
        if self._pipeline.jobs.any_open:
            rest = self._flush_delay
        if rest > 0.001:
            self._timer = loop.call_later(rest, self._check)
        else:
            self.submit_flush()


def _future() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def _outcomes(jobs: list[Job]) -> list[Blocks]:
    """What became of the jobs. All are waited for; the first error is raised."""
    found = await asyncio.gather(*(job.outcome for job in jobs if job.outcome is not None), return_exceptions=True)
    for outcome in found:
        if isinstance(outcome, BaseException):
            raise outcome
    return [outcome for outcome in found if isinstance(outcome, Blocks)]
