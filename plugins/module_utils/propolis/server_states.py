# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing a server process into a wanted state: decided from what is there, then done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..supervisors.service import Status
from .server_process import ServerService


class ServerGoal(Enum):
    """The states that a user may ask for."""

    STARTED = "started"
    STOPPED = "stopped"
    RESTARTED = "restarted"
    ABSENT = "absent"


@dataclass(frozen=True)
class ServerPlan:
    """What will be done. ``status`` is what was found."""

    stop: bool
    start: bool
    forget: bool
    status: Status

    @property
    def changed(self) -> bool:
        return self.stop or self.start or self.forget


def plan_server(goal: ServerGoal, service: ServerService) -> ServerPlan:
    """Decide what to do, and refuse it where it would hurt. Changes nothing; raises CollectionError."""
    status = service.status()
    if goal in (ServerGoal.STARTED, ServerGoal.RESTARTED):
        service.definition.check_startable()
        again = status.running and (goal is ServerGoal.RESTARTED or not service.is_as_defined(status))
        if again:
            service.check_may_stop(status)
        elif not status.running:
            service.check_port()
        return ServerPlan(stop=again, start=again or not status.running, forget=False, status=status)
    if status.running:
        service.check_may_stop(status)
    known = status.state != "stopped" or service.written_config() is not None
    return ServerPlan(stop=status.running, start=False, forget=goal is ServerGoal.ABSENT and known, status=status)


def foresee_server(plan: ServerPlan, service: ServerService) -> Status:
    """What is true now, for somebody who only looks: a server that shall stay as it is must answer. Changes nothing."""
    return service.wait_until_ready() if plan.status.running and not plan.changed else plan.status


def carry_out_server(plan: ServerPlan, service: ServerService) -> Status:
    """Do it, and return what is then true. A server that is left running is waited for until it answers."""
    if plan.stop:
        service.stop()
    if plan.start:
        if plan.stop:
            service.check_port()
        return service.start()
    if plan.forget:
        service.forget()
    elif plan.status.running and not plan.stop:
        return service.wait_until_ready()
    return service.status()
