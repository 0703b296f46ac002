# SPDX-License-Identifier: GPL-3.0-or-later
"""The one instance of a server of January 2023: its state machine, with the faults of the time.

Read in the real program's source, never run: a migrated instance starts only when it is told to; after a failed
migration the source runs on but says Migrating; a destination that could not reach its source stays Creating, and
would boot; a disk that cannot be activated ends the whole process.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from enum import Enum, auto
from typing import Any
from uuid import UUID

from propolis_lab.server.disks import BuildError, PanicError, StartError
from propolis_lab.server.environment import Environment
from propolis_lab.server.machine import Machine
from propolis_lab.server.publisher import InstanceState, MigrationState, MigrationStatus, Publisher
from propolis_lab.server.seed_spec import SeedSpec, machine_spec
from propolis_lab.server.seed_types import SeedProperties

_ABORTED = 134


class SeedRefusedError(Exception):
    """The request is not possible now; the text goes to the client."""


class Origin(Enum):
    """How the instance came to be."""

    FRESH = auto()
    ARRIVING = auto()
    ARRIVED = auto()
    LOST = auto()


def abort(reason: str) -> None:
    """The process ends as a release build of the real one does after a panic."""
    sys.stderr.write(f"thread 'vm_state_driver' panicked at {reason}\n")
    sys.stderr.flush()
    os._exit(_ABORTED)


class _Errand:
    """Work for the worker that somebody waits for."""

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = work
        self.done = asyncio.Event()

    async def run(self) -> None:
        try:
            await self._work
        finally:
            self.done.set()

    def drop(self) -> None:
        self._work.close()
        self.done.set()


class SeedInstance:
    """State, machine and migration of one instance. `panic` is called where the real program would panic."""

    def __init__(
        self,
        properties: SeedProperties,
        spec: SeedSpec,
        environment: Environment,
        panic: Callable[[str], None] = abort,
    ) -> None:
        self.properties = properties
        self.spec = spec
        self.environment = environment
        self.log = environment.log.child(task="vm_state_driver")
        self.publisher = Publisher(properties.id, InstanceState.CREATING, self.log, environment.history, of_2023=True)
        self.origin = Origin.FRESH
        self.migration: MigrationStatus | None = None
        self.marked_as_source = False
        self.migrating_out = False
        self.started = False
        self.stopping = False
        self._panic = panic
        self._work: asyncio.Queue[str | _Errand] = asyncio.Queue()
        self.machine = Machine(properties.id, machine_spec(spec), environment, self._guest_power)
        self.publisher.begin()
        self._driver = asyncio.get_running_loop().create_task(self._drive())
        self._driver.add_done_callback(self._drop_errands)

    @property
    def destroyed(self) -> bool:
        return self.publisher.current.state is InstanceState.DESTROYED

    def _guest_power(self, event: str) -> None:
        self._work.put_nowait("Stop" if event == "halt" else "Reboot")

    def set_migration(self, migration_id: UUID, state: MigrationState) -> None:
        """Migration phases do not raise the generation in January 2023."""
        self.migration = MigrationStatus(migration_id, state)

    def request(self, wanted: str) -> None:
        """Run, Stop, Reboot or MigrateStart; raises SeedRefusedError."""
        if wanted == "Run":
            self._request_run()
        elif wanted == "Stop":
            if not self.stopping:
                self.stopping = True
                self._work.put_nowait("Stop")
        elif wanted == "Reboot":
            self._request_reboot()
        else:
            self._request_migrate_start()

    def _request_run(self) -> None:
        if self.stopping:
            raise SeedRefusedError("Instance is preparing to stop")
        if self.origin is Origin.ARRIVING:
            raise SeedRefusedError("A migration into this instance is in progress")
        if self.origin is Origin.LOST:
            raise SeedRefusedError("The most recent attempt to migrate into this instance failed")
        if not self.started:
            self.started = True
            self._work.put_nowait("Run")

    def _request_reboot(self) -> None:
        if self.marked_as_source or self.migrating_out:
            raise SeedRefusedError("Operation cannot be performed on a migration source")
        if self.stopping:
            raise SeedRefusedError("Instance is preparing to stop")
        if self.publisher.current.state is not InstanceState.RUNNING:
            raise SeedRefusedError("Operation requires an active instance")
        self._work.put_nowait("Reboot")

    def _request_migrate_start(self) -> None:
        if self.stopping:
            raise SeedRefusedError("Instance is preparing to stop")
        if self.publisher.current.state is not InstanceState.RUNNING:
            raise SeedRefusedError("Operation requires an active instance")
        self.marked_as_source = True

    async def perform(self, work: Coroutine[Any, Any, None]) -> None:
        """Let the worker do something that must not overlap with what it does otherwise; returns when it is done."""
        errand = _Errand(work)
        self._work.put_nowait(errand)
        await errand.done.wait()

    def _drop_errands(self, driver: asyncio.Task[None]) -> None:
        """The worker has ended: nobody will do what is still asked for."""
        if not driver.cancelled() and driver.exception() is not None:
            self.log.error("the state driver is dead", error=repr(driver.exception()))
        while not self._work.empty():
            work = self._work.get_nowait()
            if isinstance(work, _Errand):
                work.drop()

    # -- the worker --------------------------------------------------------------------------------------------------

    async def _drive(self) -> None:
        while not self.destroyed:
            work = await self._work.get()
            if isinstance(work, _Errand):
                await work.run()
            elif work == "Run":
                await self._run()
            elif work == "Stop":
                await self._stop()
            else:
                await self._reboot()

    async def _run(self) -> None:
        self.publisher.publish(InstanceState.STARTING)
        starting = asyncio.create_task(self.machine.start_disks())
        try:
            await asyncio.shield(starting)
        except StartError as error:
            self._panic(f"failed to start block backend: {error}")
            return
        if self.origin is Origin.ARRIVED:
            self.machine.go_on()
        else:
            self.machine.begin()
        self.publisher.publish(InstanceState.RUNNING)

    async def _stop(self) -> None:
        self.publisher.publish(InstanceState.STOPPING)
        await self.machine.halt()
        self.publisher.publish(InstanceState.STOPPED)
        await self._destroy()

    async def _reboot(self) -> None:
        self.publisher.publish(InstanceState.REBOOTING)
        await self.machine.reset()
        self.publisher.publish(InstanceState.RUNNING)

    async def left(self) -> None:
        """The instance has moved to another server: its copy here is destroyed."""
        self.publisher.publish(InstanceState.STOPPING)
        await self.machine.halt()
        self.publisher.publish(InstanceState.STOPPED)
        await self._destroy()

    async def _destroy(self) -> None:
        await self.machine.destroy()
        self.publisher.publish(InstanceState.DESTROYED)
        self.publisher.close()


def make(
    properties: SeedProperties, spec: SeedSpec, environment: Environment, panic: Callable[[str], None]
) -> SeedInstance:
    """A new instance; raises BuildError. What panics in the real program goes to `panic`, and then is a BuildError."""
    try:
        return SeedInstance(properties, spec, environment, panic)
    except PanicError as error:
        panic(str(error))
        raise BuildError(str(error)) from None
