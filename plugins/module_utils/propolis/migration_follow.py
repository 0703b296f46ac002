# SPDX-License-Identifier: GPL-3.0-or-later
"""Following one end of a migration on a thread of its own: long polls where the dialect has them, else short steps."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass

from .errors import ApiError, NoInstance, OtherMigration, PropolisError
from .instance import MigrationRecord, Phase, Side, State
from .migration_timeline import DESTINATION, SOURCE, Timeline
from .observation import ServerName
from .observe import Observer
from .server import Server

# How often an end that cannot be waited for is asked: a destination that has no instance yet, a server that is away,
# and servers of January 2023, whose monitor does not tell about migrations. Phases last 40 ms and more (seen).
STEP = 0.05  # seconds
_AWAY_STEP = 0.5
_FINAL = frozenset({State.DESTROYED, State.FAILED})
# States that say nothing new beside the phases of the migration.
_QUIET = frozenset({State.MIGRATING})


@dataclass(frozen=True)
class Noticed:
    """Something that makes a look at both ends worth while: a final phase or state, an end that fell silent.

    Also a source that pauses its guest: that is the last moment to see its disks before it hands over.
    """

    side: str
    what: str


class Follower:
    """Follows one end until ``stop`` is set or the deadline (monotonic seconds) is over."""

    def __init__(
        self,
        server: ServerName,
        side: Side,
        migration_id: str,
        *,
        observer: Observer,
        timeline: Timeline,
        noticed: queue.SimpleQueue[Noticed],
        deadline: float,
    ) -> None:
        self._server = server
        self._side = side
        self._migration_id = migration_id
        self._observer = observer
        self._timeline = timeline
        self._noticed = noticed
        self._deadline = deadline
        self._stop = threading.Event()
        self._moved = False
        self._silent = False
        self._last: tuple[State | None, MigrationRecord | None] = (None, None)

    @property
    def name(self) -> str:
        return SOURCE if self._side is Side.OUT else DESTINATION

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"follow {self._server}", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set() and time.monotonic() < self._deadline:
            try:
                server = self._observer.open(self._server)
                if server.dialect.monitor_tells_migration:
                    self._watch(server)
                else:
                    self._step(server)
                pause = STEP
            except (NoInstance, OtherMigration):
                self._see(None, None)
                pause = STEP
            except PropolisError:
                # Away, deaf, or going down with odd answers: the next look at both ends tells which.
                self._fall_silent()
                pause = _AWAY_STEP
            self._stop.wait(pause)

    def _watch(self, server: Server) -> None:
        try:
            for seen in server.watch(self._deadline):
                migration = seen.migration.side(self._side) if seen.migration is not None else None
                self._see(seen.state, migration)
                if self._stop.is_set() or seen.state in _FINAL:
                    break
        except ApiError as error:
            # 410: the instance has ended and will publish no more. What it ended as was seen before, or is read next.
            if error.status != 410:
                raise

    def _step(self, server: Server) -> None:
        instance = server.instance()
        status = server.migration_status(self._migration_id, self._side)
        record = status.side(self._side) if status is not None else None
        self._see(instance.state if instance is not None else None, record)

    def _see(self, state: State | None, migration: MigrationRecord | None) -> None:
        """Take down what is new. Only the records of our migration count; an end may remember older ones."""
        moment = time.monotonic()
        ours = migration if migration is not None and migration.id == self._migration_id else None
        self._silent = False
        state_before, ours_before = self._last
        if (state, ours) == self._last:
            return
        self._last = (state, ours)
        if ours is not None:
            self._moved = True
        if ours is not None and ours != ours_before:
            self._timeline.add(self.name, ours.phase.value, moment)
            if ours.phase.is_final or (self._side is Side.OUT and ours.phase is Phase.PAUSE):
                self._noticed.put(Noticed(self.name, ours.phase.value))
        if state is None:
            if self._moved:
                self._noticed.put(Noticed(self.name, "gone"))
            return
        if state is state_before:
            return
        # Before it moved, a source simply runs, and what a destination shows is of an earlier instance.
        if self._moved and state not in _QUIET and self._timeline.add(self.name, state.value, moment):
            self._noticed.put(Noticed(self.name, state.value))
        if self._moved and state in _FINAL:
            self.stop()

    def _fall_silent(self) -> None:
        if not self._silent:
            self._silent = True
            self._noticed.put(Noticed(self.name, "silent"))
