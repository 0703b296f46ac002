# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps from a new connection to a running session, and what a step out of order leads to.

Seen on the real program: hello is checked for version, then read-only, then encryption; the generation of the promotion
counts, not that of hello; nobody compares it with what is on disk; jobs that come too early are ignored; any other step
out of order closes the connection without a word.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from propolis_lab.protocol.basics import SocketAddress
from propolis_lab.protocol.messages import (
    EncryptedMismatch,
    ExtentVersions,
    ExtentVersionsPlease,
    HereIAm,
    LastFlush,
    Message,
    PromoteToActive,
    ReadOnlyMismatch,
    RegionDefinition,
    RegionInfo,
    RegionInfoPlease,
    UuidMismatch,
    VersionMismatch,
    YesItsMe,
    YouAreNowActive,
)
from propolis_lab.region.extent import ExtentVersion

from .endings import Ending
from .identity import Identity
from .session_log import SessionLog


class Step(enum.Enum):
    """How far a connection has come."""

    START = "Start"
    CONNECTED = "ConnectedToUpstairs"
    PROMOTED = "PromotedToActive"
    INFORMED = "SentRegionInfo"
    RUNNING = "Running"


NEGOTIATING = (HereIAm, PromoteToActive, RegionInfoPlease, ExtentVersionsPlease, LastFlush)
"""The messages that have their place in a negotiation only."""


@dataclass(frozen=True)
class Terms:
    """What a downstairs says about itself. ``answers_version``: whether it says so when a version is the wrong one."""

    version: int
    answers_version: bool
    read_only: bool
    definition: RegionDefinition
    repair_address: SocketAddress


class Negotiation:
    """One connection's negotiation. ``promote`` makes a session active or raises Ending."""

    def __init__(
        self,
        terms: Terms,
        promote: Callable[[Identity], None],
        versions: Callable[[], list[ExtentVersion]],
        log: SessionLog,
    ) -> None:
        self.step = Step.START
        self.identity: Identity | None = None
        """Known from hello on; its generation is the promotion's once there was one."""
        self.last_flush: int | None = None
        """The job id with which a session that comes back goes on."""
        self._terms = terms
        self._promote = promote
        self._versions = versions
        self._log = log

    def take(self, message: Message) -> Message | None:
        """Go one step; gives the answer to it, if it has one. Raises Ending."""
        match message:
            case HereIAm():
                return self._in(Step.START, message)._hello(message)
            case PromoteToActive():
                return self._in(Step.CONNECTED, message)._promotion(message)
            case RegionInfoPlease():
                return self._in(Step.PROMOTED, message)._info()
            case ExtentVersionsPlease():
                return self._in(Step.INFORMED, message)._extent_versions()
            case LastFlush():
                self._in(Step.INFORMED, message)._replay(message)
        return None

    def _in(self, step: Step, message: Message) -> Negotiation:
        if self.step is not step:
            raise Ending(f"{type(message).__name__} came in state {self.step.value}, where it has no place")
        return self

    def _hello(self, hello: HereIAm) -> Message:
        terms = self._terms
        if hello.version != terms.version and terms.version not in hello.alternate_versions:
            if not terms.answers_version:
                raise Ending(f"expected version {terms.version}, got {hello.version}")
            alternates = list(hello.alternate_versions)
            raise Ending(
                f"Required version {terms.version}, Or {alternates} got {hello.version}",
                replies=[VersionMismatch(terms.version)],
            )
        self._log.request(hello.upstairs_id, hello.version)
        if hello.read_only != terms.read_only:
            raise Ending(
                f"the upstairs has read_only {hello.read_only}, this downstairs {terms.read_only}",
                replies=[ReadOnlyMismatch(terms.read_only)],
            )
        if hello.encrypted != terms.definition.encrypted:
            raise Ending(
                f"the upstairs has encryption {hello.encrypted}, this region {terms.definition.encrypted}",
                replies=[EncryptedMismatch(terms.definition.encrypted)],
            )
        self.identity = Identity(hello.upstairs_id, hello.session_id, hello.generation)
        self.step = Step.CONNECTED
        self._log.connected(self.identity, hello.version)
        return YesItsMe(terms.version, terms.repair_address)

    def _promotion(self, wish: PromoteToActive) -> Message:
        assert self.identity is not None  # noqa: S101 - hello came before, or this step has no place
        mismatch = other_id(self.identity, wish.upstairs_id, wish.session_id)
        if mismatch is not None:
            # The real program names the upstairs id here even when the session id is the one that differs.
            raise Ending(
                f"hello came from {self.identity}, the wish to be active from {wish.upstairs_id}, {wish.session_id}",
                replies=[UuidMismatch(self.identity.upstairs_id)],
            )
        self.identity = Identity(wish.upstairs_id, wish.session_id, wish.generation)
        self._promote(self.identity)
        self.step = Step.PROMOTED
        return YouAreNowActive(wish.upstairs_id, wish.session_id, wish.generation)

    def _info(self) -> Message:
        self.step = Step.INFORMED
        return RegionInfo(self._terms.definition)

    def _extent_versions(self) -> Message:
        versions = self._versions()
        self._log.flush_numbers([version.flush for version in versions])
        self._run()
        return ExtentVersions(
            tuple(version.generation for version in versions),
            tuple(version.flush for version in versions),
            tuple(version.dirty for version in versions),
        )

    def _replay(self, message: LastFlush) -> None:
        self.last_flush = message.last_job_id
        self._run()

    def _run(self) -> None:
        self.step = Step.RUNNING
        self._log.negotiated()


def other_id(identity: Identity, upstairs_id: UUID, session_id: UUID) -> UUID | None:
    """The id of ``identity`` that a message should have had and has not; None when both are right."""
    if upstairs_id != identity.upstairs_id:
        return identity.upstairs_id
    return identity.session_id if session_id != identity.session_id else None
