# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages of reconciliation before activation (11 to 16) and of live repair (17 to 24)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .base import ClosedExtent, JobDone, JobMessage, JobRequest, RepairMessage
from .basics import U8, U32, U64, Mark, SocketAddress
from .errors import CrucibleError


@dataclass(frozen=True)
class ExtentClose(RepairMessage, tag=11, sender="upstairs"):
    """Close the extent's file."""

    extent_id: U32


@dataclass(frozen=True)
class ExtentReopen(RepairMessage, tag=12, sender="upstairs"):
    """Open a closed extent again."""

    extent_id: U32


@dataclass(frozen=True)
class ExtentFlush(RepairMessage, tag=13, sender="upstairs"):
    """Flush one extent, with these numbers if it is dirty."""

    extent_id: U32
    client_id: U8
    flush_number: U64
    generation: U64


@dataclass(frozen=True)
class ExtentRepair(RepairMessage, tag=14, sender="upstairs"):
    """Replace the closed extent by the copy that the source serves."""

    extent_id: U32
    source_client_id: U8
    source_repair_address: SocketAddress
    dest_clients: tuple[U8, ...]


@dataclass(frozen=True)
class RepairAckId(RepairMessage, tag=15, sender="downstairs"):
    """The step of this number is done."""


@dataclass(frozen=True)
class ExtentError(RepairMessage, tag=16, sender="downstairs"):
    """The step of this number failed."""

    extent_id: U32
    error: CrucibleError


@dataclass(frozen=True)
class ExtentLiveClose(JobRequest, tag=17, sender="upstairs"):
    """Close the extent that is about to be replaced."""

    extent_id: U32


@dataclass(frozen=True)
class ExtentLiveFlushClose(JobRequest, tag=18, sender="upstairs"):
    """Flush, then close, an extent of a good replica."""

    extent_id: U32
    flush_number: U64
    generation: U64


@dataclass(frozen=True)
class ExtentLiveRepair(JobRequest, tag=19, sender="upstairs"):
    """Replace the closed extent by the copy that the source serves."""

    extent_id: U32
    source_client_id: U8
    source_repair_address: SocketAddress


@dataclass(frozen=True)
class ExtentLiveReopen(JobRequest, tag=20, sender="upstairs"):
    """Open the closed extent again."""

    extent_id: U32


@dataclass(frozen=True)
class ExtentLiveNoOp(JobRequest, tag=21, sender="upstairs"):
    """Do nothing, in its turn."""


@dataclass(frozen=True)
class ExtentLiveCloseAck(JobMessage, tag=22, sender="downstairs"):
    """The extent is closed, and this is what it says."""

    result: Annotated[CrucibleError | ClosedExtent, Mark.RESULT]


@dataclass(frozen=True)
class ExtentLiveRepairAckId(JobDone, tag=23, sender="downstairs"):
    """Reply to ExtentLiveRepair."""


@dataclass(frozen=True)
class ExtentLiveAckId(JobDone, tag=24, sender="downstairs"):
    """Reply to ExtentLiveReopen and ExtentLiveNoOp."""
