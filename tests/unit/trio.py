# SPDX-License-Identifier: GPL-3.0-or-later
"""Three of the lab's downstairs on regions of their own, which a test can stop, start again and look into."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from downstairs_harness import Running, free_port, make_region, start
from propolis_lab.protocol.faults import Faults
from propolis_lab.region import Age, Region
from propolis_lab.upstairs import Settings, Upstairs
from volumes import QUICK, Notes, region_request, volume_request

AFTER_2023 = Settings(message_version=1, reconnect_delay=0.05, flush_delay=0.05)


class Trio:
    """Three downstairs with equal geometry (512-byte blocks); replica 3 and later are spares."""

    def __init__(self, folder: Path, *, extents: int = 4, blocks: int = 16, **options: Any) -> None:
        self.folder = folder
        self.extents = extents
        self.blocks = blocks
        self.ports = [free_port() for _unused in range(3)]
        self.running: dict[int, Running] = {}
        self.key: bytes | None = options.pop("key", None)
        self.age: Age = options.pop("age", Age.TODAY)
        self.options = options

    async def __aenter__(self) -> Trio:
        for number in range(3):
            self.make(number)
            await self.start(number)
        return self

    async def __aexit__(self, *_unused: object) -> None:
        for number in list(self.running):
            await self.stop(number)

    def path(self, number: int) -> Path:
        return self.folder / f"r{number}"

    def make(self, number: int, extents: int | None = None) -> None:
        """A fresh region for a replica."""
        make_region(
            self.path(number),
            uuid=str(UUID(int=0x12345678_0000_4000_8000_000000000001 + number)),
            extents=extents or self.extents,
            blocks=self.blocks,
            encrypted=self.key is not None,
            age=self.age,
        )

    async def start(self, number: int) -> None:
        if number == len(self.ports):
            self.ports.append(free_port())
        self.running[number] = await start(self.path(number), port=self.ports[number], age=self.age, **self.options)

    async def stop(self, number: int) -> None:
        """As after a kill: what was not flushed stays dirty."""
        await self.running.pop(number).stop()

    def request(self, generation: int = 1, *, targets: tuple[int, ...] = (0, 1, 2), **options: Any) -> dict[str, Any]:
        """The request for the volume over three of the replicas."""
        ports = [self.ports[number] for number in targets]
        geometry = {"blocks": self.blocks, "extents": self.extents}
        return volume_request(region_request(ports, generation, key=self.key, **geometry, **options))

    def upstairs(
        self,
        generation: int = 1,
        settings: Settings = QUICK,
        faults: Faults | None = None,
        log: Notes | None = None,
        **options: Any,
    ) -> Upstairs:
        request = Upstairs.parse(self.request(generation, **options), settings.message_version)
        return Upstairs(request, log=log or Notes(), settings=settings, faults=faults)

    def contents(self, number: int) -> bytes:
        """All blocks of a replica that does not run."""
        with_region = Region.open(self.path(number), read_only=True)
        try:
            return with_region.read(0, self.blocks * self.extents)[1]
        finally:
            with_region.close()

    def versions(self, number: int) -> list[tuple[int, int, bool]]:
        """Generation, flush number and dirty bit of all extents of a replica that does not run."""
        region = Region.open(self.path(number), read_only=True)
        try:
            return [(one.generation, one.flush, one.dirty) for one in region.versions()]
        finally:
            region.close()

    async def stop_all(self) -> None:
        for number in list(self.running):
            await self.stop(number)

    def equal(self) -> bool:
        """Whether the three replicas, all stopped, hold the same bytes and the same clean versions."""
        same = len({self.contents(number) for number in range(3)}) == 1
        versions = [self.versions(number) for number in range(3)]
        return (
            same
            and versions[0] == versions[1] == versions[2]
            and not any(dirty for _unused, _unused, dirty in versions[0])
        )
