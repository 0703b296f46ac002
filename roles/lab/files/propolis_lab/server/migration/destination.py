# SPDX-License-Identifier: GPL-3.0-or-later
"""The destination of a migration, today's protocol: fetches an instance from its source and makes it its own."""

from __future__ import annotations

import asyncio
import os
from http import HTTPStatus
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, WSServerHandshakeError

from propolis_lab.server.disks import BuildError, PanicError
from propolis_lab.server.driver import Driver, InitError
from propolis_lab.server.environment import Environment
from propolis_lab.server.faults import InjectedError
from propolis_lab.server.instance_spec import InstanceSpec
from propolis_lab.server.log import Log
from propolis_lab.server.machine import DeviceState
from propolis_lab.server.migration import ram
from propolis_lab.server.migration.channel import Channel, ChannelError, ClientLink, PeerGoneError, Tag
from propolis_lab.server.migration.session import Session, spec_from_json
from propolis_lab.server.migration.wording import BEFORE_THE_DESTINATION, IncompatibleError, of_destination
from propolis_lab.server.publisher import InstanceState, MigrationState
from propolis_lab.server.request_types import MigrationTarget, Replacement
from propolis_lab.server.slot import SlotState, Vm

_OLDEST_API = "1.0.0"


class ConnectError(Exception):
    """The source cannot be reached or does not want to migrate."""


def replaced(spec: InstanceSpec, replacements: dict[str, Replacement]) -> InstanceSpec:
    """The source's spec with the target's replacements; raises IncompatibleError with the real program's words."""
    kinds = {
        "CrucibleStorageBackend": ("crucible_storage_backend", "crucible backend"),
        "VirtioNetworkBackend": ("virtio_network_backend", "viona backend"),
        "MigrationFailureInjector": ("migration_failure_injector", "migration failure injector"),
    }
    for name, replacement in sorted(replacements.items()):
        kind, words = kinds[replacement.kind]
        component = spec.components.get(name)
        if component is None:
            raise IncompatibleError(f"replacement component {name} not in source spec")
        if component.kind != kind:
            raise IncompatibleError(f"component {name} is not a {words} in the source spec")
        spec = spec.with_component(name, component.with_fields(**replacement.fields))
    return spec


async def connect(target: MigrationTarget) -> ClientLink:
    """Open the websocket to the source; raises ConnectError. Waits as long as it takes: the real one has no timeout
    either."""
    host, port = target.src_addr
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    session = ClientSession(timeout=ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None))
    try:
        socket = await session.ws_connect(
            f"ws://{place}/instance/migrate/{target.migration_id}/start",
            headers={"api-version": _OLDEST_API},
            max_msg_size=0,
            compress=0,
            autoclose=False,
        )
    except WSServerHandshakeError as error:
        await session.close()
        raise ConnectError(f"Websocket error: HTTP error: {_http_error(error.status)}") from None
    except (ClientError, OSError) as error:
        await session.close()
        raise ConnectError(f"Websocket error: IO error: {_io_error(error)}") from None
    return ClientLink(session, socket)


def _http_error(status: int) -> str:
    """A status in the words of the real server's log, e.g. `404 Not Found`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} <unknown status code>"


def _io_error(error: Exception) -> str:
    """An I/O error in the words of the real server's log, e.g. `Connection refused (os error 111)`."""
    number = error.errno if isinstance(error, OSError) else None
    return f"{os.strerror(number)} (os error {number})" if number else str(error)


