# SPDX-License-Identifier: GPL-3.0-or-later
"""The place for the one instance of a server, and that instance's public face.

The server's slot goes NO_VM -> WAITING (a PUT is being worked on) -> ACTIVE -> RUNDOWN -> COMPLETE (-> WAITING
again). Requests hold `lock` for reading, the state driver takes it for writing when the slot changes.
"""

from __future__ import annotations

from enum import Enum, auto

from propolis_lab.server.instance_spec import InstanceSpec, Properties
from propolis_lab.server.locks import RwLock
from propolis_lab.server.log import Log
from propolis_lab.server.machine import Machine
from propolis_lab.server.publisher import Publisher
from propolis_lab.server.request_queue import RequestQueue


class SlotState(Enum):
    """Where the slot is in its life."""

    NO_VM = auto()
    WAITING = auto()
    ACTIVE = auto()
    RUNDOWN = auto()
    COMPLETE = auto()


class OccupiedError(Exception):
    """There is an instance already."""


class NoInstanceError(Exception):
    """There is no instance, or none that is active."""


class Vm:
    """One instance. `spec` is None for a migration target that waits for its source; `objects` guards the machine."""

    def __init__(
        self, properties: Properties, spec: InstanceSpec | None, publisher: Publisher, queue: RequestQueue, log: Log
    ) -> None:
        self.properties = properties
        self.spec = spec
        self.publisher = publisher
        self.queue = queue
        self.log = log
        self.objects = RwLock()
        self._machine: Machine | None = None

    @property
    def machine(self) -> Machine:
        if self._machine is None:
            raise NoInstanceError
        return self._machine

    @machine.setter
    def machine(self, machine: Machine) -> None:
        self._machine = machine


class Slot:
    """Holds the instance of now, or the last one."""

    def __init__(self) -> None:
        self.lock = RwLock()
        self.state = SlotState.NO_VM
        self._vm: Vm | None = None

    async def occupy(self, vm: Vm) -> None:
        """A new instance is about to be made; raises OccupiedError."""
        async with self.lock.write():
            if self.state not in (SlotState.NO_VM, SlotState.COMPLETE):
                raise OccupiedError
            self.state = SlotState.WAITING
            self._vm = vm

    async def change(self, state: SlotState) -> None:
        async with self.lock.write():
            self.state = state

    def any(self) -> Vm:
        """The instance of now or the last one; the caller holds the lock."""
        if self._vm is None:
            raise NoInstanceError
        return self._vm

    def active(self) -> Vm:
        """The instance, if it is active; the caller holds the lock."""
        if self.state is not SlotState.ACTIVE or self._vm is None:
            raise NoInstanceError
        return self._vm
