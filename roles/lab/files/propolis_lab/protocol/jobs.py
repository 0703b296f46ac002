# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages that read, write and flush blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .base import JobDone, JobMessage, JobRequest, SnapshotDetails
from .basics import U32, U64, BlockContexts, Bulk, Mark, ReadContexts
from .errors import CrucibleError


@dataclass(frozen=True)
class Write(JobRequest, tag=30, sender="upstairs"):
    """Write whole blocks from absolute block ``start`` on, one context per block."""

    start: U64
    contexts: BlockContexts
    data: Bulk


@dataclass(frozen=True)
class WriteAck(JobDone, tag=31, sender="downstairs"):
    """Reply to Write."""


@dataclass(frozen=True)
class Flush(JobRequest, tag=32, sender="upstairs"):
    """Make what was written durable, up to and with extent ``extent_limit`` if there is one."""

    flush_number: U64
    generation: U64
    snapshot_details: SnapshotDetails | None = None
    extent_limit: U32 | None = None


@dataclass(frozen=True)
class FlushAck(JobDone, tag=33, sender="downstairs"):
    """Reply to Flush."""


@dataclass(frozen=True)
class Barrier(JobRequest, tag=34, sender="upstairs"):
    """Wait for everything before, and forget it."""


@dataclass(frozen=True)
class BarrierAck(JobDone, tag=35, sender="downstairs"):
    """Reply to Barrier."""


@dataclass(frozen=True)
class ReadRequest(JobRequest, tag=36, sender="upstairs"):
    """Read ``count`` blocks from absolute block ``start`` on."""

    start: U64
    count: U64


@dataclass(frozen=True)
class ReadResponse(JobMessage, tag=37, sender="downstairs"):
    """The contexts of the blocks, and their data."""

    blocks: Annotated[CrucibleError | ReadContexts, Mark.RESULT]
    data: Bulk


@dataclass(frozen=True)
class WriteUnwritten(JobRequest, tag=38, sender="upstairs"):
    """As Write, but only the blocks that were never written."""

    start: U64
    contexts: BlockContexts
    data: Bulk


@dataclass(frozen=True)
class WriteUnwrittenAck(JobDone, tag=39, sender="downstairs"):
    """Reply to WriteUnwritten."""


@dataclass(frozen=True)
class ErrorReport(JobMessage, tag=40, sender="downstairs"):
    """A job failed; a real downstairs tries it again."""

    error: CrucibleError
