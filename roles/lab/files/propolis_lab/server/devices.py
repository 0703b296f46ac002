# SPDX-License-Identifier: GPL-3.0-or-later
"""The disks as the guest sees them: a device in front of each backend, in boot order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from propolis_lab.guest.disk import DiskError
from propolis_lab.server.disks import Backend, CrucibleBackend
from propolis_lab.server.instance_spec import Component, InstanceSpec
from propolis_lab.server.spec_check import STORAGE_DEVICES


class Device:
    """A disk as the guest sees it. An NVMe controller that came by migration hangs until the guest resets it."""

    def __init__(self, name: str, component: Component, backend: Backend, *, readonly: bool) -> None:
        self.name = name
        self.nvme = component.kind == "nvme_disk"
        self.backend = backend
        self.read_only = readonly
        self.replicated = isinstance(backend, CrucibleBackend)
        self._hung: asyncio.Event | None = None
        self._rung: Callable[[], None] | None = None

    @property
    def size(self) -> int:
        return self.backend.size

    @property
    def block_size(self) -> int:
        return self.backend.block_size

    @property
    def generation(self) -> int:
        return self.backend.generation

    @property
    def hung(self) -> bool:
        return self._hung is not None

    def hang(self, rung: Callable[[], None]) -> None:
        """The controller's queues are lost: commands get no answer from now on. `rung` is called at the first one."""
        self._hung = asyncio.Event()
        self._rung = rung

    def reset(self) -> None:
        """The guest's driver (or a reset of the machine) set the controller up anew."""
        if self._hung is not None:
            self._hung.set()
            self._hung = None

    async def ready(self) -> None:
        while self._hung is not None:
            if self._rung is not None:
                self._rung()
                self._rung = None
            await self._hung.wait()

    async def read(self, offset: int, length: int) -> bytes:
        return await self.backend.read(offset, length)

    async def write(self, offset: int, data: bytes) -> None:
        if self.read_only:
            raise DiskError("disk error 0x182" if self.nvme else "disk is read-only")
        await self.backend.write(offset, data)

    async def flush(self) -> None:
        await self.backend.flush()


def make_devices(spec: InstanceSpec, backends: dict[str, Backend]) -> tuple[Device, ...]:
    """The disks in boot order: those of the boot settings first, then by their place on the PCI bus."""
    order: list[str] = [
        entry["id"] for settings in spec.of_kind("boot_settings").values() for entry in settings.fields["order"]
    ]

    def rank(name: str) -> tuple[int, tuple[int, int, int]]:
        path = spec.components[name].pci_path
        place = (path.bus, path.device, path.function) if path else (0, 0, 0)
        return (order.index(name) if name in order else len(order), place)

    found: list[Device] = []
    for name in sorted(spec.of_kind(*STORAGE_DEVICES), key=rank):
        component = spec.components[name]
        backend = component.backend_id or ""
        found.append(Device(name, component, backends[backend], readonly=spec.components[backend].readonly))
    return tuple(found)
