# SPDX-License-Identifier: GPL-3.0-or-later
"""The VM that a spec describes: console, disks and guest, made, started, paused, moved and destroyed as one."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from propolis_lab.guest.heartbeat import Heartbeat
from propolis_lab.guest.scripted import GuestState, Hooks, ScriptedGuest
from propolis_lab.server.console import Console, Stopped
from propolis_lab.server.devices import Device, make_devices
from propolis_lab.server.disks import (
    Backend,
    BlobBackend,
    BuildError,
    CrucibleBackend,
    PanicError,
    StartError,
    make_backends,
)
from propolis_lab.server.environment import Environment
from propolis_lab.server.instance_spec import InstanceSpec, PciPath
from propolis_lab.server.log import Log
from propolis_lab.server.vmm import NameTakenError, VmName

_MOST_CPUS = 64
_ROM_ALIGNMENT = 4096
_LARGEST_ROM = 2 * 1024 * 1024
_CHIPSET = (PciPath(0, 0, 0), PciPath(0, 1, 0), PciPath(0, 1, 3))


@dataclass(frozen=True)
class DeviceState:
    """What moves in phase Device: the guest, and the contents of disks in memory."""

    guest: GuestState
    blobs: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        return {"guest": self.guest.to_json(), "blobs": self.blobs}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> DeviceState:
        return cls(GuestState.from_json(value["guest"]), dict(value["blobs"]))


class Machine:
    """`power` is called with `halt` or `reset` when the guest switches itself off or starts again."""

    def __init__(
        self, instance: UUID, spec: InstanceSpec, environment: Environment, power: Callable[[str], None]
    ) -> None:
        self._instance = instance
        self._environment = environment
        self._log: Log = environment.log
        self._name = self._take_name()
        try:
            self._check(spec)
            self.backends = make_backends(spec, environment.make_volume, self._log)
        except BuildError:
            self._name.release()
            raise
        for name, backend in self.backends.items():
            if isinstance(backend, CrucibleBackend):
                self._follow_volume(name, backend)
        self.memory_bytes = spec.board.memory_mb << 20
        self.console = Console()
        self._devices = make_devices(spec, self.backends)
        self._timers: set[asyncio.Task[None]] = set()
        self._state: GuestState | None = None
        self._guest: ScriptedGuest | None = None
        self._cpus = spec.board.cpus
        self._memory_mib = spec.board.memory_mb
        self._power = power

    def _take_name(self) -> VmName:
        try:
            return VmName(self._environment.listen[0], self._instance)
        except NameTakenError:
            raise BuildError("failed to create kernel vmm builder") from None

    def _check(self, spec: InstanceSpec) -> None:
        if not 0 < spec.board.cpus <= _MOST_CPUS:
            raise BuildError("failed to set max cpus")
        if spec.board.memory_mb == 0:
            raise BuildError("failed to add low memory region")
        self._check_bootrom()
        if any(part.pci_path in _CHIPSET for part in spec.components.values() if part.pci_path is not None):
            raise PanicError("assertion failed: matches!(_old, None)")
        if all(port.text("num") != "com1" for port in spec.of_kind("serial_port").values()):
            raise PanicError("called `Option::unwrap()` on a `None` value")

    def _check_bootrom(self) -> None:
        rom = self._environment.bootrom
        if not rom.is_file():
            raise PanicError(f'Cannot open bootrom: failed to open bootrom "{rom}"')
        size = rom.stat().st_size
        if size % _ROM_ALIGNMENT or size > _LARGEST_ROM:
            raise PanicError(f'Cannot open bootrom: bootrom "{rom}" has a size of {size} bytes')

    # -- guest -------------------------------------------------------------------------------------------------------

    def _make_guest(self) -> ScriptedGuest:
        history = self._environment.history

        def acknowledged(record: Heartbeat) -> None:
            history.record(
                "heartbeat", self._instance, number=record.number, tick=record.tick, generation=record.generation
            )

        def note(what: str, tick: int, heartbeat: int) -> None:
            history.record("guest", self._instance, what=what, tick=tick, heartbeat=heartbeat)

        hooks = Hooks(self.console.write, self._power, acknowledged, note)
        return ScriptedGuest(self._instance, self._cpus, self._memory_mib, self._devices, hooks)

    async def start_disks(self) -> None:
        """Start all backends, in the order of their names; raises StartError."""
        for name, backend in sorted(self.backends.items()):
            try:
                await backend.start()
            except StartError as error:
                self._note_disk(name, backend, "failed")
                self._log.error("block backend start() returned an error", error=str(error), backend=name)
                raise
            self._note_disk(name, backend, "activated")

    def _note_disk(self, name: str, backend: Backend, what: str) -> None:
        if isinstance(backend, CrucibleBackend):
            self._environment.history.record(
                "disk", self._instance, backend=name, what=what, generation=backend.generation
            )

    def _follow_volume(self, name: str, backend: CrucibleBackend) -> None:
        """Write every change of a disk's status into the history."""
        last: dict[str, Any] = {}

        def changed() -> None:
            nonlocal last
            info = backend.status_json()
            if info != last:
                last = info
                self._environment.history.record("volume", self._instance, backend=name, info=info)

        changed()
        backend.watch(changed)

    def begin(self) -> None:
        """Cold boot."""
        self._guest = self._make_guest()
        self._guest.begin()

    def go_on(self) -> None:
        """Run the guest from where it was paused, here or on another server."""
        if self._state is None:
            raise RuntimeError("the machine is not paused")
        self._guest = self._make_guest()
        self._guest.resume(self._state)
        self._state = None

    async def reset(self) -> None:
        """Hard reset: the guest starts again."""
        if self._guest is not None:
            await self._guest.stop()
        for device in self._devices:
            device.reset()
        self.begin()

    async def pause(self) -> None:
        """Stop the guest in mid-air; waits for the I/O that its disks have accepted."""
        if self._guest is not None:
            self._state = await self._guest.pause()

    async def halt(self) -> None:
        """Power off: the guest is gone, its console says so."""
        if self._guest is not None:
            await self._guest.stop()
        self.console.end(Stopped())

    def typed(self, data: bytes) -> None:
        if self._guest is not None:
            self._guest.typed(data)

    def interrupt(self) -> None:
        """NMI."""
        if self._guest is not None:
            self._guest.interrupted()

    @property
    def dirty_bytes_per_second(self) -> float:
        """How fast the guest changes its memory."""
        pages = self._guest.dirty_pages if self._guest is not None else 0
        return self._environment.faults.settings.dirty_bytes_per_second + pages * 4096 * 2

    # -- moving ------------------------------------------------------------------------------------------------------

    def device_state(self) -> DeviceState:
        """What a paused machine hands over."""
        if self._state is None:
            raise RuntimeError("the machine is not paused")
        blobs = {
            name: base64.b64encode(backend.content).decode()
            for name, backend in self.backends.items()
            if isinstance(backend, BlobBackend)
        }
        return DeviceState(self._state, blobs)

    def restore(self, state: DeviceState) -> None:
        """Take over what another server's machine handed over; `go_on` runs it."""
        self._state = state.guest
        for name, content in state.blobs.items():
            backend = self.backends.get(name)
            if isinstance(backend, BlobBackend):
                backend.content[:] = base64.b64decode(content)

    def lose_nvme_queues(self) -> None:
        """A fault of the real program: imported NVMe controllers refuse commands until the guest's driver resets
        them."""
        patience = self._environment.faults.settings.nvme_stall_seconds
        for device in self._devices:
            if device.nvme and patience > 0:
                device.hang(partial(self._nvme_failure, device.name))
                task = asyncio.get_running_loop().create_task(self._nvme_timeout(device, patience))
                self._timers.add(task)
                task.add_done_callback(self._timers.discard)

    def _nvme_failure(self, name: str) -> None:
        error = "the submission queue specified (1) is invalid"
        self._log.error("nvme reg r/w failure", error=error, component=f"nvme-{name}")

    async def _nvme_timeout(self, device: Device, patience: float) -> None:
        await asyncio.sleep(patience)
        if device.hung:
            self.console.write(f"{device.name}: I/O timeout, controller reset\r\n".encode())
            device.reset()

    # -- end ---------------------------------------------------------------------------------------------------------

    async def destroy(self) -> None:
        """Let go of everything."""
        for task in self._timers:
            task.cancel()
        if self._guest is not None:
            await self._guest.stop()
        if self.console.ended is None:
            self.console.end(Stopped())
        for name, backend in self.backends.items():
            backend.stop()
            self._note_disk(name, backend, "released")
        self._name.release()
