# SPDX-License-Identifier: GPL-3.0-or-later
"""The source of a migration, today's protocol: hands a running instance to a destination that has connected."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

from propolis_lab.server.console import Moved
from propolis_lab.server.environment import Environment
from propolis_lab.server.faults import InjectedError
from propolis_lab.server.migration import ram
from propolis_lab.server.migration.channel import Channel, ChannelError, PeerGoneError, RemoteError, Tag
from propolis_lab.server.migration.session import Session, spec_to_json
from propolis_lab.server.migration.wording import BEFORE_THE_SOURCE, of_source
from propolis_lab.server.publisher import InstanceState, MigrationState, MigrationStatus
from propolis_lab.server.slot import Vm

_DIRTY_SCAN_BYTES_PER_SECOND = 10e9


class Departure:
    """A destination wants the instance: an `Emigration` for the state driver. `done` is set when the connection is
    free."""

    def __init__(self, migration_id: UUID, channel: Channel, vm: Vm, environment: Environment) -> None:
        self._id = migration_id
        self._channel = channel
        self._vm = vm
        self._environment = environment
        self._log = vm.log.child(migrate_role="source", migration_id=str(migration_id))
        self._session = Session(migration_id, "source", vm, environment)
        self._paused_at: float | None = None
        self._began = time.monotonic()
        self.done = asyncio.Event()

    def abandon(self) -> None:
        self.done.set()

    async def carry_out(self) -> bool:
        try:
            return await self._negotiate() and await self._move()
        finally:
            await self._channel.link.drop()
            self.done.set()

    async def _negotiate(self) -> bool:
        """Agree on a protocol version. If that fails the request is never taken off the books: a fault of the real
        program.

        The instance then counts as a migration source for ever: it runs, but refuses to migrate and to reboot.
        """
        self._log.info("negotiating migration as source")
        self._session.note("Connect", "begin")
        try:
            await self._environment.faults.reach("source", "Connect")
            await self._channel.choose()
        except (ChannelError, InjectedError) as error:
            gone = BEFORE_THE_SOURCE if isinstance(error, PeerGoneError) else None
            found = gone.found if gone else str(error)
            self._log.error(f"destination side did not begin migration version handshake: {found}")
            if gone:
                self._log.warn("failed to send handshake failed message to source", error=gone.unable)
            status = MigrationStatus(self._id, MigrationState.ERROR)
            self._vm.publisher.publish(InstanceState.RUNNING, migration_out=status)
            return False
        return True

    async def _move(self) -> bool:
        status = MigrationStatus(self._id, MigrationState.SYNC)
        self._vm.publisher.publish(InstanceState.MIGRATING, migration_out=status)
        self._began = time.monotonic()
        try:
            await self._phases()
        except (ChannelError, InjectedError) as error:
            await self._resume(error)
            return False
        return True

    async def _resume(self, error: Exception) -> None:
        """It failed: the guest goes on here."""
        if isinstance(error, RemoteError):
            self._log.error(f"migration failed due to error from target: {error}")
        else:
            await self._channel.report(str(error))
        self._session.publish(MigrationState.ERROR)
        self._session.note("Error", "end")
        self._log.info("migration out failed, resuming", error=of_source(error))
        if self._paused_at is not None:
            async with self._vm.objects.write():
                self._vm.machine.go_on()
        self._vm.publisher.publish(InstanceState.RUNNING)
        self._vm.queue.migration_failed()

    async def _phases(self) -> None:
        await self._sync()
        await self._ram_push()
        await self._pause()
        await self._ram_push_dirty()
        await self._device()
        await self._ram_pull()
        await self._server()
        await self._finish()

    async def _sync(self) -> None:
        spec = self._vm.spec
        if spec is None:
            raise ChannelError("the instance has no spec yet")
        async with self._session.phase("Sync", MigrationState.SYNC):
            await asyncio.sleep(self._environment.faults.pace("Sync"))
            await self._channel.send_json({"instance_spec": spec_to_json(spec)})
            await self._channel.expect(Tag.OKAY)

    async def _ram_push(self) -> None:
        rate = self._environment.faults.settings.ram_bytes_per_second
        async with self._session.phase("RamPush", MigrationState.RAM_PUSH):
            await ram.push(self._channel, self._vm.machine.memory_bytes, rate)
        self._session.publish(MigrationState.PAUSE)

    async def _pause(self) -> None:
        async with self._session.phase("Pause", MigrationState.PAUSE):
            async with self._vm.objects.write():
                await self._vm.machine.pause()
            self._paused_at = time.monotonic()

    async def _ram_push_dirty(self) -> None:
        machine = self._vm.machine
        settings = self._environment.faults.settings
        seconds = (self._paused_at or self._began) - self._began
        count = ram.dirty_bytes(seconds, machine.dirty_bytes_per_second, machine.memory_bytes)
        async with self._session.phase("RamPushDirty", MigrationState.RAM_PUSH_DIRTY):
            scan = machine.memory_bytes / _DIRTY_SCAN_BYTES_PER_SECOND
            await asyncio.sleep(min(scan, self._environment.faults.pace("RamPushDirty")))
            await ram.push(self._channel, count, settings.ram_bytes_per_second)
        self._session.publish(MigrationState.PAUSE)
        await self._channel.send_json({"wall_clock": time.time(), "guest_paused_at": self._paused_at})
        await self._channel.expect(Tag.OKAY)

    async def _device(self) -> None:
        async with self._session.phase("Device", MigrationState.DEVICE):
            await self._channel.send_json(self._vm.machine.device_state().to_json())
            await self._channel.expect(Tag.OKAY)

    async def _ram_pull(self) -> None:
        async with self._session.phase("RamPull", MigrationState.RAM_PUSH):
            await self._channel.expect(Tag.MEM_QUERY)
            self._session.publish(MigrationState.PAUSE)
            self._session.publish(MigrationState.RAM_PUSH_DIRTY)
            await ram.finish(self._channel)

    async def _server(self) -> None:
        """From here on there is no live console on this side, even if the migration fails later (read in the
        source)."""
        console = self._vm.machine.console
        async with self._session.phase("Server", MigrationState.SERVER):
            destination = (await self._channel.expect(Tag.BLOB)).decode()
            console.end(Moved(destination, console.total))
            await self._channel.send_json(console.to_json())
            await self._channel.expect(Tag.OKAY)

    async def _finish(self) -> None:
        self._session.note("Finish", "begin")
        await self._environment.faults.reach("source", "Finish")
        await self._channel.expect(Tag.OKAY)
        await self._channel.send(Tag.OKAY)
        self._session.publish(MigrationState.FINISH)
        self._session.note("Finish", "end")
        try:
            await self._environment.faults.reach("source", "Finish", "end")
        except InjectedError:
            self._log.warn("an error after Finish changes nothing: the instance has left")
