# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run that shall move an instance has to do, decided on what all servers and the ledger say.

The id of a migration follows from what is true before it: the instance, its two ends, the generations in use, and the
failure that a server remembers. So a run that was killed finds its own migration, and its own number, again; a try
after a failure is a new migration with a new number.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .instance import Phase, State

Answer = Mapping[str, Any]

_NAMESPACE = uuid.UUID("6c0b6b0e-52d7-5a0f-9d53-6a0a3c1c7f44")


@dataclass(frozen=True)
class Intent:
    """``needed`` is False when the instance is at its destination and nothing is under way.

    ``source``, ``destination`` and ``others`` are names of servers. ``problem`` is one sentence, or None. ``adopts`` is
    True when a migration of ours is under way: then no number is allocated, the one in the ledger is meant.
    """

    instance: str
    source: str | None
    destination: str
    others: tuple[str, ...]
    needed: bool
    adopts: bool
    migration_id: str | None
    problem: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a playbook."""
        return {**asdict(self), "others": list(self.others)}


def decide(
    instance: str,
    instance_id: str,
    destination: str,
    servers: Sequence[Answer],
    newest: Sequence[Answer],
    controller: str,
) -> Intent:
    """What to do about moving ``instance`` to ``destination`` (the name of one of ``servers``).

    ``servers`` are answers of ``propolis_instance_info``; ``newest`` the newest ledger entries of its volumes;
    ``controller`` is who runs this.
    """
    by_name = {str(server["name"]): server for server in servers}
    there = by_name[destination]
    holders = [server for server in servers if _holds(server, instance_id)]
    source = next((server for server in holders if server is not there), None)
    if source is None:
        return _without_source(instance, instance_id, destination, servers, there)
    others = tuple(name for name in by_name if name not in (destination, source["name"]))
    flying = _in_flight(source, there)
    if flying is not None:
        problem = _not_ours(instance, flying, newest, controller)
        return Intent(instance, str(source["name"]), destination, others, True, problem is None, flying, problem)
    if _moving_without_id(source, there):
        # Servers of 2023 tell a migration's phase only to those who know its id: the ledger's newest entry does.
        known = next((str(entry["migration_id"]) for entry in newest if entry.get("migration_id")), None)
        problem = _not_ours(instance, known, newest, controller)
        return Intent(instance, str(source["name"]), destination, others, True, problem is None, known, problem)
    name = migration_id(instance_id, source, there)
    return Intent(instance, str(source["name"]), destination, others, True, False, name)


def migration_id(instance_id: str, source: Answer, destination: Answer) -> str:
    """The id of the migration that would begin now. A failure that either end remembers makes it another one."""
    in_use = sorted(f"{disk['backend']}={disk['generation']}" for disk in source["disks"])
    failures = [_failed(source, "out"), _failed(destination, "in")]
    words = [instance_id, str(source["address"]), str(destination["address"]), *in_use, *failures]
    return str(uuid.uuid5(_NAMESPACE, "\n".join(words)))


def _without_source(
    instance: str, instance_id: str, destination: str, servers: Sequence[Answer], there: Answer
) -> Intent:
    """No other server holds it: it is there already, or it runs nowhere."""
    left = [server for server in servers if server is not there]
    past = next((server for server in left if (server["instance"] or {}).get("id") == instance_id), None)
    source = past or (left[0] if left else None)
    name = str(source["name"]) if source else None
    others = tuple(str(server["name"]) for server in left if server is not source)
    problem = None
    if not _holds(there, instance_id):
        problem = (
            f"{instance} runs on no server of the inventory and cannot be moved to {destination}; boot.yml starts it."
        )
    flying = _record(there, "in")
    ours = flying if problem is None and (there["instance"] or {}).get("state") == State.MIGRATING.value else None
    return Intent(instance, name, destination, others, ours is not None, ours is not None, ours, problem)


def _holds(server: Answer, instance_id: str) -> bool:
    held = server["instance"]
    return bool(held) and held["id"] == instance_id and not State(held["state"]).is_final


def _record(server: Answer, side: str) -> str | None:
    """The id of a server's migration that is under way."""
    record = (server["migration"] or {}).get(side)
    return str(record["id"]) if record and record["state"] != Phase.ERROR.value else None


def _in_flight(source: Answer, destination: Answer) -> str | None:
    if (source["instance"] or {}).get("state") == State.MIGRATING.value:
        return _record(source, "out")
    if (destination["instance"] or {}).get("state") == State.MIGRATING.value:
        return _record(destination, "in")
    return None


def _moving_without_id(source: Answer, destination: Answer) -> bool:
    states = {(server["instance"] or {}).get("state") for server in (source, destination)}
    return State.MIGRATING.value in states and source["migration"] is None


def _failed(server: Answer, side: str) -> str:
    """The id of the migration that a server remembers as failed, else a dash."""
    record = (server["migration"] or {}).get(side)
    if not record:
        return "-"
    failed = record["state"] == Phase.ERROR.value or (server["instance"] or {}).get("state") == State.FAILED.value
    return str(record["id"]) if failed else "-"


def _not_ours(instance: str, flying: str | None, newest: Sequence[Answer], controller: str) -> str | None:
    """Why the migration that is under way is not ours to follow; None when it is."""
    entry = next((entry for entry in newest if flying is not None and entry.get("migration_id") == flying), None)
    if entry is None:
        return f"{instance} is being moved by somebody whom the ledger does not know (migration {flying}); wait."
    if entry.get("controller") != controller:
        return (
            f"{instance} is being moved already: migration {flying} by {entry.get('controller')} since "
            f"{entry.get('time')}, generation {entry.get('generation')}. Nothing was spent; look again later."
        )
    return None
