# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run that shall move an instance has to do, decided on what all servers and the ledger say.

The id of a migration follows from what is true before it: the instance, its two ends, the generations in use, the
failure that a server remembers, and who moves it. So a run that was killed finds its own migration, and its own number,
again; a try after a failure is a new migration with a new number; and two controllers never share one.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from .instance import Phase, State
from .location import NotLocated, locate
from .verdict import Code

Answer = Mapping[str, Any]

_NAMESPACE = uuid.UUID("6c0b6b0e-52d7-5a0f-9d53-6a0a3c1c7f44")
# Between the allocation of its number and the first sign of it at a server, a migration is known to the ledger only.
# A run takes some seconds for that; one that was killed there by its machine's end leaves others waiting so long.
UNSEEN_SECONDS = 60
_NOTHING = "Nothing was changed and no number was spent."


@dataclass(frozen=True)
class Problem:
    """Why nothing can be moved: ``code`` is a verdict's word, ``next_step`` what to do about it."""

    code: str
    sentence: str
    next_step: str


@dataclass(frozen=True)
class Intent:
    """``needed`` is False when the instance is at its destination and nothing is under way.

    ``source``, ``destination`` and ``others`` are names of servers. ``adopts`` is True when a migration of ours is
    under way: then no number is allocated, the one in the ledger is meant.
    """

    instance: str
    source: str | None
    destination: str
    others: tuple[str, ...]
    needed: bool
    adopts: bool
    migration_id: str | None
    problem: Problem | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a playbook."""
        return {**asdict(self), "others": list(self.others)}


@dataclass(frozen=True)
class Asker:
    """Who wants to move something: the name of the controller and the time there, in seconds since 1970."""

    controller: str
    now: float


def decide(
    instance: str,
    instance_id: str,
    destination: str,
    servers: Sequence[Answer],
    newest: Sequence[Answer],
    asker: Asker,
) -> Intent:
    """What to do about moving ``instance`` to ``destination`` (the name of one of ``servers``).

    ``servers`` are answers of ``propolis_instance_info``; ``newest`` the newest ledger entries of its volumes.
    """
    by_name = {str(server["name"]): server for server in servers}
    there = by_name[destination]
    holders = [server for server in servers if _holds(server, instance_id)]
    source = next((server for server in holders if server is not there), None)
    if source is None:
        return _without_source(instance, instance_id, destination, servers, newest, asker)
    others = tuple(name for name in by_name if name not in (destination, source["name"]))
    plain = Intent(instance, str(source["name"]), destination, others, True, False, None)
    flying = _in_flight(source, there)
    if flying is None and _moving_without_id(source, there):
        flying = _newest_migration(newest)
    if flying is not None:
        problem = _not_ours(instance, flying, newest, asker)
        return replace(plain, adopts=problem is None, migration_id=flying, problem=problem)
    name = migration_id(instance_id, source, there, asker.controller)
    problem = _two_copies(instance, holders) or _about_to_begin(instance, servers, newest, asker)
    return replace(plain, migration_id=name, problem=problem)


def migration_id(instance_id: str, source: Answer, destination: Answer, controller: str) -> str:
    """The id of the migration that would begin now. A failure that either end remembers makes it another one."""
    in_use = sorted(f"{disk['backend']}={disk['generation']}" for disk in source["disks"])
    failures = [_failed(source, "out"), _failed(destination, "in")]
    words = [controller, instance_id, str(source["address"]), str(destination["address"]), *in_use, *failures]
    return str(uuid.uuid5(_NAMESPACE, "\n".join(words)))


def overtaken(instance: str, entry: Answer | None, unused: Mapping[str, int]) -> Problem:
    """Somebody else took a number between our look at the ledger and our own: ``entry`` is what they wrote.

    ``unused`` are the numbers that were handed out to us before we saw it, by volume.
    """
    if entry and entry.get("reason") == "migrate":
        return _being_moved(instance, str(entry.get("migration_id")), entry, unused)
    who = "somebody emptied the ledger of its volume"
    if entry:
        number, reason = entry.get("generation"), entry.get("reason")
        who = f"{entry.get('controller')} took generation {number} of its volume at {entry.get('time')} ({reason})"
    return Problem(
        Code.IN_PROGRESS_ELSEWHERE.value,
        f"{instance}: {who}, while this run looked. {spent(unused)}",
        "look with status.yml what became of it, then run this again",
    )


def spent(unused: Mapping[str, int]) -> str:
    """What a run that begins no move has changed: ``unused`` are the numbers that were handed out to it, by volume."""
    if not unused:
        return _NOTHING
    return f"{not_used(unused)}. Nothing but ledgers was changed."


def not_used(numbers: Mapping[str, int]) -> str:
    """``Spent and not used: generation 3 of vm0-boot``, of numbers by volume."""
    return "Spent and not used: " + ", ".join(f"generation {number} of {name}" for name, number in numbers.items())


def _without_source(
    instance: str,
    instance_id: str,
    destination: str,
    servers: Sequence[Answer],
    newest: Sequence[Answer],
    asker: Asker,
) -> Intent:
    """No other server holds it: it is there already, or it runs nowhere."""
    there = next(server for server in servers if server["name"] == destination)
    left = [server for server in servers if server is not there]
    past = next((server for server in left if (server["instance"] or {}).get("id") == instance_id), None)
    source = past or (left[0] if left else None)
    name = str(source["name"]) if source else None
    others = tuple(str(server["name"]) for server in left if server is not source)
    plain = Intent(instance, name, destination, others, False, False, None)
    if not _holds(there, instance_id):
        try:
            locate(instance, instance_id, servers)
        except NotLocated as error:
            unknown = Problem(Code.UNKNOWN.value, error.message, "make that server answer, or its host refuse")
            return replace(plain, problem=unknown)
        return replace(
            plain,
            problem=Problem(
                Code.NOBODY_RUNS.value,
                f"{instance} runs on no server of the inventory and cannot be moved to {destination}. {_NOTHING}",
                "boot.yml starts it",
            ),
        )
    flying = _newest_migration(newest) if there["migration"] is None else _record(there, "in")
    if flying is None or there["instance"]["state"] != State.MIGRATING.value:
        return plain
    problem = _not_ours(instance, flying, newest, asker)
    return replace(plain, needed=True, adopts=problem is None, migration_id=flying, problem=problem)


def _holds(server: Answer, instance_id: str) -> bool:
    held = server["instance"]
    return bool(held) and held["id"] == instance_id and not State(held["state"]).is_final


def _two_copies(instance: str, holders: Sequence[Answer]) -> Problem | None:
    """More than one server runs the instance, and no migration between them is under way."""
    running = [server for server in holders if server["instance"]["state"] == State.RUNNING.value]
    if len(running) < 2:
        return None
    fenced = [
        server for server in running if server["disks"] and all(disk["active"] is False for disk in server["disks"])
    ]
    code, alarm = (Code.LEFTOVER_SOURCE, "") if fenced else (Code.SPLIT_BRAIN, "SPLIT BRAIN: ")
    places = " and on ".join(_place_of_copy(server) for server in running)
    named = " or ".join(str(server["name"]) for server in fenced)
    return Problem(
        code.value,
        f"{alarm}{instance} runs on {places} at once. {_NOTHING}",
        f"stop the old copy on {named}, whose disks are disabled"
        if fenced
        else "stop one of the two copies now, by hand, after looking at which one has the newer data",
    )


def _place_of_copy(server: Answer) -> str:
    numbers = sorted({str(disk["generation"]) for disk in server["disks"] if disk["generation"] is not None})
    return f"{server['name']} at generation {', '.join(numbers)}" if numbers else str(server["name"])


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


def _newest_migration(newest: Sequence[Answer]) -> str:
    """Servers of 2023 tell a migration's phase only to those who know its id: the ledger's newest entry does."""
    return next((str(entry["migration_id"]) for entry in newest if entry.get("migration_id")), "of unknown id")


def _failed(server: Answer, side: str) -> str:
    """The id of the migration that a server remembers as failed, else a dash."""
    record = (server["migration"] or {}).get(side)
    if not record:
        return "-"
    failed = record["state"] == Phase.ERROR.value or (server["instance"] or {}).get("state") == State.FAILED.value
    return str(record["id"]) if failed else "-"


def _not_ours(instance: str, flying: str, newest: Sequence[Answer], asker: Asker) -> Problem | None:
    """Why the migration that is under way is not ours to follow; None when it is."""
    entry = next((entry for entry in newest if entry.get("migration_id") == flying), None)
    if entry is None:
        return Problem(
            Code.IN_PROGRESS_ELSEWHERE.value,
            f"{instance} is being moved by migration {flying}, which is not that of the newest number in its ledgers. "
            f"{_NOTHING}",
            "wait until that has ended, then look with status.yml",
        )
    return None if entry.get("controller") == asker.controller else _being_moved(instance, flying, entry)


def _about_to_begin(instance: str, servers: Sequence[Answer], newest: Sequence[Answer], asker: Asker) -> Problem | None:
    """Another controller took a number for a move a moment ago, and no server shows that migration or number yet."""
    records = [record for server in servers for record in (server["migration"] or {}).values() if record]
    known = {str(record["id"]) for record in records}
    in_use = {disk["generation"] for server in servers for disk in server["disks"]}
    for entry in newest:
        fresh = asker.now - _seconds(entry.get("time")) < UNSEEN_SECONDS
        others = entry.get("reason") == "migrate" and entry.get("controller") != asker.controller
        seen = entry.get("migration_id") in known or entry.get("generation") in in_use
        if others and fresh and not seen:
            return _being_moved(instance, str(entry.get("migration_id")), entry)
    return None


def _being_moved(instance: str, flying: str, entry: Answer, unused: Mapping[str, int] | None = None) -> Problem:
    return Problem(
        Code.IN_PROGRESS_ELSEWHERE.value,
        f"{instance} is being moved already: migration {flying} by {entry.get('controller')} since "
        f"{entry.get('time')}, generation {entry.get('generation')}. {spent(unused or {})}",
        "wait until that has ended, then look with status.yml",
    )


def _seconds(time: object) -> float:
    """Seconds since 1970 of an entry's time; 0 for what is no time, which then is long ago."""
    try:
        moment = datetime.fromisoformat(str(time))
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
