# SPDX-License-Identifier: GPL-3.0-or-later
"""What messages have in common, and the structs that travel inside them.

A message is a frozen dataclass whose fields stand in the order of the wire; inherited fields come before its own. Tags,
fields and directions were read in the real program's source; most were seen on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeAlias
from uuid import UUID

from .basics import U32, U64, Mark
from .errors import CrucibleError

Sender: TypeAlias = Literal["upstairs", "downstairs", "nobody"]
Done: TypeAlias = Annotated[CrucibleError | None, Mark.RESULT]
"""None when the job succeeded."""

MESSAGES: dict[int, type[Message]] = {}
"""Every message class by its tag."""


@dataclass(frozen=True)
class Message:
    """Base of all messages: ``tag`` is the number after the frame's length, ``sender`` the side that sends it."""

    tag: ClassVar[int] = -1
    sender: ClassVar[Sender] = "nobody"

    def __init_subclass__(cls, tag: int | None = None, sender: Sender = "nobody", **others: Any) -> None:
        super().__init_subclass__(**others)
        if tag is not None:
            cls.tag, cls.sender = tag, sender
            MESSAGES[tag] = cls


@dataclass(frozen=True)
class SessionMessage(Message):
    """A message of one session of one upstairs."""

    upstairs_id: UUID
    session_id: UUID


@dataclass(frozen=True)
class JobMessage(SessionMessage):
    """A message about one job."""

    job_id: U64


@dataclass(frozen=True)
class JobRequest(JobMessage):
    """A job that runs when the jobs it depends on are complete on this downstairs, in this connection."""

    dependencies: tuple[U64, ...]


@dataclass(frozen=True)
class JobDone(JobMessage):
    """The reply to a job that gives nothing but success or an error."""

    result: Done


@dataclass(frozen=True)
class RepairMessage(Message):
    """A step of a reconciliation before activation; these carry no ids of upstairs or session."""

    repair_id: U64


@dataclass(frozen=True)
class RegionDefinition:
    """The geometry of a region: block size in bytes and as a power of two, blocks per extent, number of extents."""

    block_size: U64
    blocks_per_extent: U64
    block_shift: U32
    extent_count: U32
    uuid: UUID
    encrypted: bool
    database_read_version: U64 = 1
    database_write_version: U64 = 1


@dataclass(frozen=True)
class SnapshotDetails:
    """A snapshot that a flush asks for."""

    snapshot_name: str


@dataclass(frozen=True)
class ClosedExtent:
    """What an extent says about itself once it is closed."""

    generation: U64
    flush_number: U64
    dirty: bool
