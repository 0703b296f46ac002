# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP API of today's server: what each endpoint does in versions 1.0.0 to 5.0.0."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any

from propolis_lab.server.console import DEFAULT_HISTORY, HistoryGoneError
from propolis_lab.server.console_socket import attach
from propolis_lab.server.disks import CrucibleBackend, StatusError, is_active
from propolis_lab.server.driver import Driver, InitError, ReplaceVolume, UnknownBackendError
from propolis_lab.server.environment import Environment
from propolis_lab.server.errors import (
    HttpError,
    already_initialized,
    bad_request,
    forbidden,
    gone,
    internal,
    never_reached,
    no_instance,
    not_found,
    refused,
)
from propolis_lab.server.instance_spec import VOLUME_INFO_SINCE, InstanceSpec
from propolis_lab.server.migration.channel import Channel, ServerLink
from propolis_lab.server.migration.destination import Arrival
from propolis_lab.server.migration.source import Departure
from propolis_lab.server.publisher import InstanceState, NeverPublishedError, Publisher
from propolis_lab.server.request_queue import RefusedError, RequestQueue, Situation
from propolis_lab.server.request_types import (
    MONITOR_REQUEST,
    STATE_REQUEST,
    VCR_REQUEST,
    EnsureRequest,
    MonitorRequest,
    VcrRequest,
    canonical_key,
    ensure_request,
)
from propolis_lab.server.slot import NoInstanceError, OccupiedError, Slot, Vm
from propolis_lab.server.spec_check import SpecError, check
from propolis_lab.server.web import Answer, Call, Route

_FIRST = (1, 0, 0)


def wanted_offset(call: Call) -> tuple[int | None, int | None]:
    """`from_start` and `most_recent` of a console request."""
    return call.number_from_query("from_start"), call.number_from_query("most_recent")


