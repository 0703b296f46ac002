# SPDX-License-Identifier: GPL-3.0-or-later
"""What a supervisor is: the small interface behind which processes, systemd and SMF look the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from ..failures import CollectionError


class SupervisorError(CollectionError):
    """A service cannot be started, stopped or looked at."""

    default_code = "supervisor_error"


class UnknownSupervisorError(SupervisorError):
    default_code = "unknown_supervisor"


class NotStartableError(SupervisorError):
    """The program is missing, not executable, or this host does not allow what it needs. Nothing was started."""

    default_code = "not_startable"


class NotStoppableError(SupervisorError):
    """The process is still there."""

    default_code = "not_stoppable"


class InvalidServiceError(SupervisorError):
    default_code = "invalid_service"


@dataclass(frozen=True)
class Service:
    """One named program that is to be kept running.

    ``env`` is added to a small environment (PATH, HOME and the like), never to the caller's whole one.
    ``open_files`` is the soft limit of open files that the program needs, None for the host's own.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    open_files: int | None = None


@dataclass(frozen=True)
class Status:
    """What a supervisor knows of a service.

    ``stopped``: never started, or stopped on request. ``died``: was started, is gone, and nobody asked for it.
    ``exit`` says how it ended where that is known, for example ``exit status 1`` or ``signal SIGKILL``.
    """

    state: Literal["running", "stopped", "died"]
    pid: int | None = None
    argv: tuple[str, ...] = ()
    log: Path | None = None
    exit: str | None = None

    @property
    def running(self) -> bool:
        return self.state == "running"


class Supervisor(Protocol):
    """Keeps named services. Every method raises SupervisorError; every wait is bounded by ``timeout`` seconds."""

    def status(self, name: str) -> Status: ...

    def start(self, service: Service, *, timeout: float) -> Status:
        """Start unless running; returns at once, readiness is the caller's affair. A running service is left alone."""

    def stop(self, name: str, *, timeout: float) -> bool:
        """Ask the service to end, insist when ``timeout`` is over. True when something was stopped."""

    def forget(self, name: str) -> bool:
        """Remove what is kept about a stopped service (not its log). True when there was something."""

    def logs(self, name: str, lines: int = 20) -> list[str]:
        """The last lines that the service wrote since it was last started."""
