# SPDX-License-Identifier: GPL-3.0-or-later
"""Three replicas made equal before a volume becomes active: what differs, which copy wins, and the steps to mend it.

Rules and order of the steps were seen on the real programs; the downstairs do the copying among themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..protocol.messages import (
    ExtentClose,
    ExtentError,
    ExtentFlush,
    ExtentReopen,
    ExtentRepair,
    ExtentVersions,
    Message,
    RepairMessage,
)
from .target import Log, Target


@dataclass(frozen=True)
class Mend:
    """An extent that differs: the replica whose copy wins, and those that must take it."""

    extent: int
    source: int
    destinations: tuple[int, ...]


@dataclass(frozen=True)
class Collation:
    """What three sets of extent versions say together.

    ``lowest_generation`` is the smallest generation that may be asked for, ``next_flush`` the next flush number.
    """

    lowest_generation: int
    next_flush: int
    mends: tuple[Mend, ...]


def collate(replicas: Sequence[ExtentVersions]) -> Collation:
    """Compare the versions of all extents; all replicas have the same number of extents."""
    mends = []
    columns = [list(zip(one.generations, one.flush_numbers, one.dirty, strict=True)) for one in replicas]
    for extent, row in enumerate(zip(*columns, strict=True)):
        source = max(range(len(row)), key=lambda index: (row[index], -index))
        others = [index for index in range(len(row)) if index != source]
        if not row[source][2]:
            others = [index for index in others if row[index] != row[source]]
        if others:
            mends.append(Mend(extent, source, tuple(others)))
    return Collation(
        lowest_generation=max(max(one.generations) for one in replicas) + 1,
        next_flush=max(max(one.flush_numbers) for one in replicas) + 1,
        mends=tuple(mends),
    )


class ReconcileError(Exception):
    """A step failed; all connections must be dropped and made again."""


Step = tuple[Callable[[int], RepairMessage], tuple[int, ...]]
"""From a repair id to the message, and who gets it."""


class Reconciliation:
    """The steps of all mends, each acknowledged by everybody before the next goes out."""

    def __init__(self, collation: Collation, targets: Sequence[Target], log: Log) -> None:
        self._collation = collation
        self._targets = targets
        self._log = log
        self._open: set[int] = set()
        self._repair_id = 0
        self._turn: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Mend everything. Raises ReconcileError."""
        for mend in self._collation.mends:
            text = f"extent {mend.extent}: replica {mend.source} is copied to {mend.destinations}"
            self._log(text, {"level": 30})
            for make, indices in self._steps(mend):
                self._open = set(indices)
                self._turn = asyncio.get_running_loop().create_future()
                for index in indices:
                    self._targets[index].send(make(self._repair_id))
                await self._turn
                self._repair_id += 1

    def _steps(self, mend: Mend) -> Iterator[Step]:
        everybody = tuple(target.index for target in self._targets)
        extent, source, address = mend.extent, mend.source, self._targets[mend.source].repair_address
        if address is None:
            raise ReconcileError(f"replica {source} is gone")
        flush, generation = self._collation.next_flush, self._collation.lowest_generation
        yield lambda number: ExtentFlush(number, extent, source, flush, generation), (source,)
        yield lambda number: ExtentClose(number, extent), everybody
        yield lambda number: ExtentRepair(number, extent, source, address, mend.destinations), mend.destinations
        yield lambda number: ExtentReopen(number, extent), everybody

    def on_message(self, target: Target, message: Message) -> None:
        """An acknowledgement or an error from a target. Errors end ``run``."""
        if self._turn is None or self._turn.done():
            return
        number = getattr(message, "repair_id", None)
        if isinstance(message, ExtentError):
            text = f"replica {target.index} failed at extent {message.extent_id}: {message.error}"
            self._turn.set_exception(ReconcileError(text))
        elif number != self._repair_id or target.index not in self._open:
            text = f"replica {target.index} sent {type(message).__name__} out of turn"
            self._turn.set_exception(ReconcileError(text))
        else:
            self._open.discard(target.index)
            if not self._open:
                self._turn.set_result(None)