class Api:
    """The endpoints over one slot."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.slot = Slot()
        self._lives: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        disk = "/instance/disk/{id}"
        return [
            Route("PUT", "/instance", self.ensure),
            Route("GET", "/instance", self.get),
            Route("GET", "/instance/spec", self.get_spec),
            Route("PUT", "/instance/state", self.put_state),
            Route("GET", "/instance/state-monitor", self.monitor),
            Route("GET", "/instance/migration-status", self.migration_status),
            Route("GET", "/instance/serial", self.serial),
            Route("GET", "/instance/serial/history", self.serial_history),
            Route("PUT", f"{disk}/vcr", self.put_vcr),
            Route("GET", f"{disk}/status", self.disk_status),
            Route("POST", f"{disk}/snapshot/{{snapshot_id}}", self.snapshot),
            Route("POST", "/instance/nmi", self.nmi),
            Route("GET", "/instance/migrate/{migration_id}/start", self.migrate_start),
        ]

    def _any(self) -> Vm:
        try:
            return self.slot.any()
        except NoInstanceError:
            raise no_instance() from None

    def _active(self) -> Vm:
        try:
            return self.slot.active()
        except NoInstanceError:
            raise no_instance() from None

    # -- making an instance ------------------------------------------------------------------------------------------

    async def ensure(self, call: Call) -> Answer:
        request: EnsureRequest = await call.body(ensure_request(call.version or _FIRST))
        if isinstance(request.init, InstanceSpec):
            try:
                check(request.init)
            except SpecError as error:
                raise bad_request(f"failed to generate internal instance spec: {error}") from None
        vm = self._new_vm(request)
        try:
            await self.slot.occupy(vm)
        except OccupiedError:
            raise already_initialized() from None
        # Only now, so that a request that is refused leaves no trace in the history.
        vm.publisher.begin()
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        driver = Driver(self.slot, vm, self.environment)
        if isinstance(request.init, InstanceSpec):
            self._live(driver.live(request.init, answer), answer)
        else:
            arrival = Arrival(request.init, vm, self.environment, call.answered)
            self._live(driver.live_on(arrival, answer), answer)
        try:
            await answer
        except InitError as error:
            raise internal(f"VM initialization failed: {error}") from None
        if isinstance(request.init, InstanceSpec):
            return Answer({"migrate": None}, HTTPStatus.CREATED)
        return Answer({"migrate": {"migration_id": str(request.init.migration_id)}}, HTTPStatus.CREATED)

    def _live(self, life: Coroutine[Any, Any, None], answer: asyncio.Future[None]) -> None:
        """Run the state driver; if it dies of a fault of its own, say so, and do not let the client of the PUT wait."""

        def lived(task: asyncio.Task[None]) -> None:
            self._lives.discard(task)
            if not task.cancelled() and task.exception() is not None:
                self.environment.log.error("the state driver is dead", error=repr(task.exception()))
                if not answer.done():
                    answer.set_exception(InitError("the state driver is dead"))

        task = asyncio.get_running_loop().create_task(life)
        self._lives.add(task)
        task.add_done_callback(lived)

    def _new_vm(self, request: EnsureRequest) -> Vm:
        log = self.environment.log.child(component="vm_state_driver")
        spec = request.init if isinstance(request.init, InstanceSpec) else None
        state = InstanceState.CREATING if spec is not None else InstanceState.MIGRATING
        situation = Situation.NOT_STARTED if spec is not None else Situation.STARTING
        publisher = Publisher(request.properties.id, state, log, self.environment.history)
        queue = RequestQueue(situation, self.environment.log)
        return Vm(request.properties, spec, publisher, queue, log)

    # -- looking -----------------------------------------------------------------------------------------------------

    async def get(self, _call: Call) -> Answer:
        async with self.slot.lock.read():
            vm = self._any()
            async with vm.objects.read():
                instance = {"properties": vm.properties.to_json(), "state": str(vm.publisher.current.state)}
        return Answer({"instance": instance})

    async def get_spec(self, call: Call) -> Answer:
        async with self.slot.lock.read():
            vm = self._any()
            async with vm.objects.read():
                spec: dict[str, Any] = {"type": "WaitingForMigrationSource"}
                if vm.spec is not None:
                    spec = {"type": "Present", "value": vm.spec.to_json(call.version or _FIRST)}
                state = str(vm.publisher.current.state)
        return Answer({"properties": vm.properties.to_json(), "state": state, "spec": spec})

    async def monitor(self, call: Call) -> Answer:
        request: MonitorRequest = await call.body(MONITOR_REQUEST)
        async with self.slot.lock.read():
            vm = self._any()
        try:
            now = await vm.publisher.reached(request.gen)
        except NeverPublishedError:
            raise never_reached(request.gen) from None
        return Answer({"gen": now.generation, "state": str(now.state), "migration": now.migration_json()})

    async def migration_status(self, _call: Call) -> Answer:
        async with self.slot.lock.read():
            return Answer(self._any().publisher.current.migration_json())

    # -- state -------------------------------------------------------------------------------------------------------

    async def put_state(self, call: Call) -> Answer:
        wanted: str = await call.body(STATE_REQUEST)
        async with self.slot.lock.read():
            queue = self._active().queue
            self.environment.log.info("requested state via API", state=wanted)
            try:
                {"Run": queue.start, "Stop": queue.stop, "Reboot": queue.reboot}[wanted]()
            except RefusedError as error:
                raise forbidden(str(error)) from None
        return Answer(status=HTTPStatus.NO_CONTENT)

    async def nmi(self, _call: Call) -> Answer:
        async with self.slot.lock.read():
            self._active().machine.interrupt()
        return Answer(None)

    # -- console -----------------------------------------------------------------------------------------------------

    async def serial_history(self, call: Call) -> Answer:
        from_start, most_recent = wanted_offset(call)
        most = call.number_from_query("max_bytes")
        async with self.slot.lock.read():
            console = self._active().machine.console
        if (from_start is None) == (most_recent is None):
            raise bad_request("Exactly one of 'from_start' or 'most_recent' must be specified.")
        start = from_start if from_start is not None else console.offset_of_most_recent(most_recent or 0)
        try:
            data, end = console.history(start, DEFAULT_HISTORY if most is None else most)
        except HistoryGoneError as error:
            raise bad_request(str(error)) from None
        return Answer({"data": list(data), "last_byte_offset": end})

    async def serial(self, call: Call) -> Answer:
        """The upgrade is answered before anybody looks for an instance, as on the real server."""
        from_start, most_recent = wanted_offset(call)
        client = await call.websocket()
        try:
            async with self.slot.lock.read():
                machine = self._active().machine
        except HttpError:
            client.drop()
            return Answer(raw=client.socket)
        start: int | None = None
        if from_start is not None and most_recent is None:
            start = from_start
        elif most_recent is not None and from_start is None:
            start = machine.console.offset_of_most_recent(most_recent)
        await attach(client, machine, start)
        return Answer(raw=client.socket)

    # -- disks -------------------------------------------------------------------------------------------------------

    async def disk_status(self, call: Call) -> Answer:
        async with self.slot.lock.read():
            vm = self._active()
            async with vm.objects.read():
                backend = self._crucible(vm, canonical_key(call.parameters["id"]))
                try:
                    info = backend.status_json()
                except StatusError as error:
                    raise refused(str(error)) from None
        if (call.version or _FIRST) < VOLUME_INFO_SINCE:
            return Answer({"active": is_active(info)})
        return Answer({"volume_info": info})

    @staticmethod
    def _crucible(vm: Vm, name: str) -> CrucibleBackend:
        backend = vm.machine.backends.get(name)
        if not isinstance(backend, CrucibleBackend):
            raise not_found(f"No crucible backend for id {name}")
        return backend

    async def snapshot(self, call: Call) -> Answer:
        call.uuid_parameter("snapshot_id")
        name = canonical_key(call.parameters["id"])
        async with self.slot.lock.read():
            backend = self._active().machine.backends.get(name)
            if not isinstance(backend, CrucibleBackend):
                raise not_found(f"no disk with id {name}!")
            try:
                await backend.snapshot()
            except StatusError as error:
                raise refused(str(error)) from None
        return Answer(None)

    async def put_vcr(self, call: Call) -> Answer:
        """Holds the instance for reading until the driver has answered: while it migrates or stops that is a deadlock.

        The real program has the same fault, for the same reason.
        """
        request: VcrRequest = await call.body(VCR_REQUEST)
        name = canonical_key(call.parameters["id"])
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        async with self.slot.lock.read():
            item = ReplaceVolume(name, request.vcr_json, answer)
            text = f'Component(ReconfigureCrucibleVolume {{ backend_id: Name("{name}") }})'
            try:
                self._active().queue.put_other(item, text)
            except RefusedError as error:
                raise forbidden(str(error)) from None
            try:
                return Answer(await answer)
            except UnknownBackendError:
                raise not_found(f"No crucible backend for id {name}") from None
            except StatusError as error:
                raise refused(str(error)) from None
            except asyncio.CancelledError:
                if not answer.cancelled():
                    raise
                raise gone("VM destroyed before request could be handled") from None

    # -- migration ---------------------------------------------------------------------------------------------------

    async def migrate_start(self, call: Call) -> Answer:
        migration_id = call.uuid_parameter("migration_id")
        client = await call.websocket()
        log = self.environment.log.child(mode="websocket", uri=call.request.path, req_id=call.request_id)
        try:
            async with self.slot.lock.read():
                vm = self._active()
                departure = Departure(migration_id, Channel(ServerLink(client)), vm, self.environment)
                vm.queue.migrate_out(departure, migration_id)
        except HttpError as error:
            log.error(f"Error returned from handler: {error.log_name}")
            client.drop()
            return Answer(raw=client.socket)
        except RefusedError as error:
            log.error(f"Error returned from handler: ForbiddenStateChange({error.log_name})")
            client.drop()
            return Answer(raw=client.socket)
        await departure.done.wait()
        return Answer(raw=client.socket)
