# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing an instance into a wanted state: what has to be done is decided first, by a pure function, then done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .errors import (
    AlreadyInitialized,
    ApiError,
    BadDescription,
    InstanceFailed,
    NoAnswer,
    NoInstance,
    ServerOccupied,
    StateChangeImpossible,
)
from .instance import Change, DiskSession, Instance, State
from .instance_waits import Deadline, Log, wait_for_state, wait_until_gone, wait_until_running
from .server import Server
from .spec_description import Description


class Goal(Enum):
    """The states that a user may ask for. Stopping is for good: a stopped instance is gone, like an absent one."""

    PRESENT = "present"
    RUNNING = "running"
    STOPPED = "stopped"
    REBOOTED = "rebooted"
    ABSENT = "absent"


class Step(Enum):
    """Things to do, in the order in which they appear in a plan."""

    AWAIT_END = "wait for its end"
    CREATE = "create"
    RUN = "run"
    AWAIT_RUNNING = "wait until it runs"
    STOP = "stop"
    REBOOT = "reboot"


CHANGES = frozenset({Step.CREATE, Step.RUN, Step.STOP, Step.REBOOT})

_ENDING = (State.STOPPING, State.STOPPED)


@dataclass(frozen=True)
class Wanted:
    """Which instance, and what about it. ``id`` None means: whatever the server holds under ``name``."""

    goal: Goal
    id: str | None
    name: str | None
    description: Description | None
    wait: bool = True
    force: bool = False


@dataclass(frozen=True)
class Plan:
    """The steps, and the state before and after them (None: no instance)."""

    steps: tuple[Step, ...]
    before: State | None
    after: State | None

    @property
    def changed(self) -> bool:
        return any(step in CHANGES for step in self.steps)


def make_plan(wanted: Wanted, held: Instance | None, server: str) -> Plan:
    """Decide what to do about ``held``, the instance that ``server`` holds (or held last).

    Raises ServerOccupied when a live one is another than the wanted, StateChangeImpossible for what cannot be done,
    BadDescription when an instance has to be made and nothing says how.
    """
    live = held if held is not None and not held.state.is_final else None
    if live is not None:
        _check_identity(wanted, live, server)
    before = held.state if held is not None and (live is not None or _matches(wanted, held)) else None
    if wanted.goal in (Goal.STOPPED, Goal.ABSENT):
        return Plan(_to_end(wanted, live, server), before, State.DESTROYED if live is not None else before)
    if wanted.goal is Goal.REBOOTED:
        return Plan(_to_reboot(live, server), before, State.RUNNING)
    goes_on = live is not None and live.state not in _ENDING
    steps: list[Step] = []
    if not goes_on:
        _check_creatable(wanted, server)
        steps += ([Step.AWAIT_END] if live is not None else []) + [Step.CREATE]
    if wanted.goal is Goal.PRESENT:
        return Plan(tuple(steps), before, live.state if live is not None and goes_on else State.CREATING)
    state = live.state if live is not None and goes_on else State.CREATING
    if state is State.MIGRATING:
        raise StateChangeImpossible(
            f"{server}: instance {live.id if live else ''} is being migrated; whether and where it will run is for its "
            "migration to say (module propolis_migration)."
        )
    steps += [Step.RUN] if state is State.CREATING else []
    return Plan((*steps, Step.AWAIT_RUNNING), before, State.RUNNING)


def _matches(wanted: Wanted, held: Instance) -> bool:
    return held.id == wanted.id if wanted.id is not None else wanted.name in (None, held.name)


def _check_identity(wanted: Wanted, live: Instance, server: str) -> None:
    if not _matches(wanted, live):
        asked = wanted.id if wanted.id is not None else f"named {wanted.name}"
        raise ServerOccupied(
            f"{server} holds instance {live.id} ({live.name}, {live.state.value}), not {asked}: one server serves one "
            "instance. Use another server, or stop that instance first.",
            details={"found": {"id": live.id, "name": live.name, "state": live.state.value}, "wanted": asked},
        )


def _check_creatable(wanted: Wanted, server: str) -> None:
    if wanted.description is None or wanted.id is None or wanted.name is None:
        missing = [
            word
            for word, value in (("spec", wanted.description), ("id", wanted.id), ("name", wanted.name))
            if value is None
        ]
        raise BadDescription(
            f"{server} holds no such instance, and none can be made without {', '.join(missing)}.",
            code="cannot_create",
        )


