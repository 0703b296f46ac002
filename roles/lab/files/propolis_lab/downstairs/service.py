# SPDX-License-Identifier: GPL-3.0-or-later
"""What all connections of one downstairs share: the region, who is active, the repairs, the options and the log."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import TYPE_CHECKING

from propolis_lab.protocol.basics import SocketAddress
from propolis_lab.protocol.faults import Faults
from propolis_lab.protocol.messages import RegionDefinition
from propolis_lab.region import Age, Region

from .endings import Ending
from .identity import Identity
from .logs import Logger
from .negotiation import Terms
from .options import Mode, RunOptions
from .repair import Repairs
from .session_log import SessionLog
from .sessions import Fence, Sessions
from .version import MESSAGE_VERSIONS

if TYPE_CHECKING:
    from .connection import Connection

REPAIR_PORT_OFFSET = 4000


class Service:
    """One downstairs at work."""

    def __init__(self, region: Region, options: RunOptions, faults: Faults, log: Logger) -> None:
        self.region = region
        self.options = options
        self.faults = faults
        self.log = log
        self.session_log = SessionLog(log, options.age, "read-only" if self.read_only else "read-write")
        self.repairs = Repairs(region, log)
        self.connections: dict[int, Connection] = {}
        """The connections that are open, by their numbers, which are never used again."""
        self.closing: set[asyncio.Task[None]] = set()
        """Connections on their way out, which still send their last words."""
        self.sessions = Sessions(read_only=self.read_only, fence=_fence(options), age=options.age)
        self.terms = Terms(
            version=MESSAGE_VERSIONS[options.age],
            answers_version=options.age is Age.TODAY,
            read_only=self.read_only,
            definition=_as_sent(region),
            repair_address=SocketAddress(
                ip_address(options.advertise or options.address), options.port + REPAIR_PORT_OFFSET
            ),
        )

    @property
    def read_only(self) -> bool:
        """Whether upstairs may only read."""
        return self.options.mode is Mode.READ_ONLY

    def promote(self, connection: Connection, identity: Identity) -> None:
        """Make a session active and put the one out that it takes over from. Raises Ending when it is refused."""
        promotion = self.sessions.promote(connection.number, identity)
        if promotion.live is not None and not self.read_only:
            self.session_log.attempt(promotion.live.identity, identity)
        if promotion.refused is not None:
            raise Ending(promotion.refused)
        if promotion.live is not None:
            self.session_log.taken_over(promotion.live.identity, identity)
            displaced = self.connections.get(promotion.live.connection)
            if displaced is not None:
                displaced.put_out(identity)
        if not self.read_only:
            self.region.reopen_all()
        self.session_log.active(identity)


def _fence(options: RunOptions) -> Fence:
    if options.strict_fence:
        return Fence.BY_CONNECTION
    return Fence.BY_UPSTAIRS_ID if options.age is Age.TODAY else Fence.BY_CLEAN_END


def _as_sent(region: Region) -> RegionDefinition:
    definition = region.definition
    return RegionDefinition(
        definition.block_size,
        definition.blocks_per_extent,
        definition.block_size.bit_length() - 1,
        definition.extent_count,
        definition.uuid,
        definition.encrypted,
    )
