# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages with which a connection begins and ends, and its pings."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from .base import Message, RegionDefinition, SessionMessage
from .basics import U32, U64, SocketAddress


@dataclass(frozen=True)
class HereIAm(Message, tag=0, sender="upstairs"):
    """The first message of a connection."""

    version: U32
    upstairs_id: UUID
    session_id: UUID
    generation: U64
    read_only: bool
    encrypted: bool
    alternate_versions: tuple[U32, ...] = ()


@dataclass(frozen=True)
class YesItsMe(Message, tag=1, sender="downstairs"):
    """The version fits; repairs are served at this address."""

    version: U32
    repair_addr: SocketAddress


@dataclass(frozen=True)
class VersionMismatch(Message, tag=2, sender="downstairs"):
    """The version that the downstairs speaks; it closes the connection."""

    version: U32


@dataclass(frozen=True)
class ReadOnlyMismatch(Message, tag=3, sender="downstairs"):
    """``expected`` is what the downstairs is; it closes the connection."""

    expected: bool


@dataclass(frozen=True)
class EncryptedMismatch(Message, tag=4, sender="downstairs"):
    """``expected`` is what the downstairs is; it closes the connection."""

    expected: bool


@dataclass(frozen=True)
class PromoteToActive(SessionMessage, tag=5, sender="upstairs"):
    """Ask to become the one active session."""

    generation: U64


@dataclass(frozen=True)
class YouAreNowActive(SessionMessage, tag=6, sender="downstairs"):
    """The promotion is granted; everything is echoed."""

    generation: U64


@dataclass(frozen=True)
class YouAreNoLongerActive(Message, tag=7, sender="downstairs"):
    """Another session took over; the connection is closed."""

    new_upstairs_id: UUID
    new_session_id: UUID
    new_generation: U64


@dataclass(frozen=True)
class UuidMismatch(Message, tag=8, sender="downstairs"):
    """The id that the connection has, when a message came with another one."""

    expected_id: UUID


@dataclass(frozen=True)
class Ruok(Message, tag=9, sender="upstairs"):
    """A ping."""


@dataclass(frozen=True)
class Imok(Message, tag=10, sender="downstairs"):
    """The answer to a ping."""


@dataclass(frozen=True)
class RegionInfoPlease(Message, tag=25, sender="upstairs"):
    """Ask for the geometry."""


@dataclass(frozen=True)
class RegionInfo(Message, tag=26, sender="downstairs"):
    """The geometry."""

    definition: RegionDefinition


@dataclass(frozen=True)
class ExtentVersionsPlease(Message, tag=27, sender="upstairs"):
    """Ask for the numbers of all extents."""


@dataclass(frozen=True)
class ExtentVersions(Message, tag=28, sender="downstairs"):
    """The numbers of all extents, one entry per extent in each."""

    generations: tuple[U64, ...]
    flush_numbers: tuple[U64, ...]
    dirty: tuple[bool, ...]


@dataclass(frozen=True)
class LastFlush(Message, tag=29, sender="upstairs"):
    """Replay: the job id of the last flush that this downstairs acknowledged. It is not answered."""

    last_job_id: U64 | None


@dataclass(frozen=True)
class Unknown(Message, tag=41):
    """A message of another version. Never sent."""

    number: U32
    payload: bytes