def _to_end(wanted: Wanted, live: Instance | None, server: str) -> tuple[Step, ...]:
    if live is None:
        return ()
    if live.state is State.MIGRATING and not wanted.force:
        raise StateChangeImpossible(
            f"{server}: instance {live.id} is being migrated. A stop is dropped when the migration succeeds, or ends "
            "the instance at both servers: follow the migration first, or set force."
        )
    return (Step.AWAIT_END,) if live.state in _ENDING else (Step.STOP, Step.AWAIT_END)


def _to_reboot(live: Instance | None, server: str) -> tuple[Step, ...]:
    if live is None or live.state not in (State.RUNNING, State.REBOOTING):
        found = live.state.value if live else "no live instance"
        raise StateChangeImpossible(f"{server}: only a Running instance can be rebooted; found: {found}.")
    return (Step.REBOOT, Step.AWAIT_RUNNING)


class Lifecycle:
    """Carries out plans at one server."""

    def __init__(self, server: Server, wanted: Wanted, *, timeout: float, log: Log) -> None:
        self.server = server
        self.wanted = wanted
        self.deadline = Deadline(timeout)
        self.log = log
        self.changed = False
        self.disks: list[DiskSession] = []

    def carry_out(self, plan: Plan) -> None:
        """Do the steps. ``changed`` is true as soon as one of them has been taken, also when a later one fails."""
        before_reboot = 0
        for step in plan.steps:
            if step is Step.CREATE:
                self._create()
            elif step is Step.RUN:
                self._change(Change.RUN)
            elif step is Step.STOP:
                self._stop()
            elif step is Step.REBOOT:
                before_reboot = self._reboot()
            elif self.wanted.wait or Step.CREATE in plan.steps[plan.steps.index(step) :]:
                # The end of a predecessor is waited for in any case: its server takes nobody else before.
                self._await(step, before_reboot)

    def _create(self) -> None:
        wanted = self.wanted
        if wanted.id is None or wanted.name is None or wanted.description is None:
            raise AssertionError("make_plan plans no creation without them")
        try:
            self.server.ensure(wanted.id, wanted.name, wanted.description, timeout=self.deadline.left)
        except AlreadyInitialized:
            self._accept_other_hand(wanted)
        except NoAnswer:
            # The server goes on with what it was asked; whether it succeeded can only be seen.
            held = self.server.instance(timeout=max(self.deadline.left, 1.0))
            if held is None or held.id != wanted.id:
                raise
            self.changed = True
        except ApiError as error:
            if error.status != 500:
                raise
            guess = (
                "usual causes: more processors or memory than the host has, a volume construction request that it "
                "cannot use, a bootrom that it cannot open, or another instance that it holds"
            )
            raise InstanceFailed(
                f"{self.server} could not make instance {wanted.id} ({wanted.name}): "
                f"{self.log.tell(self.server, guess)}.",
                code="create_failed",
                details={"server": str(self.server.address), "status": error.status, "request_id": error.request_id},
            ) from error
        else:
            self.changed = True

    def _accept_other_hand(self, wanted: Wanted) -> None:
        """Somebody made an instance between our look and our request: fine when it is the wanted one."""
        held = self.server.instance()
        if held is not None:
            _check_identity(wanted, held, str(self.server))

    def _change(self, change: Change) -> None:
        try:
            self.server.change_state(change)
        except NoInstance as error:
            held = self.server.instance()
            if held is None or held.state.is_final:
                raise
            raise InstanceFailed(
                f"{self.server} says that its instance is {held.state.value} but takes no requests for it: making it "
                f"has died on the way. Restart that server; {self.log.tell(self.server, 'see why first')}.",
                code="half_made",
                details={"server": str(self.server.address), "state": held.state.value},
            ) from error
        self.changed = True

    def _stop(self) -> None:
        try:
            self.server.change_state(Change.STOP)
        except NoInstance:
            # It ended by itself between our look and our request: that is what was wanted.
            held = self.server.instance()
            if held is not None and not held.state.is_final:
                raise
        else:
            self.changed = True

    def _reboot(self) -> int:
        """Queue the reboot; return the publication that was the last one before it."""
        seen = self.server.monitor()
        self._change(Change.REBOOT)
        return seen.generation if seen else 0

    def _await(self, step: Step, before_reboot: int) -> None:
        if step is Step.AWAIT_END:
            wait_until_gone(self.server, self.deadline)
            return
        if before_reboot:
            wait_for_state(
                self.server,
                lambda now: now.generation > before_reboot and now.state is not State.REBOOTING,
                self.deadline,
                wanted="rebooted",
            )
        self.disks = wait_until_running(self.server, self.deadline, self.log)
