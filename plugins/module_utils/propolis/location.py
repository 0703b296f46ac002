# SPDX-License-Identifier: GPL-3.0-or-later
"""Where instances are, decided by what every server said and never by what a variable says."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..failures import CollectionError
from .instance import State

_REFUSED = os.strerror(errno.ECONNREFUSED)


class NotLocated(CollectionError):
    """Nobody can say where an instance is. ``details``: instance, servers."""

    default_code = "not_located"


@dataclass(frozen=True)
class Location:
    """The server that holds a live instance: the inventory name of its host, its address, the state there."""

    name: str
    address: str
    state: str


def locate(instance: str, instance_id: str, servers: Sequence[Mapping[str, Any]]) -> Location | None:
    """The server that runs the instance, or None when it runs nowhere.

    ``servers`` are the ``servers`` of ``propolis_instance_info``. In a migration both ends hold it: then the one that
    says Running is taken, else the first. Raises NotLocated when no server holds it and one of them could not be asked:
    it may be there, and must not be started a second time.
    """
    live = [found for server in servers if (found := _live(server, instance_id)) is not None]
    if live:
        return next((found for found in live if found.state == State.RUNNING.value), live[0])
    silent = [server for server in servers if server["error"] and not nobody_there(server)]
    if silent:
        names = ", ".join(str(server["name"]) for server in silent)
        reasons = " ".join(str(server["error"]) for server in silent)
        raise NotLocated(
            f"{instance} may run on {names}: {reasons} No copy is started or moved while that is unknown.",
            details={"instance": instance, "servers": [server["name"] for server in silent]},
        )
    return None


def _live(server: Mapping[str, Any], instance_id: str) -> Location | None:
    held = server["instance"]
    if not held or held["id"] != instance_id or State(held["state"]).is_final:
        return None
    return Location(str(server["name"]), str(server["address"]), str(held["state"]))


def nobody_there(server: Mapping[str, Any]) -> bool:
    """The host answered that nobody listens: no process, so no machine in its memory."""
    failure = server["failure"] or {}
    return failure.get("code") == "unreachable" and (failure.get("details") or {}).get("reason") == _REFUSED
