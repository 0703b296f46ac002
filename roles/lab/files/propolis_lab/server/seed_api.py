# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP API of January 2023: no versions, 500 where there is no instance, migration marked on the source first."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from uuid import UUID

from propolis_lab.server.console import DEFAULT_HISTORY, HistoryGoneError
from propolis_lab.server.console_socket import attach
from propolis_lab.server.deserialize import Reader, deserialize
from propolis_lab.server.disks import BuildError, CrucibleBackend, StatusError
from propolis_lab.server.environment import Environment
from propolis_lab.server.errors import HttpError, bad_request, internal
from propolis_lab.server.migration.channel import Channel
from propolis_lab.server.publisher import InstanceState, NeverPublishedError
from propolis_lab.server.request_types import MONITOR_REQUEST, MonitorRequest
from propolis_lab.server.seed_config import SeedConfig
from propolis_lab.server.seed_instance import Origin, SeedInstance, SeedRefusedError, abort, make
from propolis_lab.server.seed_migration import SeedConnectError, arrive, connect, depart
from propolis_lab.server.seed_spec import SeedSpec, SeedSpecError, backend_of_volume, build
from propolis_lab.server.seed_types import (
    ENSURE,
    MIGRATION_REQUEST,
    SPEC_ENSURE,
    STATE_REQUEST,
    SeedEnsure,
    SeedMigrate,
    SeedProperties,
    SeedSpecEnsure,
)
from propolis_lab.server.strict_json import JsonError
from propolis_lab.server.web import Answer, Call, Route

_EMPTY = "Server not initialized (no instance)"


