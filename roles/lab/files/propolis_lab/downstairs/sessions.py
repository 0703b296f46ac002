# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sessions are active: the rules by which a downstairs lets one upstairs in and puts another one out.

A read-write downstairs has at most one active session; a read-only one has one for each upstairs id. All rules were
seen on the real program, its fault too: it finds the entry of a connection that ends by the upstairs id, and so the end
of any connection that said hello removes the entry of a live session with the same upstairs id.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from uuid import UUID

from propolis_lab.region.age import Age

from .identity import Identity


class Fence(enum.Enum):
    """How the end of a connection finds the active session that ends with it."""

    BY_UPSTAIRS_ID = "as today's program: by upstairs id, whoever's connection ends"
    BY_CLEAN_END = "as the program of 2023: the very session, but only when the upstairs closes in an orderly way"
    BY_CONNECTION = "the very session, always: what a sound program does"


@dataclass(frozen=True, slots=True)
class Active:
    """An active session and the number of its connection."""

    connection: int
    identity: Identity


@dataclass(frozen=True, slots=True)
class Promotion:
    """What became of a request to be active.

    ``refused`` is the sentence for the log, None when the promotion is granted; ``live`` is the rival that was active
    before, which a granted promotion has put out.
    """

    refused: str | None
    live: Active | None


class Sessions:
    """The table of active sessions of one downstairs."""

    def __init__(self, *, read_only: bool, fence: Fence, age: Age) -> None:
        self._read_only = read_only
        self._fence = fence
        self._age = age
        self._active: dict[UUID, Active] = {}

    @property
    def active(self) -> tuple[Active, ...]:
        """All active sessions."""
        return tuple(self._active.values())

    def promote(self, connection: int, identity: Identity) -> Promotion:
        """Make a session active if the rules allow it."""
        if self._read_only:
            live = self._active.get(identity.upstairs_id)
        else:
            live = next(iter(self._active.values()), None)
            if live is not None:
                refused = self._refusal(live.identity, identity)
                if refused is not None:
                    return Promotion(refused, live)
                del self._active[live.identity.upstairs_id]
        self._active[identity.upstairs_id] = Active(connection, identity)
        return Promotion(None, live)

    def ended(self, connection: int, identity: Identity, *, clean: bool) -> bool:
        """A connection that said hello has ended; gives whether an active session was removed for it.

        ``clean``: the upstairs closed it in an orderly way. Not to be called for a connection that was put out by
        another one's promotion.
        """
        entry = self._active.get(identity.upstairs_id)
        if entry is None:
            return False
        ends = {
            Fence.BY_UPSTAIRS_ID: True,
            Fence.BY_CLEAN_END: clean and entry.identity == identity,
            Fence.BY_CONNECTION: entry.connection == connection,
        }[self._fence]
        if ends:
            del self._active[identity.upstairs_id]
        return ends

    def _refusal(self, live: Identity, new: Identity) -> str | None:
        if live.generation > new.generation:
            return f"Current gen {live.generation} is > requested gen of {new.generation}"
        if live.generation == new.generation and live != new:
            return f"Same gen, but UUIDs {live.text(self._age)} don't match {new.text(self._age)}"
        return None
