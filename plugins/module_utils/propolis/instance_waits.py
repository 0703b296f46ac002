# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for an instance: until it is in a state, until it runs with its disks, until it is gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ..waiting import wait_until
from .diagnosis import read_log, reasons
from .errors import ApiError, InstanceFailed, NoAnswer, NoInstance, WaitTimeout
from .instance import DiskSession, Observation, State
from .server import Server

# The monitor's answer when an instance has ended before the generation that was asked for: today's, and that of 2023.
_WILL_NEVER_COME = (410, 503)


class Deadline:
    """A moment on the monotonic clock, and the number of seconds that a user gave for it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.at = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(self.at - time.monotonic(), 0.0)


class Log:
    """Where a server writes its log, if we were told: for naming it, and for finding reasons in it."""

    def __init__(self, path: str | None) -> None:
        self._path = Path(path) if path else None
        try:
            self._start = self._path.stat().st_size if self._path else 0
        except OSError:
            self._start = 0

    def tell(self, server: Server, guess: str) -> str:
        """A clause that gives the reason (read from the log since we began to look, else ``guess``) and the place."""
        found = reasons(read_log(self._path, self._start)) if self._path else []
        said = "; ".join(found[:3]) or guess
        where = f"the log is {self._path}" if self._path else f"the log of {server} says more"
        return f"{said} ({where})"


_FAILURE_GUESS = (
    "likely a disk: a generation that is not higher than the one stored, a volume that does not match its regions, or "
    "a key that does not fit"
)


def wait_for_state(
    server: Server, reached: Callable[[Observation], bool], deadline: Deadline, *, wanted: str
) -> Observation:
    """Wait until a publication satisfies ``reached``; ``wanted`` says in words what that means.

    Raises WaitTimeout with the last thing seen, InstanceFailed when the instance ends as something else, NoInstance
    when the server has forgotten it, NoAnswer from a deaf server.
    """
    last: Observation | None = None
    try:
        for last in server.watch(deadline.at):
            if reached(last):
                return last
    except NoAnswer:
        # A request that was cut off by our own deadline is a timeout of the wait, not a deaf server.
        if deadline.left > 0:
            raise
    except ApiError as error:
        if error.status not in _WILL_NEVER_COME:
            raise
        # The instance ended between two questions; what it ended as is published and can still be read.
        last = server.monitor(timeout=max(deadline.left, 1.0))
        if last is not None and reached(last):
            return last
        ended = last.state.value if last else "gone"
        raise InstanceFailed(
            f"{server}: the instance ended ({ended}) while it was waited for to be {wanted}.",
            code="instance_ended",
            details={"server": str(server.address), "wanted": wanted, "state": ended},
        ) from error
    seen = last.state.value if last else "nothing"
    raise WaitTimeout(
        f"{server}: the instance is not {wanted} after {deadline.seconds:g} s; last seen: {seen}. "
        "The wait is over, what was asked for may still happen.",
        details={"server": str(server.address), "wanted": wanted, "last_seen": seen, "seconds": deadline.seconds},
    )


def wait_until_running(server: Server, deadline: Deadline, log: Log) -> list[DiskSession]:
    """Wait until the instance is Running and every disk active; return the disks.

    Raises InstanceFailed with the likely reason when it fails or ends instead, WaitTimeout with the disks and
    targets that are missing.
    """
    try:
        seen = wait_for_state(
            server, lambda now: now.state is State.RUNNING or now.state.is_final, deadline, wanted="Running"
        )
    except WaitTimeout as error:
        missing = missing_disks(server)
        if missing:
            raise WaitTimeout(
                f"{error.message} It waits for its disks: {missing}.",
                details={**error.details, "waiting_for": missing},
            ) from error
        raise
    if seen.state is State.FAILED:
        raise InstanceFailed(
            f"{server}: the instance became Failed instead of Running: {log.tell(server, _FAILURE_GUESS)}.",
            details={"server": str(server.address), "state": seen.state.value},
        )
    if seen.state is State.DESTROYED:
        raise InstanceFailed(
            f"{server}: the instance was stopped while it was being started; it is Destroyed now.",
            details={"server": str(server.address), "state": seen.state.value},
        )
    return wait_for_disks(server, deadline)


def wait_for_disks(server: Server, deadline: Deadline) -> list[DiskSession]:
    """Wait until every Crucible disk of a Running instance is active. Nothing announces that, so it is polled.

    Servers of 2023 tell nothing about disks; there Running means that they are open. Raises InstanceFailed for a
    disk that was fenced, WaitTimeout for others.
    """

    def look() -> list[DiskSession] | None:
        sessions = server.disk_sessions(timeout=min(server.client.timeout, max(deadline.left, 1.0)))
        for disk in sessions:
            if disk.is_fenced:
                raise InstanceFailed(
                    f"{server}: disk {disk.name} is disabled: another session with a higher generation than "
                    f"{disk.generation} has taken volume {disk.volume}. The instance runs in two places or its disk "
                    "was given away; stop this one.",
                    code="fenced",
                    details={"server": str(server.address), "disk": disk.name, "generation": disk.generation},
                )
        ready = not server.dialect.reports_disks or all(disk.active for disk in sessions)
        return sessions if ready else None

    found = wait_until(look, deadline.left)
    if found is None:
        missing = missing_disks(server)
        raise WaitTimeout(
            f"{server}: the instance is Running, but after {deadline.seconds:g} s not all of its disks are active: "
            f"{missing or 'no disk told why'}.",
            details={"server": str(server.address), "wanted": "active disks", "waiting_for": missing},
        )
    return found


def missing_disks(server: Server) -> str:
    """Which disks are not active, and which of their targets keep them so, in words; empty when that is unknown."""
    try:
        sessions = server.disk_sessions(timeout=min(server.client.timeout, 5.0))
    except (ApiError, NoAnswer):
        return ""
    words = []
    for disk in sessions:
        if disk.active is False:
            targets = ", ".join(
                f"{target.address or 'unknown target'} {target.words}"
                for target in disk.targets
                if target.state not in ("active", "unknown")
            )
            words.append(f"{disk.name} ({targets or 'targets ' + ', '.join(str(one.address) for one in disk.targets)})")
    return "; ".join(words)


def wait_until_gone(server: Server, deadline: Deadline) -> None:
    """Wait until the instance is Destroyed (or Failed, or forgotten): its server is free for another one."""
    try:
        wait_for_state(server, lambda now: now.state.is_final, deadline, wanted="Destroyed")
    except NoInstance:
        return
    except WaitTimeout as error:
        raise WaitTimeout(
            f"{error.message} A stop waits for the disks: with two of three downstairs of one away it does not end.",
            details=error.details,
        ) from error
