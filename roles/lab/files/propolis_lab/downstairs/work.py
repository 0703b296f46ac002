# SPDX-License-Identifier: GPL-3.0-or-later
"""Does single jobs on the region: what is read, written and flushed, and which reply each job gets.

A real downstairs only ever acknowledges success (seen). Where it aborts or is wedged, an Ending says so.
"""

from __future__ import annotations

from collections.abc import Sequence

from propolis_lab.protocol.basics import EMPTY, EncryptedContext, ReadContexts, UnencryptedContext
from propolis_lab.protocol.codec import MAX_FRAME
from propolis_lab.protocol.messages import (
    Barrier,
    BarrierAck,
    ClosedExtent,
    ExtentLiveAckId,
    ExtentLiveClose,
    ExtentLiveCloseAck,
    ExtentLiveFlushClose,
    ExtentLiveNoOp,
    ExtentLiveReopen,
    Flush,
    FlushAck,
    JobRequest,
    Message,
    ReadRequest,
    ReadResponse,
    Write,
    WriteAck,
    WriteUnwritten,
    WriteUnwrittenAck,
)
from propolis_lab.region import (
    BlockContext,
    ExtentClosed,
    HashMismatch,
    OutOfBounds,
    PlainContexts,
    Region,
    RegionError,
)

from .endings import ABORTS, WEDGES, Ending
from .logs import Logger

_MOST_READ = MAX_FRAME - 1024 * 1024


def perform(job: JobRequest, region: Region, log: Logger) -> Message:
    """Do one job and give its reply. Raises Ending when there is none."""
    try:
        return _perform(job, region, log)
    except HashMismatch as error:
        raise Ending(f"job {job.job_id}: {error}", really=WEDGES) from error
    except (OutOfBounds, ExtentClosed) as error:
        raise Ending(f"job {job.job_id}: {error}", really=ABORTS) from error
    except (RegionError, OSError) as error:
        raise Ending(f"job {job.job_id} failed: {error}", really=WEDGES) from error


def _perform(job: JobRequest, region: Region, log: Logger) -> Message:
    ids = (job.upstairs_id, job.session_id, job.job_id)
    match job:
        case Write():
            _write(job, region, only_unwritten=False)
            return WriteAck(*ids, None)
        case ReadRequest():
            contexts, data = _read(job, region)
            return ReadResponse(*ids, contexts, data)
        case Flush():
            _flush(job, region, log)
            return FlushAck(*ids, None)
        case Barrier():
            return BarrierAck(*ids, None)
        case WriteUnwritten():
            _write(job, region, only_unwritten=True)
            return WriteUnwrittenAck(*ids, None)
    return _perform_live(job, region)


def _perform_live(job: JobRequest, region: Region) -> Message:
    ids = (job.upstairs_id, job.session_id, job.job_id)
    match job:
        case ExtentLiveClose() | ExtentLiveFlushClose():
            return ExtentLiveCloseAck(*ids, _close(job, region))
        case ExtentLiveReopen():
            reopen(region, job.extent_id)
        case ExtentLiveNoOp():
            pass
        case _:
            raise TypeError(f"{type(job).__name__} is not a job that is done at once")
    return ExtentLiveAckId(*ids, None)


def _write(job: Write | WriteUnwritten, region: Region, *, only_unwritten: bool) -> None:
    size = region.definition.block_size
    blocks, rest = divmod(len(job.data), size)
    if rest:
        raise Ending(f"job {job.job_id}: {len(job.data)} bytes of data are not a multiple of the block size {size}")
    if blocks != len(job.contexts):
        raise Ending(f"job {job.job_id}: {blocks} blocks of data came with {len(job.contexts)} contexts")
    region.write(job.start, job.contexts, memoryview(job.data), only_unwritten=only_unwritten)


def _read(job: ReadRequest, region: Region) -> tuple[ReadContexts, bytes]:
    if job.count * region.definition.block_size > _MOST_READ:
        raise Ending(
            f"job {job.job_id} reads {job.count} blocks, more than one frame can carry",
            really="the process sends a frame that no upstairs accepts",
        )
    contexts, data = region.read(job.start, job.count)
    return _as_sent(contexts), data


def _as_sent(contexts: Sequence[BlockContext | None]) -> ReadContexts:
    if isinstance(contexts, PlainContexts):
        return PlainContexts(contexts.packed, UnencryptedContext)
    return tuple(
        [
            EMPTY
            if context is None
            else UnencryptedContext(context.hash)
            if context.encryption is None
            else EncryptedContext(*context.encryption)
            for context in contexts
        ]
    )


def _flush(job: Flush, region: Region, log: Logger) -> None:
    count = region.definition.extent_count
    if job.extent_limit is not None and job.extent_limit > count:
        raise Ending(f"job {job.job_id}: the extent limit {job.extent_limit} is above {count}", really=WEDGES)
    if job.snapshot_details is not None:
        if region.read_only:
            raise Ending(f"job {job.job_id}: a snapshot of a read-only region", really=WEDGES)
        # As a build of the real program for a host without ZFS: noted, and otherwise ignored.
        log.info(f"Snapshot flush received, name {job.snapshot_details.snapshot_name}: there is no ZFS here")
    if not region.read_only:
        region.flush(job.flush_number, job.generation, extent_limit=job.extent_limit)
        return
    within = region.versions()[: None if job.extent_limit is None else job.extent_limit + 1]
    for extent, version in enumerate(within):
        if version.dirty:
            raise Ending(f"read-only extent {extent} has dirty bit set!", really=WEDGES)


def _close(job: ExtentLiveClose | ExtentLiveFlushClose, region: Region) -> ClosedExtent:
    if isinstance(job, ExtentLiveFlushClose):
        must_be_open(region, job.extent_id)
        region.extent_flush(job.extent_id, job.flush_number, job.generation)
    return close(region, job.extent_id)


def close(region: Region, extent: int) -> ClosedExtent:
    """Close an extent; a real downstairs aborts when it is closed (seen)."""
    must_be_open(region, extent)
    version = region.close_extent(extent)
    return ClosedExtent(version.generation, version.flush, version.dirty)


def reopen(region: Region, extent: int) -> None:
    """Open a closed extent; a real downstairs aborts when it is open (seen)."""
    if not region.is_closed(extent):
        raise Ending(f"extent {extent} is to be opened and is open", really=ABORTS)
    region.reopen_extent(extent)


def must_be_open(region: Region, extent: int) -> None:
    """Raise Ending when an extent that must be open is closed."""
    if region.is_closed(extent):
        raise Ending(f"extent {extent} is to be closed and is closed", really=ABORTS)
