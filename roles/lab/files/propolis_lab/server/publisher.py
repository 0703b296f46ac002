# SPDX-License-Identifier: GPL-3.0-or-later
"""The published state of one instance: a generation number, the instance's state and that of its migrations.

Every publication raises the generation by one, repeated states included; whoever waits for a generation gets the
latest.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

from propolis_lab.server.history import History
from propolis_lab.server.log import Log, Value


class InstanceState(StrEnum):
    """The states that the lab publishes, in the words of the API."""

    CREATING = "Creating"
    STARTING = "Starting"
    RUNNING = "Running"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    REBOOTING = "Rebooting"
    MIGRATING = "Migrating"
    FAILED = "Failed"
    DESTROYED = "Destroyed"


class MigrationState(StrEnum):
    """Phases of a migration, in the words of the API; ARCH exists in January 2023 only."""

    SYNC = "Sync"
    RAM_PUSH = "RamPush"
    PAUSE = "Pause"
    RAM_PUSH_DIRTY = "RamPushDirty"
    DEVICE = "Device"
    ARCH = "Arch"
    RAM_PULL = "RamPull"
    SERVER = "Server"
    FINISH = "Finish"
    ERROR = "Error"


@dataclass(frozen=True)
class MigrationStatus:
    """One migration, in or out."""

    id: UUID
    state: MigrationState

    def to_json(self) -> dict[str, str]:
        return {"id": str(self.id), "state": str(self.state)}

    def __str__(self) -> str:
        return f"InstanceMigrationStatus {{ id: {self.id}, state: {self.state} }}"


@dataclass(frozen=True)
class Published:
    """One publication."""

    generation: int
    state: InstanceState
    migration_in: MigrationStatus | None = None
    migration_out: MigrationStatus | None = None

    def migration_json(self) -> dict[str, Any]:
        return {
            "migration_in": self.migration_in.to_json() if self.migration_in else None,
            "migration_out": self.migration_out.to_json() if self.migration_out else None,
        }


class NeverPublishedError(Exception):
    """The generation waited for cannot come: the instance is gone."""


class Publisher:
    """Publishes, and lets others wait. After `close` nothing is published any more.

    In January 2023 generations begin with 0, and migrations are not part of what is published.
    """

    def __init__(
        self, instance: UUID, state: InstanceState, log: Log, history: History, *, of_2023: bool = False
    ) -> None:
        self._with_migrations = not of_2023
        self._instance = instance
        self._log = log
        self._history = history
        self._news = asyncio.Event()
        self._closed = False
        self.current = Published(0 if of_2023 else 1, state)

    def begin(self) -> None:
        """The instance exists from now on: its first state goes into the history."""
        self._record()

    def publish(
        self,
        state: InstanceState | None = None,
        *,
        migration_in: MigrationStatus | None = None,
        migration_out: MigrationStatus | None = None,
    ) -> None:
        """A new generation with the given changes; what is not given stays."""
        self.current = replace(
            self.current,
            generation=self.current.generation + 1,
            state=state or self.current.state,
            migration_in=migration_in or self.current.migration_in,
            migration_out=migration_out or self.current.migration_out,
        )
        now = self.current
        shown: dict[str, Value] = {}
        if self._with_migrations:
            into = f"Some({now.migration_in})" if now.migration_in else "None"
            out = f"Some({now.migration_out})" if now.migration_out else "None"
            shown["migration"] = f"InstanceMigrateStatusResponse {{ migration_in: {into}, migration_out: {out} }}"
        self._log.info("publishing new instance state", **shown, state=str(now.state), gen=now.generation)
        self._record()
        self._wake()

    def _record(self) -> None:
        now = self.current
        self._history.record(
            "published",
            self._instance,
            generation=now.generation,
            state=str(now.state),
            migration_in=now.migration_in.to_json() if now.migration_in else None,
            migration_out=now.migration_out.to_json() if now.migration_out else None,
        )

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def close(self) -> None:
        """Nothing more will come; those who wait for more are told so."""
        self._closed = True
        self._wake()

    async def reached(self, generation: int) -> Published:
        """The latest publication once its generation is at least the given one; raises NeverPublishedError."""
        while self.current.generation < generation:
            if self._closed:
                raise NeverPublishedError
            await self._news.wait()
        return self.current
