# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking servers what they hold: every question bounded, all servers at once, silence as an answer of its own."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .dialects import Detected
from .errors import ApiError, NoAnswer, NoInstance, OtherMigration, PropolisError, Unreachable
from .instance import NIL_UUID, Instance, MigrationRecord, MigrationStatus, Phase, Side
from .observation import Reach, ServerName, Sighting
from .server import Server

_REFUSED = os.strerror(errno.ECONNREFUSED)


@dataclass(frozen=True)
class Look:
    """One server to look at. ``side`` is its part in the migration ``migration_id``, where it has one.

    Servers of January 2023 tell about a migration only to those who know its id and which end they ask.
    """

    server: ServerName
    side: Side | None = None
    migration_id: str | None = None


class Observer:
    """Looks at servers and remembers their dialects, so that a second look costs as little as possible.

    ``timeout`` (seconds) bounds each single request. A server that hangs costs one such time, not more.
    """

    def __init__(self, *, api: str = "auto", timeout: float = 5.0) -> None:
        self._api = api
        self.timeout = timeout
        self._detected: dict[str, Detected] = {}
        self._lock = threading.Lock()

    def open(self, server: ServerName) -> Server:
        """A server of known dialect; raises the errors of ``errors.py`` when it cannot be asked for it."""
        with self._lock:
            known = self._detected.get(server.address)
        if known is None:
            opened = Server.open(server.address, name=server.name, api=self._api, timeout=self.timeout)
            with self._lock:
                self._detected[server.address] = opened.detected
            return opened
        return Server.open(server.address, name=server.name, api=known.dialect.label, timeout=self.timeout)

    def look(self, wanted: Look) -> Sighting:
        """What one server says now. Never raises for what a server does or fails to do."""
        first = self._try(wanted)
        if first.reach not in (Reach.UNREACHABLE, Reach.STRANGE):
            return first
        # A process that died with our question in its hands, or one of another age than the server that was there
        # before: the second question tells.
        with self._lock:
            self._detected.pop(wanted.server.address, None)
        return self._try(wanted)

    def _try(self, wanted: Look) -> Sighting:
        try:
            return self._ask(wanted)
        except Unreachable as error:
            gone = error.details.get("reason") == _REFUSED
            return _unanswered(wanted, Reach.GONE if gone else Reach.UNREACHABLE, error)
        except NoAnswer as error:
            return _unanswered(wanted, Reach.HANGS, error)
        except PropolisError as error:
            return _unanswered(wanted, Reach.STRANGE, error)

    def look_at_all(self, wanted: Sequence[Look]) -> list[Sighting]:
        """Look at several servers at the same time; the answers stand in the order of the questions."""
        found: list[Sighting | None] = [None] * len(wanted)

        def work(index: int) -> None:
            found[index] = self.look(wanted[index])

        threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(len(wanted))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [sighting for sighting in found if sighting is not None]

    def _ask(self, wanted: Look) -> Sighting:
        at = time.monotonic()
        server = self.open(wanted.server)
        instance = server.instance()
        sighting = Sighting(wanted.server, Reach.ANSWERS, dialect=server.dialect.label, at=at)
        if instance is None:
            status = _migrations(server, wanted)
            return replace(sighting, incoming=status.incoming, outgoing=status.outgoing)
        sighting = self._with_state(server, wanted, instance, sighting)
        return _with_disks(server, sighting)

    @staticmethod
    def _with_state(server: Server, wanted: Look, instance: Instance, sighting: Sighting) -> Sighting:
        """State and migrations from one publication where the dialect has it so: two answers may not fit together."""
        sighting = replace(sighting, instance_id=instance.id, instance_name=instance.name, state=instance.state)
        if server.dialect.monitor_tells_migration:
            try:
                seen = server.monitor()
            except NoInstance:
                seen = None
            if seen is None:
                raise NoAnswer(f"{server} answers GET /instance and does not answer GET /instance/state-monitor.")
            if seen.migration is not None:
                return replace(
                    sighting, state=seen.state, incoming=seen.migration.incoming, outgoing=seen.migration.outgoing
                )
            return replace(sighting, state=seen.state)
        status = _migrations(server, wanted)
        return replace(sighting, incoming=status.incoming, outgoing=status.outgoing)


def _migrations(server: Server, wanted: Look) -> MigrationStatus:
    """The migrations of a server without an instance, or of a dialect whose monitor does not tell them."""
    try:
        status = server.migration_status(wanted.migration_id, wanted.side)
    except OtherMigration:
        # Not ours, and this dialect does not say whose: an id that no migration has stands for it.
        foreign = MigrationRecord(NIL_UUID, Phase.SYNC)
        return MigrationStatus(foreign) if wanted.side is Side.IN else MigrationStatus(outgoing=foreign)
    except ApiError as error:
        if error.status == 404:
            return MigrationStatus()
        raise
    return status or MigrationStatus()


def _with_disks(server: Server, sighting: Sighting) -> Sighting:
    """The disks as well; what keeps us from reading them is a fact of its own and spoils nothing else."""
    if sighting.state is None or sighting.state.is_final:
        return sighting
    try:
        return replace(sighting, disks=tuple(server.disk_sessions()))
    except PropolisError as error:
        return replace(sighting, disks_problem=error.message)


def _unanswered(wanted: Look, reach: Reach, error: PropolisError) -> Sighting:
    return Sighting(wanted.server, reach, error=error.message, at=time.monotonic())
