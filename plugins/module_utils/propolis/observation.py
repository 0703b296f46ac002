# SPDX-License-Identifier: GPL-3.0-or-later
"""What one propolis server was seen to say about one instance, and the few places where that puts the instance.

Plain values only: ``observe`` fills them in, ``truth`` judges them, tests write them down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from .instance import DiskSession, MigrationRecord, Phase, State


class Reach(Enum):
    """How far a question got."""

    ANSWERS = "answers"
    HANGS = "hangs"  # the connection stands, the answer does not come
    GONE = "gone"  # the host refuses the connection: no process serves there
    UNREACHABLE = "unreachable"  # no connection and no refusal either: nobody can say what runs there
    STRANGE = "strange"  # something answers, but not as a propolis server that we understand


@dataclass(frozen=True)
class ServerName:
    """A server as people call it (an inventory name) and its ``IP:port``."""

    name: str
    address: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Sighting:
    """What a server said at one moment.

    ``state`` is None when it holds no instance. ``disks`` are the Crucible disks of its instance; ``disks_problem`` is
    the sentence that says why they could not be read. ``at`` is monotonic seconds.
    """

    server: ServerName
    reach: Reach
    error: str | None = None
    dialect: str | None = None
    instance_id: str | None = None
    instance_name: str | None = None
    state: State | None = None
    incoming: MigrationRecord | None = None
    outgoing: MigrationRecord | None = None
    disks: tuple[DiskSession, ...] = ()
    disks_problem: str | None = None
    at: float = 0.0

    @property
    def keeps_migrating_after_failure(self) -> bool:
        """Servers of January 2023 leave both ends of a failed migration in ``Migrating``, although the source runs
        again and the destination never will (read in their source)."""
        return self.dialect == "2023-01"


class Place(Enum):
    """Where one server puts the instance that is asked about."""

    RUNS = "runs"
    MOVING = "moving"  # state Migrating, or a migration into the server that has not yet made an instance
    STARTING = "starting"
    CREATED = "created"
    STOPPING = "stopping"
    OFF = "off"
    FAILED = "failed"
    EMPTY = "empty"  # answers, and does not hold this instance
    OCCUPIED = "occupied"  # holds another live instance
    GONE = "gone"
    HANGS = "hangs"
    UNREACHABLE = "unreachable"


DOWN = frozenset({Place.OFF, Place.FAILED, Place.EMPTY, Place.OCCUPIED, Place.GONE})
SILENT = frozenset({Place.HANGS, Place.UNREACHABLE})

_STATES = {
    State.CREATING: Place.CREATED,
    State.STARTING: Place.STARTING,
    State.RUNNING: Place.RUNS,
    State.REBOOTING: Place.RUNS,
    State.REPAIRING: Place.RUNS,
    State.MIGRATING: Place.MOVING,
    State.STOPPING: Place.STOPPING,
    State.STOPPED: Place.STOPPING,  # Destroyed follows by itself
    State.DESTROYED: Place.OFF,
    State.FAILED: Place.FAILED,
}
_SILENCE = {
    Reach.HANGS: Place.HANGS,
    Reach.GONE: Place.GONE,
    Reach.UNREACHABLE: Place.UNREACHABLE,
    Reach.STRANGE: Place.UNREACHABLE,
}


def place(sighting: Sighting, instance_id: str) -> Place:
    """Where ``sighting`` puts the instance ``instance_id``."""
    if sighting.reach is not Reach.ANSWERS:
        return _SILENCE[sighting.reach]
    if sighting.state is None:
        # Right after the request for a migration, GET /instance says "no instance" for a moment
        # although the migration is under way (seen on the real program).
        incoming = sighting.incoming
        return Place.MOVING if incoming is not None and not incoming.phase.is_final else Place.EMPTY
    if sighting.instance_id != instance_id:
        return Place.EMPTY if sighting.state.is_final else Place.OCCUPIED
    if sighting.state is State.MIGRATING and sighting.keeps_migrating_after_failure:
        if sighting.incoming is not None and sighting.incoming.phase is Phase.ERROR:
            return Place.FAILED
        if sighting.outgoing is not None and sighting.outgoing.phase is Phase.ERROR:
            return Place.RUNS
    return _STATES[sighting.state]


class Disks(Enum):
    """What the disks of an instance say about the session that it has."""

    OURS = "ours"  # all active, at the generations asked about
    PENDING = "pending"  # not all active yet
    FENCED = "fenced"  # a session that another one has ended
    OTHER = "other"  # at other generations than the ones asked about
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class DiskFinding:
    """The verdict on the disks of one server, the disk that decided it, and why disks could not be read."""

    disks: Disks
    disk: DiskSession | None = None
    expected: int | None = None
    problem: str | None = None


def look_at_disks(sighting: Sighting, generations: Mapping[str, int]) -> DiskFinding:
    """Compare the disks of a server with ``generations`` (disk name to number; empty: any number will do).

    The worst finding counts. A disk whose server cannot say whether it is active counts as active, because there
    ``Running`` is all that anybody can know.
    """
    if sighting.disks_problem is not None:
        return DiskFinding(Disks.UNREADABLE, problem=sighting.disks_problem)
    known = {disk.name for disk in sighting.disks} | {disk.backend for disk in sighting.disks}
    for name, expected in generations.items():
        if name not in known:
            return DiskFinding(
                Disks.UNREADABLE, expected=expected, problem=f"{sighting.server} does not list the disk {name}"
            )
    findings = [_look_at(disk, generations.get(disk.name, generations.get(disk.backend))) for disk in sighting.disks]
    for severity in (Disks.FENCED, Disks.OTHER, Disks.UNREADABLE, Disks.PENDING):
        for finding in findings:
            if finding.disks is severity:
                return finding
    return DiskFinding(Disks.OURS)


def _look_at(disk: DiskSession, expected: int | None) -> DiskFinding:
    if disk.is_fenced or disk.state == "deactivating" or (disk.state is None and disk.active is False):
        return DiskFinding(Disks.FENCED, disk, expected)
    if expected is not None and disk.generation is None:
        return DiskFinding(Disks.UNREADABLE, disk, expected, f"the generation of the disk {disk.name} is not told")
    if expected is not None and disk.generation != expected:
        return DiskFinding(Disks.OTHER, disk, expected)
    if disk.active is False:
        return DiskFinding(Disks.PENDING, disk, expected)
    return DiskFinding(Disks.OURS, disk, expected)
