# SPDX-License-Identifier: GPL-3.0-or-later
"""One propolis server that we talk to: its client and its dialect together, in the words of the domain."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlencode

from .address import Address
from .client import NO_BODY, Answer, Client
from .dialects import Detected, Dialect, MigrationTarget, Request, choose, detect
from .errors import ApiError, NoAnswer, NoInstance, NoMigration
from .instance import (
    Change,
    DiskSession,
    DiskStatus,
    Instance,
    MigrationStatus,
    Observation,
    Side,
    Spec,
    SpecDisk,
    disk_session,
)
from .redaction import redact
from .spec_description import Description

# How long one long poll is held. Shorter than what firewalls take for a dead connection; after each one a plain
# request shows whether the server is silent or deaf (a real one was seen to stop answering everything).
LONG_POLL = 20.0  # seconds
_GENERATION_START = 0


class Server:
    """A server of known dialect. Every method raises the errors of ``errors.py``, with the refusals explained."""

    def __init__(self, client: Client, detected: Detected) -> None:
        self.client = client
        self.detected = detected
        self.client.api_version = detected.dialect.api_version

    @classmethod
    def open(
        cls, address: str | Address, *, name: str | None = None, api: str = "auto", timeout: float = 10.0
    ) -> Server:
        """Get ready to talk to ``address``; with ``api`` auto the server is asked for its dialect first.

        ``timeout`` (seconds) bounds each request of this object that has no timeout of its own.
        """
        where = address if isinstance(address, Address) else Address.parse(address)
        client = Client(where, name=name, timeout=timeout)
        chosen = choose(api)
        return cls(client, Detected(chosen, "the user said so") if chosen else detect(client))

    def __str__(self) -> str:
        return str(self.client)

    @property
    def address(self) -> Address:
        return self.client.address

    @property
    def dialect(self) -> Dialect:
        return self.detected.dialect

    def _call(self, request: Request, timeout: float | None = None) -> Answer:
        body = NO_BODY if request.body is None else request.body
        try:
            return self.client.call(request.method, request.path, body, timeout=timeout)
        except ApiError as error:
            explained = self.dialect.explain(request, error)
            if explained is error:
                raise
            raise explained from error

    def instance(self, *, timeout: float | None = None) -> Instance | None:
        """The instance that the server holds or held last (Destroyed and Failed ones stay readable); None for none."""
        try:
            return self.dialect.read_instance(self._call(Request("GET", "/instance"), timeout).value())
        except NoInstance:
            return None

    def spec(self, *, timeout: float | None = None) -> Spec | None:
        """The instance's spec; None when there is no instance or its spec has not arrived from the source yet."""
        try:
            return self.dialect.read_spec(self._call(Request("GET", "/instance/spec"), timeout).value())
        except NoInstance:
            return None

    def spec_document(self, *, redacted: bool = True, timeout: float | None = None) -> object:
        """The server's own answer about the spec, without its secrets unless ``redacted`` is False; None for none."""
        try:
            body = self._call(Request("GET", "/instance/spec"), timeout).body
        except NoInstance:
            return None
        return redact(body) if redacted else body

    def ensure(self, id: str, name: str, description: Description, *, timeout: float | None = None) -> None:
        """Make an instance. It is Creating afterwards and runs when it is told to."""
        self._call(self.dialect.ensure(id, name, description), timeout)

    def ensure_migration_target(self, target: MigrationTarget, *, timeout: float | None = None) -> None:
        """Make this server fetch an instance from its source; answered after the Sync phase."""
        self._call(self.dialect.ensure_migration_target(target), timeout)

    def change_state(self, change: Change, *, timeout: float | None = None) -> None:
        """Queue a change of state; what comes of it shows in ``watch``."""
        self._call(self.dialect.change_state(change), timeout)

    def monitor(self, generation: int = _GENERATION_START, *, timeout: float | None = None) -> Observation | None:
        """What the instance last published, as soon as that is ``generation`` or later.

        None when nothing of the kind was published within ``timeout`` seconds. Raises NoInstance (or ApiError with
        status 410) when it never will be.
        """
        try:
            return self.dialect.read_monitor(self._call(self.dialect.monitor(generation), timeout).value())
        except NoAnswer:
            return None

    def watch(self, deadline: float, *, long_poll: float = LONG_POLL) -> Iterator[Observation]:
        """Each publication from now on, the current one first, until ``time.monotonic()`` reaches ``deadline``.

        Ends (without an error) at the deadline. Publications that follow each other faster than we ask are merged
        into the latest, as the server does it. A server that stops answering altogether raises NoAnswer: silence of
        the long poll alone is normal, so it is followed by a question that any healthy server answers at once.
        """
        generation = _GENERATION_START
        while (remaining := deadline - time.monotonic()) > 0:
            seen = self.monitor(generation, timeout=min(remaining, long_poll if generation else self.client.timeout))
            if seen is not None:
                generation = seen.generation + 1
                yield seen
            elif generation == _GENERATION_START:
                if deadline - time.monotonic() > 0:
                    raise NoAnswer(
                        f"{self} does not answer GET /instance/state-monitor within {self.client.timeout:.1f} s, "
                        "although it must be answered at once. The server hangs; its log may say why.",
                        details={"server": str(self.address), "asked": "GET /instance/state-monitor"},
                    )
            else:
                # The same question without a wait: proves that the server is alive, and notices a new instance.
                generation = _GENERATION_START

    def migration_status(
        self, migration_id: str | None = None, side: Side | None = None, *, timeout: float | None = None
    ) -> MigrationStatus | None:
        """The last migrations in and out; None when the server cannot be asked or holds nothing.

        Servers of 2023 need the id of the migration and which ``side`` this server is; they answer nothing (None)
        once a source has dropped its instance after a success.
        """
        request = self.dialect.migration_status(migration_id, side)
        if request is None:
            return None
        try:
            value = self._call(request, timeout).value()
        except NoMigration:
            return MigrationStatus()
        except NoInstance:
            return None
        return self.dialect.read_migration_status(value, migration_id, side)

    def disk_status(self, disk: SpecDisk, *, timeout: float | None = None) -> DiskStatus | None:
        """The status of one Crucible disk; None when this age of server has none."""
        request = self.dialect.disk_status(disk)
        return self.dialect.read_disk_status(self._call(request, timeout).value()) if request else None

    def disk_sessions(self, *, timeout: float | None = None) -> list[DiskSession]:
        """Every Crucible disk of the instance with the generation in use; empty when there is no live instance.

        An instance that is Destroyed or Failed keeps its spec but has no disks any more: its disks are left out.
        """
        instance = self.instance(timeout=timeout)
        if instance is None or instance.state.is_final:
            return []
        spec = self.spec(timeout=timeout)
        sessions = []
        for disk in spec.crucible_disks if spec else ():
            try:
                status = self.disk_status(disk, timeout=timeout)
            except ApiError as error:
                # Creating on its way, just stopped (424), or an upstairs that is just going away (400, 404, all
                # seen): only the spec is known then. A server that fails for another reason is not covered up.
                if error.status not in (400, 404, 424):
                    raise
                status = None
            sessions.append(disk_session(disk, status))
        return sessions

    def console_url(self, *, from_start: int | None = None, most_recent: int | None = None) -> str:
        """The websocket address of the serial console, with the history wanted (bytes; one of the two, or none)."""
        wanted = {"from_start": from_start, "most_recent": most_recent}
        query = urlencode({key: number for key, number in wanted.items() if number is not None})
        return f"ws://{self.address}/instance/serial" + (f"?{query}" if query else "")

    def console_headers(self) -> dict[str, str]:
        """The headers that the console's handshake needs besides those of every websocket."""
        return {"api-version": self.dialect.api_version} if self.dialect.api_version else {}


def renamed(instance: Instance, *, id: str, name: str) -> Instance:
    """The same instance under another identity (on one host a destination must have another id than its source)."""
    return replace(instance, id=id, name=name)
