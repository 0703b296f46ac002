# SPDX-License-Identifier: GPL-3.0-or-later
"""Migration of January 2023: other order of phases, both specs made beforehand and compared, the guest paused for all
of it.

Seen from outside: source Sync, Pause, RamPush, Pause, Device, Arch, RamPush, Pause, RamPushDirty, Finish; destination
Sync, RamPush, Pause, Device, Arch, RamPull, Finish (read in the real program's source).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from propolis_lab.server.faults import InjectedError
from propolis_lab.server.machine import DeviceState
from propolis_lab.server.migration import ram
from propolis_lab.server.migration.channel import PROTOCOL, Channel, ChannelError, StreamLink, Tag
from propolis_lab.server.publisher import InstanceState, MigrationState
from propolis_lab.server.seed_instance import Origin, SeedInstance
from propolis_lab.server.seed_spec import SeedSpec, incompatibility
from propolis_lab.server.seed_types import SeedMigrate

_LONGEST_HEAD = 65536


class SeedConnectError(Exception):
    """The source cannot be reached, or does not hand over."""


class _Side:
    """One end of a migration."""

    def __init__(self, role: str, migration_id: UUID, instance: SeedInstance, channel: Channel) -> None:
        self.role = role
        self.id = migration_id
        self.instance = instance
        self.channel = channel
        self.environment = instance.environment
        self.faults = instance.environment.faults

    def publish(self, state: MigrationState) -> None:
        self.instance.set_migration(self.id, state)

    def note(self, phase: str, at: str) -> None:
        self.environment.history.record(
            "migration", self.instance.properties.id, role=self.role, migration_id=str(self.id), phase=phase, at=at
        )

    @asynccontextmanager
    async def phase(self, name: str, state: MigrationState) -> AsyncIterator[None]:
        self.note(name, "begin")
        self.publish(state)
        await self.faults.reach(self.role, name)
        yield
        await self.faults.reach(self.role, name, "end")
        self.note(name, "end")

    def failed(self, error: Exception) -> None:
        self.instance.log.error("migration failed", role=self.role, error=str(error))
        self.publish(MigrationState.ERROR)
        self.note("Error", "end")


async def depart(migration_id: UUID, instance: SeedInstance, channel: Channel) -> None:
    """The source: hand the instance over. After a failure it runs on, and its state stays Migrating."""
    side = _Side("source", migration_id, instance, channel)
    instance.migrating_out = True
    instance.publisher.publish(InstanceState.MIGRATING)
    paused = False
    try:
        spec = json.loads(json.dumps(instance.spec.value))
        async with side.phase("Sync", MigrationState.SYNC):
            await asyncio.sleep(side.faults.pace("Sync"))
            await channel.send_json({"instance_spec": spec})
            await channel.expect(Tag.OKAY)
        async with side.phase("Pause", MigrationState.PAUSE):
            await instance.machine.pause()
            paused = True
        await _hand_over(side)
    except (ChannelError, InjectedError) as error:
        side.failed(error)
        await channel.report(str(error))
        if paused:
            instance.machine.go_on()
        instance.migrating_out = False
        return
    finally:
        await channel.link.drop()
    await asyncio.sleep(side.faults.pace("Stopping"))
    await instance.left()


async def _hand_over(side: _Side) -> None:
    machine, channel = side.instance.machine, side.channel
    async with side.phase("RamPush", MigrationState.RAM_PUSH):
        await ram.push(channel, machine.memory_bytes, side.faults.settings.ram_bytes_per_second)
    side.publish(MigrationState.PAUSE)
    async with side.phase("Device", MigrationState.DEVICE):
        await channel.send_json(machine.device_state().to_json())
        await channel.expect(Tag.OKAY)
    async with side.phase("Arch", MigrationState.ARCH):
        await channel.send_json({"wall_clock": time.time()})
        await channel.expect(Tag.OKAY)
    async with side.phase("RamPull", MigrationState.RAM_PUSH):
        await channel.expect(Tag.MEM_DONE)
    side.publish(MigrationState.PAUSE)
    side.publish(MigrationState.RAM_PUSH_DIRTY)
    async with side.phase("Finish", MigrationState.FINISH):
        await channel.expect(Tag.OKAY)
        await channel.send(Tag.OKAY)


async def connect(target: SeedMigrate) -> Channel:
    """Ask the source to hand over; raises SeedConnectError."""
    host, port = target.src_addr
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    body = json.dumps({"migration_id": str(target.migration_id)})
    head = (
        f"PUT /instance/migrate/start HTTP/1.1\r\nhost: {place}\r\nconnection: upgrade\r\nupgrade: {PROTOCOL}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    )
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        raise SeedConnectError(f"error trying to connect: {error}") from None
    try:
        writer.write(head.encode())
        answer = await reader.readuntil(b"\r\n\r\n")
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        writer.close()
        raise SeedConnectError(f"no answer from the source: {error}") from None
    status = answer.split(b" ", 2)[1:2]
    if status != [b"101"]:
        writer.close()
        raise SeedConnectError(f"source answers {answer.splitlines()[0].decode('latin-1')}")
    return Channel(StreamLink(reader, writer))


async def arrive(target: SeedMigrate, instance: SeedInstance, channel: Channel) -> None:
    """The destination: take the instance over. After a failure it stays Migrating and will not run."""
    side = _Side("destination", target.migration_id, instance, channel)
    try:
        async with side.phase("Sync", MigrationState.SYNC):
            preamble = await channel.expect_json()
            reason = incompatibility(SeedSpec(preamble["instance_spec"]), instance.spec)
            if reason is not None:
                raise InjectedError(f"encountered invalid instance state: {reason}")
            await channel.send(Tag.OKAY)
        async with side.phase("RamPush", MigrationState.RAM_PUSH):
            await ram.pull(channel)
        side.publish(MigrationState.PAUSE)
        await _take_over(side)
    except (ChannelError, InjectedError) as error:
        side.failed(error)
        if isinstance(error, InjectedError):
            await channel.report(str(error))
        instance.origin = Origin.LOST
        return
    finally:
        await channel.link.drop()
    instance.origin = Origin.ARRIVED


async def _take_over(side: _Side) -> None:
    channel = side.channel
    async with side.phase("Device", MigrationState.DEVICE):
        side.instance.machine.restore(DeviceState.from_json(await channel.expect_json()))
        await asyncio.sleep(side.faults.pace("Device"))
        await channel.send(Tag.OKAY)
    async with side.phase("Arch", MigrationState.ARCH):
        await channel.expect_json()
        await channel.send(Tag.OKAY)
    async with side.phase("RamPull", MigrationState.RAM_PULL):
        await asyncio.sleep(side.faults.pace("RamPull"))
        await channel.send(Tag.MEM_DONE)
    side.note("Finish", "begin")
    await side.faults.reach("destination", "Finish")
    await channel.send(Tag.OKAY)
    await channel.expect(Tag.OKAY)
    side.publish(MigrationState.FINISH)
    side.note("Finish", "end")
