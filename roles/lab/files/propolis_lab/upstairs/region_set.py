# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a session with three downstairs: activation, losses and returns, deactivation, and being disabled.

States and transitions as seen on, and read in the source of, the real upstairs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..protocol.basics import SocketAddress
from ..protocol.faults import Faults
from ..protocol.messages import ExtentVersions, HereIAm, JobMessage, Message, RegionDefinition, RepairMessage
from .block_io import BlockIo
from .crypt import Seal
from .errors import NOT_ACTIVE, ActivationError, IoError
from .generations import check_generation
from .geometry import check_versions, judge
from .jobs import JobNumbers
from .pipeline import Pipeline
from .reconcile import Collation, collate
from .recovery import Recovery
from .release import release
from .replacement import judge_replacement
from .request import RegionRequest, with_targets
from .session import Session
from .settings import Settings
from .status import Mode, Phase, RegionSetStatus, UpstairsState
from .target import Log, Target
from .waiting import Changes

_IN_USE = (Phase.ACTIVE, Phase.LIVE_REPAIR, Phase.LIVE_REPAIR_READY)


class RegionSet:
    """Three regions that hold the same blocks, and the session that uses them."""

    def __init__(
        self,
        request: RegionRequest,
        settings: Settings,
        log: Log,
        faults: Faults,
        nonces: Callable[[], bytes] | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.session = Session.of(request, settings.message_version)
        self.state = UpstairsState.INITIALIZING
        self.targets = tuple(
            Target(index, address, self, settings=settings, faults=faults, log=log)
            for index, address in enumerate(request.options.targets)
        )
        key = request.options.key
        seal = Seal(request.block_size, key) if nonces is None else Seal(request.block_size, key, nonces)
        self.io = BlockIo(self.session, seal, settings, log)
        self.settings = settings
        self._log = log
        self._numbers = JobNumbers()
        self._versions: dict[int, ExtentVersions] = {}
        self._failure: ActivationError | None = None
        self._changes = Changes(changed)
        self._pipeline: Pipeline | None = None
        self._recovery = Recovery(self.session, self.targets, self.io, log)

    def status(self) -> RegionSetStatus:
        session = self.session
        return RegionSetStatus(
            state=self.state,
            block_size=session.request.block_size,
            upstairs_id=session.upstairs_id,
            session_id=session.session_id,
            generation=session.generation,
            read_only=session.read_only,
            encrypted=session.encrypted,
            reconcile_in_progress=self._recovery.reconciliation is not None,
            live_repair_in_progress=self.io.repair is not None,
            targets=tuple(target.status() for target in self.targets),
        )

    @property
    def open_jobs(self) -> int:
        """How many jobs are not yet retired."""
        return 0 if self._pipeline is None else len(self._pipeline.jobs)

    @property
    def jobs_done(self) -> bool:
        """Whether every job was answered by everybody who has it."""
        return self._pipeline is None or not self._pipeline.jobs.any_open

    # What the owner asks for

    def startable(self, generation: int | None) -> bool:
        """False when the session is active as wished. Raises ActivationError when another must be ended first."""
        if self.state is UpstairsState.ACTIVE and generation in (None, self.session.generation):
            return False
        if self.state not in (UpstairsState.INITIALIZING, UpstairsState.DISABLED):
            raise ActivationError(
                f"The upstairs is {self.state} at generation {self.session.generation}; deactivate it first"
            )
        return True

    async def activate(self, generation: int | None) -> None:
        """Become active, however long it takes. Raises ActivationError; when cancelled nothing stays connected."""
        if not self.startable(generation):
            return
        self._note("The guest has requested activation")
        if generation is not None:
            self.session.generation = generation
        self._failure = None
        for target in self.targets:
            target.start()
        self._set_state(UpstairsState.GO_ACTIVE)
        try:
            await self._changes.until(lambda: self.state is not UpstairsState.GO_ACTIVE)
        except asyncio.CancelledError:
            self._stop(UpstairsState.INITIALIZING)
            raise
        if self._pipeline is None:
            raise self._failure or ActivationError("The activation was given up: the upstairs was deactivated")
        self._note("The guest has finished waiting for activation")

    async def deactivate(self) -> None:
        """Flush on everybody that is there and close. Raises IoError when the last flush failed; closed in any case."""
        pipeline = self._pipeline
        if self.state is not UpstairsState.ACTIVE or pipeline is None:
            self.abandon()
            return
        self._recovery.give_up_repair(pipeline, "the upstairs is being deactivated")
        self._set_state(UpstairsState.DEACTIVATING)
        try:
            if self.io.unflushed or len(pipeline.jobs):
                await release(
                    self.session,
                    self.targets,
                    pipeline,
                    self.io,
                    changes=self._changes,
                    over=lambda: self._pipeline is not pipeline,
                )
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close all connections at once, without a flush. A disabled session stays so."""
        if self.state is not UpstairsState.DISABLED:
            self._stop(UpstairsState.INITIALIZING)

    def disable(self, error: ActivationError) -> None:
        """End the session because of ``error``; it stays so until somebody activates again."""
        if self.state not in (UpstairsState.GO_ACTIVE, UpstairsState.ACTIVE, UpstairsState.DEACTIVATING):
            return
        self._note(f"disabling clients due to {error}", 40)
        self._failure = error
        self._stop(UpstairsState.DISABLED)

    async def ready(self) -> None:
        """Wait while the upstairs is not active yet. Raises IoError when it is disabled or on its way down."""
        while self.state is not UpstairsState.ACTIVE:
            if self.state in (UpstairsState.DISABLED, UpstairsState.DEACTIVATING):
                reason = f": {self._failure}" if self._failure else ""
                raise IoError(f"{NOT_ACTIVE}{reason}", real=NOT_ACTIVE)
            await self._changes.next()

    # What the targets tell

    def hello(self) -> HereIAm:
        return self.session.hello()

    def judge(self, target: Target, definition: RegionDefinition) -> None:
        same = self.state is UpstairsState.ACTIVE and target.mode in (Mode.OFFLINE, Mode.FAULTED)
        judge(self.session, target, definition, same_region=same)

    def on_ready(self, target: Target, versions: ExtentVersions | None) -> None:
        if versions is not None:
            check_versions(self.session, target, versions)
            first = ", ".join(map(str, versions.generations[:12]))
            self._note(f"[{target.index}]R generation[0..{min(12, len(versions.generations))}]: [{first}]")
            self._versions[target.index] = versions
        if self.session.read_only and (self.state is UpstairsState.GO_ACTIVE or versions is not None):
            if self.state is UpstairsState.GO_ACTIVE:
                self._become_active(next_flush=0)
            target.phase = Phase.ACTIVE
        elif self.state is UpstairsState.GO_ACTIVE:
            target.phase = Phase.WAIT_QUORUM
            if all(other.phase is Phase.WAIT_QUORUM for other in self.targets):
                self._on_quorum()
        elif versions is None:
            target.phase = Phase.ACTIVE
            if self._pipeline is not None:
                self._pipeline.replay(target)
            self._begin_repair()  # others may have waited for a source
        else:
            target.phase = Phase.LIVE_REPAIR_READY
            self._note(f"client {target.index} is ready for live-repair")
            self._begin_repair()
        self._changes.tell()

    def on_message(self, target: Target, message: Message) -> None:
        if isinstance(message, JobMessage) and self._pipeline is not None:
            if (message.upstairs_id, message.session_id) != (self.session.upstairs_id, self.session.session_id):
                text = f"{type(message).__name__} of another session {message.session_id} from client {target.index}"
                self._note(f"{text} is ignored", 40)
                return
            self._pipeline.on_answer(target, message)
            if self.state is UpstairsState.DEACTIVATING:
                self._changes.tell()
        elif isinstance(message, RepairMessage) and self._recovery.reconciliation is not None:
            self._recovery.reconciliation.on_message(target, message)
        else:
            target.drop(f"{type(message).__name__} was not asked for")

    def on_lost(self, target: Target, reason: str) -> None:
        phase, pipeline = target.phase, self._pipeline
        if self._recovery.reconciliation is not None:
            self._recovery.abort_reconciliation(f"replica {target.index} was lost: {reason}")
        elif pipeline is None or phase not in _IN_USE:
            target.phase = Phase.NEGOTIATING
        elif self.state is UpstairsState.DEACTIVATING:
            target.phase = Phase.NEGOTIATING
            pipeline.skip(target)
        elif phase is Phase.ACTIVE and pipeline.can_replay(target):
            target.phase, target.mode = Phase.NEGOTIATING, Mode.OFFLINE
            pipeline.wait_for(target)
        else:
            self._fault(target, f"lost while {phase}: {reason}")
        self._changes.tell()

    # Activation

    def _on_quorum(self) -> None:
        collation = self._collate()
        self._note(f"Max found gen is {collation.lowest_generation}")
        if error := check_generation(self.session, collation.lowest_generation):
            self._note(f"Failed downstairs collate with: {error}", 50)
            self.disable(error)
            return
        self._recovery.reconcile(collation, lambda: self._become_active(collation.next_flush))

    def _collate(self) -> Collation:
        return collate([self._versions[target.index] for target in self.targets])

    def _become_active(self, next_flush: int) -> None:
        self._numbers.next_flush = next_flush
        self._pipeline = Pipeline(
            self.targets,
            self._numbers,
            self.session.request.blocks,
            self.settings,
            self._log,
            judge_read=self.io.judge_read,
            on_event=self.io.on_event,
            on_fault=self._fault,
        )
        self.io.begin(self._pipeline)
        for target in self.targets:
            target.last_flush = None
            if not self.session.read_only:
                target.phase = Phase.ACTIVE
        self._set_state(UpstairsState.ACTIVE)

    # Losses while active

    def _fault(self, target: Target, reason: str) -> None:
        """A downstairs missed something for good: close its connection; it comes back through a live repair."""
        known = target.phase not in _IN_USE and target.mode in (Mode.FAULTED, Mode.REPLACED)
        if self._pipeline is None or known:
            return
        self._note(f"client {target.index} is faulted: {reason}", 40)
        if self.settings.of_2023:
            target.stop()  # the upstairs of 2023 has no live repair: the replica is out until the next activation
            target.mode = Mode.FAULTED
        else:
            target.restart(Mode.FAULTED)
        self._pipeline.skip(target)
        if self.io.repair is not None and target.index in self.io.repair.under:
            self._recovery.give_up_repair(self._pipeline, reason)
        self._changes.tell()

    def _begin_repair(self) -> None:
        if self.state is UpstairsState.ACTIVE and self._pipeline is not None:
            self._recovery.take_up(self._pipeline, self._versions, self._changes.tell)

    # Replacement

    def replace(self, old: SocketAddress, new: SocketAddress) -> str:
        """Put another downstairs in the place of one; a word of the API's ReplaceResult. Raises ReplaceError."""
        word = judge_replacement(self.targets, old, new)
        if word != "started":
            return word
        self._note(f"{self.session.upstairs_id} request to replace downstairs {old} with {new}", 40)
        target = next(target for target in self.targets if target.address == old)
        target.address = new
        self.session.request = with_targets(self.session.request, tuple(target.address for target in self.targets))
        self._begin_with(target)
        return word

    def _begin_with(self, target: Target) -> None:
        """Connect to the new address of a target, as the state of the session demands it."""
        if self.state is UpstairsState.ACTIVE and self._pipeline is not None:
            repaired = self.io.repair is not None and target.index in self.io.repair.under
            target.restart(Mode.REPLACED)
            self._pipeline.skip(target)
            if repaired:
                self._recovery.give_up_repair(self._pipeline, "the replica was replaced")
        elif self.state is UpstairsState.GO_ACTIVE:
            target.restart(Mode.NEW)
        self._changes.tell()

    # Helpers

    def _stop(self, state: UpstairsState) -> None:
        """Close everything, fail everybody who waits, and be in ``state``."""
        self._recovery.stop()
        if self._pipeline is not None:
            text = f"{NOT_ACTIVE}: {self._failure}" if self._failure else NOT_ACTIVE
            self._pipeline.abort(IoError(text, real=NOT_ACTIVE))
        self.io.end()
        self._pipeline = None
        for target in self.targets:
            target.stop()
        self._versions.clear()
        self._set_state(state)

    def _set_state(self, state: UpstairsState) -> None:
        self.state = state
        self._changes.tell()

    def _note(self, text: str, level: int = 30) -> None:
        self._log(text, {"level": level})
