# SPDX-License-Identifier: GPL-3.0-or-later
"""The state driver: one task for each instance that does, one after the other, what API, guest and migrations ask
for."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from propolis_lab.server.disks import BuildError, CrucibleBackend, PanicError, StartError, StatusError
from propolis_lab.server.environment import Environment
from propolis_lab.server.instance_spec import InstanceSpec
from propolis_lab.server.machine import Machine
from propolis_lab.server.publisher import InstanceState
from propolis_lab.server.request_queue import Situation, StateRequest
from propolis_lab.server.slot import Slot, SlotState, Vm


class InitError(Exception):
    """The instance could not be made; the reason is for the log only."""


class UnknownBackendError(Exception):
    """There is no Crucible backend of that name."""


@dataclass(frozen=True)
class GuestPower:
    """The guest did it itself: `halt` or `reset`."""

    event: str


@dataclass(frozen=True)
class ReplaceVolume:
    """Another volume construction request for a backend; the answer is the word for the client."""

    backend: str
    vcr_json: str
    answer: asyncio.Future[str]


@runtime_checkable
class Emigration(Protocol):
    """A migration to another server, to be carried out by the driver; True when the instance has left."""

    async def carry_out(self) -> bool: ...
    def abandon(self) -> None: ...


_TASKS = itertools.count(10)
_RESET_SECONDS = 0.01
Arrival = Callable[["Driver", asyncio.Future[None]], Awaitable[bool]]


class Driver:
    """Owns the machine of one `vm` in `slot`."""

    def __init__(self, slot: Slot, vm: Vm, environment: Environment) -> None:
        self.slot = slot
        self.vm = vm
        self.environment = environment
        self._log = vm.log

    def make_machine(self, spec: InstanceSpec) -> Machine:
        """All objects of the VM; raises BuildError or PanicError."""
        self.vm.spec = spec

        def power(event: str) -> None:
            self.vm.queue.from_guest(GuestPower(event))

        return Machine(self.vm.properties.id, spec, self.environment, power)

    # -- whole lives -------------------------------------------------------------------------------------------------

    async def live(self, spec: InstanceSpec, answer: asyncio.Future[None]) -> None:
        """The life of an instance that begins here. `answer` is for whoever sent the PUT."""
        try:
            self.vm.machine = self.make_machine(spec)
        except PanicError as error:
            place = "creating VM objects for new instance: failed to join VMM runtime init task"
            self._not_activated(f"{place}: task {next(_TASKS)} panicked with message {json.dumps(str(error))}")
            answer.set_exception(InitError(str(error)))
            return
        except BuildError as error:
            place = "creating VM objects for new instance: failed to join VM object creation task"
            await self.give_up(answer, str(error), f"{place}: {error}")
            return
        await self.slot.change(SlotState.ACTIVE)
        answer.set_result(None)
        await self._end(await self._loop())

    async def live_on(self, arrive: Arrival, answer: asyncio.Future[None], *, runs_by_itself: bool = True) -> None:
        """The life of an instance that comes from another server; `arrive` fetches it and says whether it arrived
        whole."""
        if not await arrive(self, answer):
            return
        final = await self._bring_up(InstanceState.MIGRATING) if runs_by_itself else None
        await self._end(final or await self._loop())

    def _not_activated(self, why: str) -> None:
        self._log.error("failed to activate new VM", error=why)

    async def give_up(self, answer: asyncio.Future[None], reason: str, why: str) -> None:
        """The instance could not be made: Failed, unless that is published already, and the slot is free again.

        ``reason`` is for whoever sent the PUT, ``why`` for the log.
        """
        if self.vm.publisher.current.state is not InstanceState.FAILED:
            self.vm.publisher.publish(InstanceState.FAILED)
        self._not_activated(why)
        self.vm.queue.ended(Situation.FAILED)
        await self.slot.change(SlotState.COMPLETE)
        self.vm.publisher.close()
        answer.set_exception(InitError(reason))

    async def fail(self, why: str) -> None:
        """The instance was active and is lost, which is published already, and once more at its end."""
        self._not_activated(why)
        self.vm.queue.ended(Situation.FAILED)
        await self._end(InstanceState.FAILED)

    async def _end(self, final: InstanceState) -> None:
        await self.slot.change(SlotState.RUNDOWN)
        for item in self.vm.queue.drain():
            self._drop(item)
        await self.vm.machine.destroy()
        self.vm.publisher.publish(final)
        await self.slot.change(SlotState.COMPLETE)
        self.vm.publisher.close()

    @staticmethod
    def _drop(item: object) -> None:
        if isinstance(item, ReplaceVolume):
            item.answer.cancel()
        elif isinstance(item, Emigration):
            item.abandon()

    # -- one request after the other ---------------------------------------------------------------------------------

    async def _loop(self) -> InstanceState:
        """Until the instance ends; returns its last state."""
        while True:
            await self.vm.queue.wait()
            final = await self._handle(self.vm.queue.take())
            outcome = "Continue" if final is None else f"Exit {{ final_state: {final} }}"
            self._log.info("state driver handled event", outcome=outcome)
            if final is not None:
                return final

    async def _handle(self, item: object) -> InstanceState | None:
        final: InstanceState | None = None
        if item == StateRequest("Start"):
            final = await self._bring_up(InstanceState.STARTING)
        elif item == StateRequest("Stop"):
            final = await self._stop()
            self.vm.queue.stopped()
        elif item == GuestPower("halt"):
            final = await self._stop()
            self.vm.queue.ended(Situation.HALTED)
        elif item == GuestPower("reset"):
            await self._reset()
        elif item == StateRequest("Reboot"):
            await self._reset()
            self.vm.queue.rebooted()
        elif isinstance(item, ReplaceVolume):
            await self._replace(item)
        elif isinstance(item, Emigration):
            final = await self._emigrate(item)
        return final

    async def _bring_up(self, state: InstanceState) -> InstanceState | None:
        """Start the disks, then the guest. Meanwhile Stop and replacements of targets are heeded."""
        migrated = state is InstanceState.MIGRATING
        if not migrated:
            self.vm.publisher.publish(InstanceState.STARTING)
        else:
            await self.environment.faults.reach("destination", "Activate")
        later: list[object] = []
        starting = asyncio.create_task(self.vm.machine.start_disks())
        try:
            while await self._request_before(starting):
                item = self.vm.queue.take()
                if isinstance(item, StateRequest) and item.action == "Stop":
                    await self.vm.machine.halt()
                    self.vm.publisher.publish(InstanceState.STOPPED)
                    self.vm.queue.stopped()
                    return InstanceState.DESTROYED
                if isinstance(item, ReplaceVolume):
                    await self._replace(item)
                else:
                    later.append(item)
            await starting
        except StartError as error:
            self._log.info(f"VM startup failed: {error}")
            self.vm.queue.started(succeeded=False)
            return InstanceState.FAILED
        finally:
            await self._cancelled(starting)
        for item in reversed(later):
            self.vm.queue.put_back(item)
        await self._run_guest(migrated=migrated)
        return None

    async def _run_guest(self, *, migrated: bool) -> None:
        if migrated:
            await self.environment.faults.reach("destination", "Run")
            self.vm.machine.go_on()
            self.vm.machine.lose_nvme_queues()
        else:
            self.vm.machine.begin()
        self.vm.publisher.publish(InstanceState.RUNNING)
        self.vm.queue.started(succeeded=True)

    async def _request_before(self, starting: asyncio.Task[None]) -> bool:
        """True when there is a request to handle, False when the disks are started (or failed) first."""
        waiting = asyncio.create_task(self.vm.queue.wait())
        try:
            await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
            return waiting.done()
        finally:
            await self._cancelled(waiting)

    @staticmethod
    async def _cancelled(task: asyncio.Task[None]) -> None:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})

    async def _stop(self) -> InstanceState:
        self.vm.publisher.publish(InstanceState.STOPPING)
        async with self.vm.objects.write():
            await self.vm.machine.halt()
        self.vm.publisher.publish(InstanceState.STOPPED)
        return InstanceState.DESTROYED

    async def _reset(self) -> None:
        self.vm.publisher.publish(InstanceState.REBOOTING)
        async with self.vm.objects.write():
            await asyncio.sleep(_RESET_SECONDS)
            await self.vm.machine.reset()
        self.vm.publisher.publish(InstanceState.RUNNING)

    async def _replace(self, item: ReplaceVolume) -> None:
        if item.answer.done():
            return
        try:
            item.answer.set_result(await self._replaced(item))
        except (UnknownBackendError, StatusError) as error:
            item.answer.set_exception(error)

    async def _replaced(self, item: ReplaceVolume) -> str:
        backend = self.vm.machine.backends.get(item.backend)
        spec = self.vm.spec
        if not isinstance(backend, CrucibleBackend) or spec is None:
            raise UnknownBackendError(item.backend)
        result = await backend.replace(item.vcr_json)
        component = spec.components[item.backend].with_fields(request_json=item.vcr_json)
        self.vm.spec = spec.with_component(item.backend, component)
        return result

    async def _emigrate(self, item: Emigration) -> InstanceState | None:
        if not await item.carry_out():
            return None
        self.vm.queue.ended(Situation.MIGRATED_OUT)
        await asyncio.sleep(self.environment.faults.pace("Stopping"))
        self.vm.publisher.publish(InstanceState.STOPPING)
        return InstanceState.DESTROYED
