# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue between the API and the state driver of one instance: what is taken, ignored or refused, and in which
situation.

The refusals and their words were seen on the real program.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from uuid import UUID

from propolis_lab.server.log import Log


class Refusal(Enum):
    """Why a request is not taken; the value is the sentence for the client."""

    NOT_ACTIVE = "Operation requires an active instance"
    STARTING = "Instance is currently starting"
    MIGRATION_SOURCE = "Operation cannot be performed on a migration source"
    ALREADY_SOURCE = "Instance is already a migration source"
    STOPPING = "Instance is preparing to stop"
    HALTED = "Instance has already halted"
    MIGRATED_OUT = "Instance has migrated out and is being torn down"
    FAILED = "Instance failed to start or halted due to a failure"


class RefusedError(Exception):
    """The request is not taken; `log_name` is what the real program's log calls the reason."""

    def __init__(self, reason: Refusal, log_name: str) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.log_name = log_name


class Situation(Enum):
    """Where the instance is, as far as the queue must know."""

    NOT_STARTED = auto()
    STARTING = auto()
    RUNNING = auto()
    HALTED = auto()
    MIGRATED_OUT = auto()
    FAILED = auto()


@dataclass(frozen=True)
class StateRequest:
    """`Start`, `Stop` or `Reboot`."""

    action: str


_LOG_NAMES = {
    Refusal.NOT_ACTIVE: "InstanceNotActive",
    Refusal.STARTING: "StillStarting",
    Refusal.MIGRATION_SOURCE: "InvalidRequestForMigrationSource",
    Refusal.ALREADY_SOURCE: "AlreadyMigrationSource",
    Refusal.STOPPING: "HaltPending",
    Refusal.HALTED: "Halted",
    Refusal.MIGRATED_OUT: "MigratedOut",
    Refusal.FAILED: "InstanceFailed",
}
_ENDED = {
    Situation.HALTED: Refusal.HALTED,
    Situation.MIGRATED_OUT: Refusal.MIGRATED_OUT,
    Situation.FAILED: Refusal.FAILED,
}


class RequestQueue:
    """Requests in the order in which they were taken; `Item` objects of other kinds pass through `put_other`."""

    def __init__(self, situation: Situation, log: Log) -> None:
        self.situation = situation
        self._log = log.child(component="request_queue")
        self._items: deque[object] = deque()
        self._stop_asked = False
        self._reboot_asked = False
        self._migrating_out = False
        self._news = asyncio.Event()

    def _refuse(self, reason: Refusal, request: str) -> RefusedError:
        self._log.info("denied external request", reason=reason.value, request=request)
        return RefusedError(reason, _LOG_NAMES[reason])

    def _take(self, item: object, request: str) -> None:
        self._log.info("enqueued external request", request=request)
        self._items.append(item)
        self._news.set()

    def _ignore(self, request: str) -> None:
        self._log.info("ignored external request", request=request)

    def start(self) -> None:
        request = "State(Start)"
        if self.situation in _ENDED:
            raise self._refuse(_ENDED[self.situation], request)
        if self._stop_asked:
            raise self._refuse(Refusal.STOPPING, request)
        if self.situation is not Situation.NOT_STARTED:
            self._ignore(request)
            return
        self.situation = Situation.STARTING
        self._take(StateRequest("Start"), request)

    def stop(self) -> None:
        request = "State(Stop)"
        if self.situation in _ENDED or self._stop_asked:
            self._ignore(request)
            return
        self._stop_asked = True
        self._take(StateRequest("Stop"), request)

    def reboot(self) -> None:
        request = "State(Reboot)"
        if self.situation in _ENDED:
            raise self._refuse(_ENDED[self.situation], request)
        if self._migrating_out:
            raise self._refuse(Refusal.MIGRATION_SOURCE, request)
        if self._stop_asked:
            raise self._refuse(Refusal.STOPPING, request)
        if self.situation is Situation.NOT_STARTED:
            raise self._refuse(Refusal.NOT_ACTIVE, request)
        if self.situation is Situation.STARTING:
            raise self._refuse(Refusal.STARTING, request)
        if self._reboot_asked:
            self._ignore(request)
            return
        self._reboot_asked = True
        self._take(StateRequest("Reboot"), request)

    def migrate_out(self, item: object, migration_id: UUID) -> None:
        """A destination wants this instance; `item` goes to the driver."""
        request = f"State(MigrateAsSource {{ migration_id: {migration_id} }})"
        if self.situation in _ENDED:
            raise self._refuse(_ENDED[self.situation], request)
        if self._migrating_out:
            raise self._refuse(Refusal.ALREADY_SOURCE, request)
        if self._stop_asked:
            raise self._refuse(Refusal.STOPPING, request)
        if self.situation is Situation.NOT_STARTED:
            raise self._refuse(Refusal.NOT_ACTIVE, request)
        self._migrating_out = True
        self._take(item, request)

    def put_other(self, item: object, request: str) -> None:
        """Something for the driver that does not change the state of the instance."""
        if self.situation in _ENDED:
            raise self._refuse(_ENDED[self.situation], request)
        self._take(item, request)

    def from_guest(self, item: object) -> None:
        """What the guest did itself comes before what the API asks for."""
        self._items.appendleft(item)
        self._news.set()

    def put_back(self, item: object) -> None:
        """The driver cannot handle it yet."""
        self._items.appendleft(item)
        self._news.set()

    def started(self, *, succeeded: bool) -> None:
        self._log.info(
            "queue notified of request completion", request=f"Start {{ succeeded: {str(succeeded).lower()} }}"
        )
        self.situation = Situation.RUNNING if succeeded else Situation.FAILED

    def rebooted(self) -> None:
        self._log.info("queue notified of request completion", request="Reboot")
        self._reboot_asked = False

    def migration_failed(self) -> None:
        self._log.info("queue notified of request completion", request="MigrationOut { succeeded: false }")
        self._migrating_out = False

    def stopped(self) -> None:
        """A stop that was asked for is done."""
        self._log.info("queue notified of request completion", request="Stop")
        self.situation = Situation.HALTED

    def ended(self, situation: Situation) -> None:
        """The VM has stopped by itself, has left or has failed."""
        self._log.info("queue notified that VM has stopped")
        self.situation = situation

    def take(self) -> object | None:
        """The next request, or None."""
        return self._items.popleft() if self._items else None

    async def wait(self) -> None:
        """Returns as soon as there is a request to take."""
        while not self._items:
            self._news.clear()
            await self._news.wait()

    def drain(self) -> list[object]:
        """What nobody will handle any more."""
        left = list(self._items)
        self._items.clear()
        return left