class Arrival:
    """One migration in; an instance is called by the driver (`driver.Arrival`). `answered`: so is the PUT."""

    def __init__(self, target: MigrationTarget, vm: Vm, environment: Environment, answered: asyncio.Event) -> None:
        self._target = target
        self._vm = vm
        self._environment = environment
        self._answered = answered
        self._session = Session(target.migration_id, "destination", vm, environment)
        host, port = target.src_addr
        self._log: Log = vm.log.child(
            migrate_src_addr=f"{host}:{port}", migrate_role="destination", migration_id=str(target.migration_id)
        )

    async def __call__(self, driver: Driver, answer: asyncio.Future[None]) -> bool:
        self._session.publish(MigrationState.SYNC)
        try:
            await self._environment.faults.reach("destination", "Connect")
            link = await connect(self._target)
        except (ConnectError, InjectedError) as error:
            await driver.give_up(answer, str(error), f"creating migration protocol handler: {error}")
            return False
        channel = Channel(link)
        try:
            return await self._arrive(channel, driver, answer)
        finally:
            await link.drop()

    async def _arrive(self, channel: Channel, driver: Driver, answer: asyncio.Future[None]) -> bool:
        try:
            await self._environment.faults.reach("destination", "Negotiate")
            await channel.offer()
        except (ChannelError, InjectedError) as error:
            gone = BEFORE_THE_DESTINATION if isinstance(error, PeerGoneError) else None
            found = gone.found if gone else str(error)
            self._log.error(f"source instance failed to negotiate protocol version: {found}")
            if gone:
                self._log.warn("failed to send handshake failure to source", error=gone.unable)
            reason = "couldn't establish migration connection to source instance"
            await driver.give_up(answer, reason, f"creating migration protocol handler: {reason}")
            return False
        if not await self._sync(channel, driver, answer):
            return False
        await driver.slot.change(SlotState.ACTIVE)
        answer.set_result(None)
        # Before memory moves: a fault that ends the process in phase RamPush must not swallow the answer.
        await self._answered.wait()
        try:
            await self._phases(channel)
        except (ChannelError, InjectedError) as error:
            if isinstance(error, InjectedError):
                await channel.report(str(error))
            self._lost(error)
            await driver.fail(f"running live migration protocol: {error}")
            return False
        return True

    def _lost(self, error: Exception) -> None:
        """Said in this order by the real program: published twice, and only then explained."""
        self._session.publish(MigrationState.ERROR)
        self._session.note("Error", "end")
        self._vm.publisher.publish(InstanceState.FAILED)
        self._log.error("migration in failed", error=of_destination(error))

    async def _sync(self, channel: Channel, driver: Driver, answer: asyncio.Future[None]) -> bool:
        """Fetch the spec, replace what is to be replaced, make the VM. False when that failed."""
        try:
            async with self._session.phase("Sync"):
                spec = await self._compatible_spec(channel)
                await channel.send(Tag.OKAY)
                await self._make(channel, driver, spec)
        except (BuildError, PanicError) as error:
            reason = f"failed to join VM object creation task: {error}"
            text = f"failed to initialize the target VM: {reason}"
            self._log.error("migration in failed", error=f'TargetInstanceInitializationFailed("{reason}")')
            await driver.give_up(answer, text, f"running live migration protocol: {text}")
            return False
        except (ChannelError, InjectedError, IncompatibleError) as error:
            if not isinstance(error, ChannelError):
                await channel.report(str(error))
            self._lost(error)
            await driver.give_up(answer, str(error), f"running live migration protocol: {error}")
            return False
        return True

    async def _compatible_spec(self, channel: Channel) -> InstanceSpec:
        preamble: dict[str, Any] = await channel.expect_json()
        spec = spec_from_json(preamble["instance_spec"])
        try:
            return replaced(spec, dict(self._target.replace_components))
        except IncompatibleError as error:
            reason = f"instance specs incompatible: {error}"
            self._log.error("source and destination instance specs incompatible", error=reason)
            raise IncompatibleError(f"instance specs incompatible: {reason}") from None

    async def _make(self, channel: Channel, driver: Driver, spec: InstanceSpec) -> None:
        try:
            self._vm.machine = driver.make_machine(spec)
        except (BuildError, PanicError) as error:
            await channel.report(f"failed to initialize the target VM: failed to join VM object creation task: {error}")
            raise

    async def _phases(self, channel: Channel) -> None:
        machine = self._vm.machine
        pace = self._environment.faults.pace
        async with self._session.phase("RamPush", MigrationState.RAM_PUSH):
            await ram.pull(channel)
        self._session.publish(MigrationState.PAUSE)
        async with self._session.phase("RamPushDirty", MigrationState.RAM_PUSH_DIRTY):
            await ram.pull(channel)
        self._session.publish(MigrationState.PAUSE)
        await channel.expect_json()
        await channel.send(Tag.OKAY)
        async with self._session.phase("Device", MigrationState.DEVICE):
            machine.restore(DeviceState.from_json(await channel.expect_json()))
            await asyncio.sleep(pace("Device"))
            await channel.send(Tag.OKAY)
        async with self._session.phase("RamPull", MigrationState.RAM_PULL):
            await asyncio.sleep(pace("RamPull"))
            await ram.ask(channel)
        await channel.expect(Tag.MEM_END)
        await channel.send(Tag.MEM_DONE)
        async with self._session.phase("Server", MigrationState.SERVER):
            await channel.send(Tag.BLOB, self._environment.address.encode())
            machine.console.restore(await channel.expect_json())
            await asyncio.sleep(pace("Server"))
            await channel.send(Tag.OKAY)
        self._session.note("Finish", "begin")
        await self._environment.faults.reach("destination", "Finish")
        await channel.send(Tag.OKAY)
        await channel.expect(Tag.OKAY)
        self._session.publish(MigrationState.FINISH)
        self._session.note("Finish", "end")


__all__ = ["Arrival", "IncompatibleError", "InitError", "replaced"]