class SeedApi:
    """The endpoints, and the one instance."""

    def __init__(self, environment: Environment, config: SeedConfig, panic: Callable[[str], None] = abort) -> None:
        self.environment = environment
        self._config = config
        self._panic = panic
        self._instance: SeedInstance | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._making = asyncio.Lock()

    def routes(self) -> list[Route]:
        return [
            Route("PUT", "/instance", self.ensure),
            Route("GET", "/instance", self.get),
            Route("PUT", "/instance/spec", self.ensure_spec),
            Route("GET", "/instance/spec", self.get_spec),
            Route("PUT", "/instance/state", self.put_state),
            Route("GET", "/instance/state-monitor", self.monitor),
            Route("GET", "/instance/migrate/status", self.migrate_status),
            Route("GET", "/instance/serial", self.serial),
            Route("GET", "/instance/serial/history", self.serial_history),
            Route("POST", "/instance/disk/{id}/snapshot/{snapshot_id}", self.snapshot),
            Route("POST", "/instance/nmi", self.nmi),
        ]

    def _known(self) -> SeedInstance:
        if self._instance is None:
            raise internal(_EMPTY)
        return self._instance

    def _live(self) -> SeedInstance:
        instance = self._known()
        if instance.destroyed:
            raise internal(_EMPTY)
        return instance

    # -- making an instance ------------------------------------------------------------------------------------------

    async def ensure(self, call: Call) -> Answer:
        request: SeedEnsure = await call.body(ENSURE)
        try:
            spec = build(request, self._config)
        except SeedSpecError as error:
            raise bad_request(f"failed to generate instance spec from request: {error}") from None
        return await self._ensure(request.properties, spec, request.migrate)

    async def ensure_spec(self, call: Call) -> Answer:
        request: SeedSpecEnsure = await call.body(SPEC_ENSURE)
        return await self._ensure(request.properties, SeedSpec(request.instance_spec), request.migrate)

    async def _ensure(self, properties: SeedProperties, spec: SeedSpec, migrate: SeedMigrate | None) -> Answer:
        async with self._making:
            existing = self._instance
            if existing is not None and not existing.destroyed:
                if existing.properties == properties:
                    return Answer({"migrate": None}, HTTPStatus.CREATED)
                raise internal("Server already initialized with a different instance")
            try:
                instance = make(properties, spec, self.environment, self._panic)
            except BuildError as error:
                raise internal(f"failed to create instance: {error}") from None
            self._instance = instance
            if migrate is None:
                return Answer({"migrate": None}, HTTPStatus.CREATED)
            return await self._fetch(instance, migrate)

    async def _fetch(self, instance: SeedInstance, target: SeedMigrate) -> Answer:
        """If the source cannot be reached, the instance stays behind as if it had been made to run: a fault of the
        time."""
        try:
            channel = await connect(target)
        except SeedConnectError as error:
            raise internal(f"failed to start migration: {error}") from None
        instance.origin = Origin.ARRIVING
        instance.publisher.publish(InstanceState.MIGRATING)
        self._spawn(instance.perform(arrive(target, instance, channel)))
        return Answer({"migrate": {"migration_id": str(target.migration_id)}}, HTTPStatus.CREATED)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- looking -----------------------------------------------------------------------------------------------------

    async def get(self, _call: Call) -> Answer:
        instance = self._known()
        state = str(instance.publisher.current.state)
        shown = {"properties": instance.properties.to_json(), "state": state, "disks": [], "nics": []}
        return Answer({"instance": shown})

    async def get_spec(self, _call: Call) -> Answer:
        instance = self._live()
        state = str(instance.publisher.current.state)
        return Answer({"properties": instance.properties.to_json(), "state": state, "spec": instance.spec.value})

    async def monitor(self, call: Call) -> Answer:
        request: MonitorRequest = await call.body(MONITOR_REQUEST)
        try:
            now = await self._known().publisher.reached(request.gen)
        except NeverPublishedError:
            reason = f"No instance present; will never reach generation {request.gen}"
            raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, "Service Unavailable", internal=reason) from None
        return Answer({"gen": now.generation, "state": str(now.state)})

    async def migrate_status(self, call: Call) -> Answer:
        wanted: UUID = await call.body(MIGRATION_REQUEST)
        migration = self._live().migration
        if migration is None:
            raise bad_request("migration failed: no migration is currently in progress")
        if migration.id != wanted:
            raise bad_request("migration failed: unexpected Uuid")
        return Answer({"state": str(migration.state)})

    # -- doing -------------------------------------------------------------------------------------------------------

    async def put_state(self, call: Call) -> Answer:
        wanted: str = await call.body(STATE_REQUEST)
        try:
            self._live().request(wanted)
        except SeedRefusedError as error:
            raise bad_request(f"Instance operation failed: {error}") from None
        return Answer(status=HTTPStatus.NO_CONTENT)

    async def nmi(self, _call: Call) -> Answer:
        self._live().machine.interrupt()
        return Answer(None)

    async def snapshot(self, call: Call) -> Answer:
        volume = call.uuid_parameter("id")
        call.uuid_parameter("snapshot_id")
        instance = self._live()
        name = backend_of_volume(instance.spec, str(volume))
        backend = instance.machine.backends.get(name) if name is not None else None
        if not isinstance(backend, CrucibleBackend):
            raise HttpError(HTTPStatus.NOT_FOUND, "Not Found", internal=f"no disk with id {volume}!")
        try:
            await backend.snapshot()
        except StatusError as error:
            raise bad_request(str(error)) from None
        return Answer(None)

    async def serial_history(self, call: Call) -> Answer:
        from_start, most_recent = call.number_from_query("from_start"), call.number_from_query("most_recent")
        most = call.number_from_query("max_bytes")
        console = self._live().machine.console
        if (from_start is None) == (most_recent is None):
            raise bad_request("Exactly one of 'from_start' or 'most_recent' must be specified.")
        start = from_start if from_start is not None else console.offset_of_most_recent(most_recent or 0)
        try:
            data, end = console.history(start, DEFAULT_HISTORY if most is None else most)
        except HistoryGoneError as error:
            raise bad_request(str(error)) from None
        return Answer({"data": list(data), "last_byte_offset": end})

    async def serial(self, call: Call) -> Answer:
        from_start, most_recent = call.number_from_query("from_start"), call.number_from_query("most_recent")
        client = await call.websocket()
        instance = self._instance
        if instance is None or instance.destroyed:
            client.drop()
            return Answer(raw=client.socket)
        start: int | None = None
        if from_start is not None and most_recent is None:
            start = from_start
        elif most_recent is not None and from_start is None:
            start = instance.machine.console.offset_of_most_recent(most_recent)
        await attach(client, instance.machine, start)
        return Answer(raw=client.socket)

    # -- between servers ---------------------------------------------------------------------------------------------

    def source_for(self, body: bytes) -> tuple[UUID, SeedInstance]:
        """The instance that a destination may have; raises HttpError."""
        reader: Reader = MIGRATION_REQUEST
        try:
            migration_id: UUID = deserialize(body, reader)
        except JsonError as error:
            raise bad_request(f"unable to parse JSON body: {error.describe(body)}") from None
        instance = self._live()
        if instance.migrating_out or instance.stopping:
            raise bad_request("migration failed: a migration is already in progress")
        if not instance.marked_as_source:
            raise bad_request("migration failed: the instance is not marked as a migration source")
        return migration_id, instance

    async def hand_over(self, migration_id: UUID, instance: SeedInstance, channel: Channel) -> None:
        await instance.perform(depart(migration_id, instance, channel))


def error_text(error: HttpError, request_id: str) -> str:
    """The body of an error answer, for connections that aiohttp does not serve."""
    body = {"request_id": request_id, "error_code": error.code, "message": error.message}
    return json.dumps({name: value for name, value in body.items() if value is not None}, indent=2)
