# SPDX-License-Identifier: GPL-3.0-or-later
"""One upstairs' connection: its messages go to the negotiation, the jobs and the repairs, the answers back.

Work on files is done at once, on the event loop; only the copying of extents from another downstairs goes on beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from propolis_lab.protocol.errors import CodecError, ShortLengthError
from propolis_lab.protocol.messages import (
    ErrorReport,
    ExtentClose,
    ExtentLiveFlushClose,
    ExtentLiveNoOp,
    ExtentLiveReopen,
    ExtentLiveRepair,
    ExtentLiveRepairAckId,
    ExtentRepair,
    Imok,
    JobRequest,
    Message,
    Ruok,
    UuidMismatch,
    Write,
    WriteUnwritten,
    YouAreNoLongerActive,
)
from propolis_lab.protocol.stream import FrameStream
from propolis_lab.region import Age, OutOfBounds

from .endings import ABORTS, Ending
from .extent_copy import CopyError
from .identity import Identity
from .jobs import JobQueue
from .negotiation import NEGOTIATING, Negotiation, Step, other_id
from .repair import STEPS
from .service import Service
from .trouble import Trouble
from .work import perform

SILENCE_LIMIT = {Age.TODAY: 45.0, Age.JANUARY_2023: 50.0}
"""Seconds without any frame after which the connection is dropped."""
_UNSENT_LIMIT = 32 * 1024 * 1024
_NOT_WHEN_READ_ONLY = (
    Write,
    WriteUnwritten,
    ExtentClose,
    ExtentLiveFlushClose,
    ExtentLiveRepair,
    ExtentLiveReopen,
    ExtentLiveNoOp,
)


class Connection:
    """A connection from its acceptance to its end."""

    def __init__(self, number: int, stream: FrameStream, service: Service) -> None:
        self.number = number
        self.jobs = JobQueue()
        self._stream = stream
        self._service = service
        self._log = service.session_log
        self._trouble = Trouble(service.options, service.faults)
        self._negotiation = Negotiation(
            service.terms,
            lambda identity: service.promote(self, identity),
            service.region.versions,
            service.session_log,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching: asyncio.TimerHandle | None = None
        self._over = False

    @property
    def step(self) -> Step:
        """How far the negotiation has come."""
        return self._negotiation.step

    @property
    def peer(self) -> str:
        """The other end, as the log writes it."""
        host, port = self._stream.peer
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def run(self) -> None:
        """Serve the connection until it ends, for whichever reason."""
        self._log.accepted(self.peer)
        self._watch()
        try:
            await self._serve()
        except Ending as ending:
            self._end(ending)
        except ShortLengthError as error:
            self._end(Ending(str(error), really=ABORTS))
        except (CodecError, OSError) as error:
            self._end(Ending(str(error)))
        finally:
            self._leave(clean=False)
            await self._stream.close()

    def put_out(self, by: Identity) -> None:
        """Another session takes over: say so, forget all jobs, close."""
        self._log.put_out(self._negotiation.identity, by, self.peer)
        self._stream.send(YouAreNoLongerActive(by.upstairs_id, by.session_id, by.generation))
        self._forget()
        self._close_soon()

    async def _serve(self) -> None:
        while not self._over:
            messages = await self._stream.receive()
            if not messages:
                if not self._over:
                    self._log.closed()
                    self._leave(clean=True)
                return
            for message in messages:
                if self._over:
                    return
                self._take(message)
            await self._stream.drain(_UNSENT_LIMIT)

    def _watch(self) -> None:
        """Drop an upstairs that has been silent for too long; look again when that could next be so."""
        if self._over:
            return
        loop = asyncio.get_running_loop()
        limit = SILENCE_LIMIT[self._service.options.age]
        rest = self._stream.last_received + limit - loop.time()
        if rest > 0:
            self._watching = loop.call_later(rest, self._watch)
        else:
            self._end(Ending(f"inactivity timeout: nothing was received for {limit:.0f} seconds"))

    # Messages

    def _take(self, message: Message) -> None:
        if isinstance(message, Ruok):
            self._stream.send(Imok())
        elif self._negotiation.step is not Step.RUNNING:
            self._negotiate(message)
        elif isinstance(message, _NOT_WHEN_READ_ONLY) and self._service.read_only:
            raise Ending(f"{type(message).__name__} came to a read-only downstairs")
        elif isinstance(message, JobRequest):
            self._take_job(message)
        elif isinstance(message, STEPS):
            self._stream.send(self._service.repairs.step(message))
        elif isinstance(message, ExtentRepair):
            self._beside(self._copy_step(message))
        elif isinstance(message, NEGOTIATING):
            raise Ending(f"{type(message).__name__} came from a session that is running")
        else:
            raise Ending(f"{type(message).__name__} is not a message that an upstairs sends")

    def _negotiate(self, message: Message) -> None:
        answer = self._negotiation.take(message)
        if answer is not None:
            self._stream.send(answer)
        if self._negotiation.step is Step.RUNNING:
            self.jobs = JobQueue(self._negotiation.last_flush)

    def _take_job(self, job: JobRequest) -> None:
        identity = self._negotiation.identity
        assert identity is not None  # noqa: S101 - the session is running
        mismatch = other_id(identity, job.upstairs_id, job.session_id)
        if mismatch is not None:
            self._service.log.warn(f"job {job.job_id} is not from {identity}: it is ignored")
            self._stream.send(UuidMismatch(mismatch))
            return
        self.jobs.add(job)
        self._work()

    # Jobs

    def _work(self) -> None:
        """Do all jobs whose turn it is."""
        while not self._over and (job := self.jobs.next()) is not None:
            if isinstance(job, ExtentLiveRepair):
                self._beside(self._live_repair(job))
                continue
            delay = self._trouble.delay()
            if delay:
                self._beside(self._later(delay, job))
            else:
                self._do(job)

    def _do(self, job: JobRequest) -> None:
        for error in self._trouble.errors(job):
            self._service.log.warn(f"job {job.job_id}: returning error {error}, as requested")
            self._stream.send(ErrorReport(job.upstairs_id, job.session_id, job.job_id, error))
        self._stream.send(perform(job, self._service.region, self._service.log))
        self.jobs.finished(job)

    async def _later(self, delay: float, job: JobRequest) -> None:
        await asyncio.sleep(delay)
        self._do(job)
        self._work()

    async def _live_repair(self, job: ExtentLiveRepair) -> None:
        try:
            await self._service.repairs.copy(job.extent_id, job.source_repair_address)
        except CopyError as error:
            report = ErrorReport(job.upstairs_id, job.session_id, job.job_id, error.error)
            raise Ending(f"job {job.job_id}: {error}", replies=[report]) from error
        except OutOfBounds as error:
            raise Ending(f"job {job.job_id}: {error}", really=ABORTS) from error
        self._stream.send(ExtentLiveRepairAckId(job.upstairs_id, job.session_id, job.job_id, None))
        self.jobs.finished(job)
        self._work()

    async def _copy_step(self, message: ExtentRepair) -> None:
        self._stream.send(await self._service.repairs.copy_step(message))

    def _beside(self, work: Coroutine[None, None, None]) -> None:
        """Let ``work`` go on while the connection is served; how it ends can end the connection."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._beside_done)

    def _beside_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Ending):
            self._end(error)
        elif error is not None:
            self._end(Ending(f"the stand-in itself failed: {error!r}"))

    # The end

    def _end(self, ending: Ending) -> None:
        """Log why the connection ends, send the last words, and close it soon."""
        if self._over:
            return
        negotiating = self._negotiation.identity is not None and self._negotiation.step is not Step.RUNNING
        self._log.ending(ending, self.peer, negotiating=negotiating)
        for reply in ending.replies:
            self._stream.send(reply)
        self._leave(clean=False)
        self._close_soon()

    def _leave(self, *, clean: bool) -> None:
        """Take the connection out of the tables, and its session too if the rules say so."""
        if self._over:
            return
        identity = self._negotiation.identity
        jobs_left = len(self.jobs)
        self._forget()
        cleared = identity is not None and self._service.sessions.ended(self.number, identity, clean=clean)
        ran = self._negotiation.step is Step.RUNNING
        self._log.removed(self.number, identity, jobs_left if ran else None, cleared=cleared)
        if clean:
            self._log.done(self.peer, identity, jobs_left, cleared=cleared)

    def _forget(self) -> None:
        self._over = True
        if self._watching is not None:
            self._watching.cancel()
        self.jobs.clear()
        for task in self._tasks:
            task.cancel()
        self._service.connections.pop(self.number, None)

    def _close_soon(self) -> None:
        closing = asyncio.get_running_loop().create_task(self._stream.close())
        self._service.closing.add(closing)
        closing.add_done_callback(self._service.closing.discard)
