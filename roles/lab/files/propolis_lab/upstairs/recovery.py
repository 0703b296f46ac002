# SPDX-License-Identifier: GPL-3.0-or-later
"""The work on replicas that differ, as one task at a time: reconciliation before activation, live repair after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from ..protocol.messages import ExtentVersions
from .block_io import BlockIo
from .pipeline import Pipeline
from .reconcile import Collation, ReconcileError, Reconciliation, collate
from .repair import LiveRepair, RepairError
from .session import Session
from .status import Mode, Phase
from .target import Log, Target


class Recovery:
    """At most one reconciliation or live repair of the targets of a session."""

    def __init__(self, session: Session, targets: Sequence[Target], io: BlockIo, log: Log) -> None:
        self.reconciliation: Reconciliation | None = None
        self._session = session
        self._targets = targets
        self._io = io
        self._log = log
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        return self._task is not None

    def reconcile(self, collation: Collation, then: Callable[[], None]) -> None:
        """Mend what differs, then call ``then``; when a replica fails, all connections are made again."""
        if not collation.mends:
            then()
            return
        for target in self._targets:
            target.phase = Phase.RECONCILE
        self.reconciliation = Reconciliation(collation, self._targets, self._log)
        self._start(self._run_reconciliation(self.reconciliation, then))

    async def _run_reconciliation(self, reconciliation: Reconciliation, then: Callable[[], None]) -> None:
        try:
            await reconciliation.run()
        except ReconcileError as error:
            self.abort_reconciliation(str(error))
            return
        self.reconciliation = self._task = None
        then()

    def abort_reconciliation(self, reason: str) -> None:
        """Give the reconciliation up and make all connections again."""
        self._log(f"aborting reconciliation: {reason}", {"level": 40})
        self.stop()
        for target in self._targets:
            target.restart(target.mode)

    def take_up(self, pipeline: Pipeline, versions: Mapping[int, ExtentVersions], tell: Callable[[], None]) -> None:
        """Begin to repair the targets that are ready for it, unless work is under way; then ``tell``."""
        ready = [target for target in self._targets if target.phase is Phase.LIVE_REPAIR_READY]
        if self.busy or not ready:
            return

        def go_on() -> None:
            self.take_up(pipeline, versions, tell)  # another may have become ready meanwhile
            tell()

        def reconciled() -> None:
            pipeline.forget_all()  # all three had been given up: what was open then is nowhere
            for target in self._targets:
                target.last_flush = None
                target.phase = Phase.ACTIVE
            tell()

        if len(ready) == len(self._targets):
            self.reconcile(collate([versions[target.index] for target in self._targets]), reconciled)
        elif any(target.phase is Phase.ACTIVE for target in self._targets):
            self.repair(pipeline, ready, go_on)

    def repair(self, pipeline: Pipeline, ready: Sequence[Target], when_done: Callable[[], None]) -> None:
        """Repair the ``ready`` targets from the active ones while the guest goes on, then call ``when_done``."""
        for target in ready:
            target.phase = Phase.LIVE_REPAIR
        flush = self._io.submit_repair_flush
        repair = LiveRepair(self._session, pipeline, self._targets, ready, flush=flush, log=self._log)
        self._io.repair = pipeline.window = repair
        self._start(self._run_repair(repair, pipeline, ready, when_done))

    async def _run_repair(
        self, repair: LiveRepair, pipeline: Pipeline, ready: Sequence[Target], when_done: Callable[[], None]
    ) -> None:
        try:
            await repair.run()
        except RepairError as error:
            self.give_up_repair(pipeline, str(error))
            return
        self._io.repair = pipeline.window = self._task = None
        for target in ready:
            self._log(f"client {target.index} is repaired", {"level": 30})
            target.phase = Phase.ACTIVE
        when_done()

    def give_up_repair(self, pipeline: Pipeline, reason: str) -> None:
        """End the live repair, if there is one: its targets are faulted and come back for another."""
        repair = self._io.repair
        if repair is None:
            return
        self._log(f"aborting live-repair: {reason}", {"level": 40})
        self.stop()
        pipeline.window = None
        for index in repair.under:
            target = self._targets[index]
            if target.phase is Phase.LIVE_REPAIR:
                target.restart(Mode.FAULTED)
                pipeline.skip(target)
        repair.abandon()

    def stop(self) -> None:
        """Do nothing more."""
        task, self._task = self._task, None
        self.reconciliation = self._io.repair = None
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.get_running_loop().create_task(work)
