# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that must hold before a move is asked for: each refusal here would be a lost machine or a spent number.

Changes nothing on any server. What the hosts know (region files, the ledger) is checked before, by others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .address import Address
from .errors import PropolisError
from .instance import Instance, Phase, Spec, SpecDisk, Volume
from .migration_request import Move, NewDisk
from .observation import Place, Reach, Sighting, place
from .server import Server
from .spec_drift import differences, refusal, told

# Seen on the real program at today's revision: after a move an NVMe controller refuses its queues until the guest's
# own timeout (30 s on Linux) resets it. The API shows nothing of it.
NVME_WARNING = (
    "disk {0} is an nvme disk: after a move its I/O may stand still until the guest's own timeout (30 s on Linux) "
    "resets the controller; virtio disks go on at once"
)
# The migration tests of propolis itself allow this much for each GiB of the guest's memory.
SECONDS_PER_GIB = 90


class Refused(PropolisError):
    """A move that must not be begun. ``code`` says why; nothing was changed and no number was used."""

    default_code = "not_started"


@dataclass(frozen=True)
class Plan:
    """A move that may begin: what the source says of its instance, the new volumes by backend, and warnings."""

    move: Move
    source: Instance
    spec: Spec
    volumes: dict[str, Volume] = field(repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def slowest_seconds(self) -> float:
        """How long the tests of propolis would let a migration of so much memory take."""
        return max(self.spec.memory_mib / 1024, 1.0) * SECONDS_PER_GIB


def check_ends(move: Move, source: Sighting, destination: Sighting) -> None:
    """Refuse ends that cannot be the two of one move. Raises Refused."""
    here, there = Address.parse(move.source.address), Address.parse(move.destination.address)
    if not here.is_literal or here.is_wildcard:
        raise Refused(
            f"The source's address {here} must be a literal IP:PORT that {move.destination} can reach: a destination "
            "refuses host names.",
            code="bad_source_address",
        )
    if here.host == there.host:
        raise Refused(
            f"{move.source} and {move.destination} are both on {here.host}: an instance keeps its id when it moves, "
            "and a second machine of the same id on one host destroys the running one. Give the two servers "
            "addresses of their own.",
            code="same_host",
        )
    if here.ip is not None and here.ip.is_loopback and there.ip is not None and not there.ip.is_loopback:
        raise Refused(
            f"The source's address {here} means the destination itself to {move.destination} ({there}); give the "
            "address by which other hosts reach the source.",
            code="bad_source_address",
        )
    if source.reach is Reach.ANSWERS:
        _check_destination(move, source, destination)


def _check_destination(move: Move, source: Sighting, destination: Sighting) -> None:
    where = place(destination, move.instance.id)
    if destination.reach is not Reach.ANSWERS:
        raise Refused(
            f"{move.destination} cannot take {move.instance.name}: {destination.error or 'it does not answer'}",
            code="destination_unreachable",
        )
    if where not in (Place.EMPTY, Place.OFF, Place.FAILED):
        holds = destination.instance_name or destination.instance_id or "an instance"
        state = destination.state.value if destination.state else "in a migration"
        raise Refused(
            f"{move.destination} holds {holds} ({state}); one server serves one instance: free it or name another.",
            code="destination_occupied",
        )
    if (source.dialect == "2023-01") != (destination.dialect == "2023-01"):
        raise Refused(
            f"{move.source} speaks {source.dialect} and {move.destination} speaks {destination.dialect}; servers of "
            "January 2023 and of today do not migrate to each other.",
            code="dialects_differ",
        )


def make_plan(move: Move, server: Server, source: Sighting) -> Plan:
    """Compare what is asked for with what the source has. Raises Refused, or the errors of asking the source."""
    instance, spec = server.instance(), server.spec()
    if instance is None or spec is None:
        raise Refused(f"{move.source} does not tell the spec of {move.instance.name}; look at it and try again.")
    if spec.immovable:
        raise Refused(
            f"{move.instance.name} has {', '.join(spec.immovable)}, which propolis cannot migrate; stop it and start "
            f"it on {move.destination} instead.",
            code="unmovable_device",
        )
    volumes = _match(move, spec)
    warnings: list[str] = []
    for disk in spec.disks:
        if disk.device == "nvme":
            warnings.append(NVME_WARNING.format(disk.name))
        if disk.kind == "file":
            warnings.append(f"disk {disk.name} is a file of the host: the same path must hold the same data there")
    if source.outgoing is not None and source.outgoing.phase is Phase.ERROR:
        warnings.append(
            f"migration {source.outgoing.id} from {move.source} failed before; some servers then refuse every further "
            "one until their instance is stopped and started"
        )
    _check_live_disks(move, source)
    return Plan(move, instance, spec, volumes, tuple(warnings))


def _match(move: Move, spec: Spec) -> dict[str, Volume]:
    """The new volume of each Crucible backend of the source; unknown and missing ones are refused by name."""
    by_name = {disk.name: disk for disk in spec.crucible_disks} | {disk.backend: disk for disk in spec.crucible_disks}
    found: dict[str, Volume] = {}
    for new in move.disks:
        old = by_name.get(new.name)
        if old is None:
            known = ", ".join(disk.name for disk in spec.crucible_disks) or "none"
            raise Refused(
                f"{new.name} is not a Crucible disk of {move.instance.name} on {move.source}; it has: {known}.",
                code="unknown_replacement",
            )
        if old.backend in found:
            raise Refused(f"{new.name} and another entry are the same disk of {move.instance.name}; give it once.")
        _check_volume(move, old, new)
        found[old.backend] = new.volume
    missing = [disk.name for disk in spec.crucible_disks if disk.backend not in found]
    if missing:
        raise Refused(
            f"{move.instance.name} has the Crucible disk {missing[0]} too, and no new volume construction request is "
            f"given for it: {move.destination} would use the old generation and the instance would be lost.",
            code="missing_replacement",
        )
    return found


def _check_volume(move: Move, old: SpecDisk, new: NewDisk) -> None:
    """A migration may change generations and nothing else: another geometry loses the machine (seen)."""
    if old.volume is None:
        return
    if found := differences(old.volume, new.volume):
        named = told(found, f"on {move.source}", "in the new volume construction request")
        raise Refused(refusal(new.name, move.instance.name, named), code="volume_differs")
    current = old.volume.generation
    if current is not None and new.generation <= current:
        raise Refused(
            f"Disk {new.name}: generation {new.generation} is asked for, and {move.source} uses {current}; with a "
            "number that is not higher the instance would be lost. Allocate a new one.",
            code="generation_too_low",
            details={"disk": new.name, "asked": new.generation, "in_use": current},
        )


def _check_live_disks(move: Move, source: Sighting) -> None:
    """What the live sessions say: all three downstairs in use, and no higher number than the new one."""
    wanted = move.generations
    if source.disks_problem is not None:
        raise Refused(
            f"The disks of {move.instance.name} on {move.source} cannot be read ({source.disks_problem}); "
            "look at that server first.",
            code="disks_unreadable",
        )
    for disk in source.disks:
        number = wanted.get(disk.name, wanted.get(disk.backend))
        if number is not None and disk.floor is not None and number <= disk.floor:
            raise Refused(
                f"Disk {disk.name}: generation {number} is asked for, and {move.source} uses {disk.floor}; allocate a "
                "higher one.",
                code="generation_too_low",
                details={"disk": disk.name, "asked": number, "in_use": disk.floor},
            )
        lacking = [target for target in disk.targets if target.is_away]
        if lacking:
            named = ", ".join(f"{target.address or 'unknown'} is {target.words}" for target in lacking)
            raise Refused(
                f"Disk {disk.name} of {move.instance.name}: the downstairs {named}. The destination needs all three, "
                f"and the instance would wait in its memory; bring it back (or replace it) first. {move.instance.name} "
                f"goes on running on {move.source}.",
                code="replica_missing",
                details={"disk": disk.name, "targets": [target.address for target in lacking]},
            )
        if disk.active is False:
            raise Refused(
                f"Disk {disk.name} of {move.instance.name} on {move.source} is {disk.state or 'not active'}; look at "
                "it before the instance is moved.",
                code="disk_not_active",
            )
