# SPDX-License-Identifier: GPL-3.0-or-later
"""The upstairs of one volume: what reads, writes and flushes through it sees, whatever it is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..protocol.faults import Faults
from . import request as requests
from .compare import compare
from .errors import IoError, ReplaceError
from .region_set import RegionSet
from .request import RegionRequest, VolumeRequest
from .settings import Settings, settings_for
from .status import VolumeStatus
from .target import Log
from .tree import build, join


class Upstairs:
    """One volume. Made and used on a running event loop; nothing is connected before ``activate``.

    Reads, writes and flushes made before that are held until the volume is active; they are refused with IoError when
    it is disabled. Raises RequestError for pieces that don't fit together. ``log`` gets a text, as the real upstairs
    logs it where it is known, and details with their "level". ``faults`` are by default those of the environment.
    ``changed`` is called when ``status`` may have changed.
    """

    def __init__(
        self,
        request: VolumeRequest,
        *,
        message_version: int = 13,
        log: Log,
        settings: Settings | None = None,
        faults: Faults | None = None,
        nonces: Callable[[], bytes] | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        requests.check_block_sizes(request)
        self.request = request
        self.block_size = request.block_size
        self.size = request.blocks * request.block_size
        self._log = log
        settings = settings or settings_for(message_version)
        faults = Faults.load("upstairs") if faults is None else faults

        def region_set(region: RegionRequest) -> RegionSet:
            return RegionSet(region, settings, log, faults, nonces, changed)

        self._tree = build(request, region_set)
        self.region_sets = tuple(self._tree.region_sets())

    @classmethod
    def parse(cls, vcr: str | dict[str, Any], message_version: int = 13) -> VolumeRequest:
        """The request in a volume construction request. Raises RequestError."""
        return requests.parse(vcr, message_version)

    def status(self) -> VolumeStatus:
        """How the volume and its connections stand; ``to_json`` is the API's ``volume_info``."""
        return self._tree.status()

    @property
    def generation(self) -> int:
        """The generation of the session, or of the next one when there is none."""
        return self.region_sets[0].session.generation if self.region_sets else 0

    async def activate(self, generation: int | None = None) -> None:
        """Become active with ``generation`` (default: that of the request, or of the time before).

        Waits as long as a downstairs is missing or refuses. Raises ActivationError when it can't succeed; nothing is
        connected then, nor when it is cancelled.
        """
        starting = [one for one in self.region_sets if one.startable(generation)]
        tasks = [asyncio.create_task(one.activate(generation)) for one in starting]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for one in starting:
                one.abandon()
            raise

    async def deactivate(self) -> None:
        """Flush on all downstairs and close; reads and writes are held again. Raises IoError if the flush failed."""
        outcomes = await asyncio.gather(*(one.deactivate() for one in self.region_sets), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def abandon(self) -> None:
        """Close everything at once, as a process that dies does: nothing is flushed."""
        for one in self.region_sets:
            one.abandon()

    async def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset`` on, both multiples of the block size. Raises IoError."""
        first, count = self._blocks(offset, length)
        if not count:
            return b""
        return join(await self._tree.read(first, count)).data

    async def write(self, offset: int, data: bytes) -> None:
        """Write whole blocks. Two of three downstairs have them when this returns, durable only after a flush.

        Raises IoError.
        """
        first, count = self._blocks(offset, len(data))
        if count:
            await self._tree.write(first, data)

    async def scrub(self) -> None:
        """Copy the read-only parent, if there is one, into all blocks that were never written, so that the volume no
        longer needs it. The guest may read and write meanwhile. Raises IoError.
        """
        await self._tree.scrub()

    async def flush(self) -> None:
        """Make everything that was written durable on two of three downstairs at least. Raises IoError."""
        await self._tree.flush()

    def _blocks(self, offset: int, length: int) -> tuple[int, int]:
        size = self.block_size
        if offset % size:
            raise IoError(f"The offset must be a multiple of the block size {size}; found {offset}")
        if length % size:
            raise IoError(f"The length must be a multiple of the block size {size}; found {length}")
        if offset < 0 or length < 0 or offset + length > self.size:
            raise IoError(f"The volume has {self.size} bytes; found offset {offset} and length {length}")
        return offset // size, length // size

    async def replace_target(self, new: VolumeRequest) -> str:
        """Let ``new`` take the place of the request; at most one target may differ, which is then repaired.

        Gives a word of the API's ReplaceResult. Raises ReplaceError.
        """
        if self.region_sets and self.region_sets[0].settings.of_2023:
            raise ReplaceError("The programs of 2023 cannot replace a downstairs")
        difference = compare(self.request, new)
        result = "vcr_matches"
        if difference.target is not None:
            region, old_address, new_address = difference.target
            place = self.request.regions().index(region)
            text = f"Volume {self.request.id}, OK to replace: {old_address} with {new_address}"
            self._log(text, {"level": 30})
            result = self.region_sets[place].replace(old_address, new_address)
            if result == "missing":
                raise ReplaceError(f"Volume {self.request.id} Can't locate {old_address} to replace")
        self.request = new
        return result
