# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be true before a machine is moved: one sentence for each condition, decided on what was seen.

Refused is what would end with the source gone and no machine at the destination; warned is what a person should know.
Pure functions over the answers of ``propolis_instance_info``, ``crucible_target_info`` and ``crucible_facts``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from .address import Address
from .diagnosis import refuses_since
from .dialects import choose
from .instance import Phase, State
from .location import nobody_there
from .redaction import redact
from .spec_drift import Difference, differences, refusal, told
from .spec_volume import read_volume
from .values import Value

Answer = Mapping[str, Any]

UNMIGRATABLE = {
    "virtio_socket": "vsock",
    "pci_pci_bridge": "a PCI bridge",
    "p9fs": "a 9p file system",
    "soft_npu_pci_port": "SoftNPU",
    "soft_npu_p9": "SoftNPU",
    "soft_npu_port": "SoftNPU",
}

# Seen on the real server with 512 MiB and few dirty pages on one machine: 0.45 s in all, 0.3 s of it paused. A network
# is slower than that: what it can carry is for the user to say.
_FIXED_SECONDS = 0.35
_FIXED_PAUSE = 0.25
_DIRTY_SHARE = 0.02


# The name of the condition on numbers that somebody insists on.
GENERATION = "generation"


class Outcome(Enum):
    """How a condition stands."""

    OK = "ok"
    WARNED = "warned"
    REFUSED = "refused"


@dataclass(frozen=True)
class Check:
    """One condition. ``name`` is a word that playbooks may look for."""

    name: str
    outcome: Outcome
    sentence: str

    def as_dict(self) -> dict[str, str]:
        """Plain values for a playbook."""
        return {"name": self.name, "outcome": self.outcome.value, "sentence": self.sentence}


@dataclass(frozen=True)
class Replica:
    """One downstairs of one volume as the destination's host sees it. ``region`` is the uuid that it should serve."""

    volume: str
    host: str
    address: str
    port: int
    region: str
    seen: Answer

    @property
    def place(self) -> str:
        """How people find it."""
        return f"{self.host} ({self.address}:{self.port})"


@dataclass(frozen=True)
class Move:
    """What is asked for and what was seen of it. ``source`` and ``destination`` are answers about those two servers,
    ``others`` about all other ones; ``regions`` holds, by volume name, what the three regions agree on.
    ``source_log`` is the end of the source's log, when a migration out of it has failed before.
    """

    instance: str
    instance_id: str
    memory_mib: int
    source: Answer
    destination: Answer
    others: Sequence[Answer]
    replicas: Sequence[Replica]
    regions: Mapping[str, Answer]
    source_log: str = ""
    differences: Mapping[str, Sequence[Difference]] = field(default_factory=dict)
    """By disk, what its request at the source differs in from the one for the move."""


@dataclass(frozen=True)
class Prediction:
    """What the move will probably take, in seconds, at ``mib_per_second`` between the two hosts."""

    seconds: float
    pause_seconds: float
    mib_per_second: float

    def as_dict(self) -> dict[str, float]:
        """Plain values for a playbook."""
        return {name: round(value, 2) for name, value in asdict(self).items()}


def predict(memory_mib: int, mib_per_second: float) -> Prediction:
    """How long the memory takes, and how long the guest stands still while its last dirty pages go over."""
    copying = memory_mib / mib_per_second
    pause = _FIXED_PAUSE + copying * _DIRTY_SHARE
    return Prediction(_FIXED_SECONDS + copying + pause, pause, mib_per_second)


def check(move: Move) -> list[Check]:
    """All conditions, in the order in which a person would look at them."""
    return [
        _source_runs(move),
        _source_willing(move),
        _destination_free(move),
        _same_dialect(move),
        _addresses(move),
        *_others(move),
        *_replicas(move),
        *_spread(move),
        *_source_disks(move),
        *_volumes(move),
        *_keys(move),
        *_devices(move),
    ]


def ok(name: str, sentence: str) -> Check:
    """A condition that holds."""
    return Check(name, Outcome.OK, sentence)


def warned(name: str, sentence: str) -> Check:
    """A condition that a person should know of."""
    return Check(name, Outcome.WARNED, sentence)


def refused(name: str, sentence: str) -> Check:
    """A condition that stands against the move."""
    return Check(name, Outcome.REFUSED, sentence)


def _source_runs(move: Move) -> Check:
    server, held = move.source["name"], move.source["instance"] or {}
    state = held.get("state")
    if state == State.RUNNING.value:
        return ok("source", f"{move.instance} is Running on {server}.")
    return refused("source", f"{move.instance} is {state} on {server}; only a Running instance can be moved.")


def _source_willing(move: Move) -> Check:
    """A source whose peer went away during the negotiation refuses to be a source ever after (seen on the real one)."""
    outgoing = (move.source["migration"] or {}).get("out")
    failed = str(outgoing["id"]) if outgoing and outgoing["state"] == Phase.ERROR.value else None
    if failed and refuses_since(move.source_log, failed):
        return refused(
            "earlier_failure",
            f"{move.source['name']} refuses to be a migration source since the failed migration {failed}, as its log "
            f"tells; {move.instance} runs there: stop and start it to cure this.",
        )
    if failed:
        return warned(
            "earlier_failure",
            f"Migration {failed} out of {move.source['name']} has failed before. A source can refuse all "
            f"further migrations after that; if this one is refused, stop and start {move.instance}, which cures it.",
        )
    return ok("earlier_failure", f"No migration out of {move.source['name']} has failed.")


def _destination_free(move: Move) -> Check:
    server, held = move.destination["name"], move.destination["instance"]
    if move.destination["error"] and not held:
        return refused("destination", f"The destination {server} cannot be asked: {move.destination['error']}")
    if held and not State(held["state"]).is_final:
        return refused(
            "destination",
            f"The server {move.destination['address']} on {server} already holds {held['name']} ({held['id']}, "
            f"{held['state']}); one server serves one instance.",
        )
    return ok("destination", f"The server {move.destination['address']} on {server} answers and is free.")


def _same_dialect(move: Move) -> Check:
    source, destination = move.source["dialect"], move.destination["dialect"]
    found = f"{move.source['name']} speaks {source}, {move.destination['name']} speaks {destination}"
    if source is None or destination is None or (source == "2023-01") != (destination == "2023-01"):
        return refused("dialect", f"{found}; the two servers must be of one age to hand over a machine.")
    if source != destination:
        return warned("dialect", f"{found}; they have one migration protocol, but nobody has tried these two.")
    return ok("dialect", f"Both servers speak {source}.")


def _addresses(move: Move) -> Check:
    source = Address.parse(str(move.source["address"]))
    destination = Address.parse(str(move.destination["address"]))
    for server, address in ((move.source, source), (move.destination, destination)):
        if address.is_wildcard or not address.is_literal:
            return refused(
                "addresses",
                f"The server of {server['name']} is known as {address}; the other one needs an IP address of it.",
            )
    if source.host == destination.host:
        return refused(
            "addresses",
            f"{move.source['name']} and {move.destination['name']} are one host ({source.host}); its hypervisor knows "
            f"a machine by its id, and starting {move.instance} there a second time would end the first.",
        )
    return ok("addresses", f"{destination} will fetch the machine from {source}.")


def _others(move: Move) -> Iterator[Check]:
    """A session of a volume on a third server, or a second copy of the instance, is a split brain in waiting."""
    volumes = {str(region["volume_id"]): name for name, region in move.regions.items()}
    found = False
    for server in move.others:
        held = server["instance"]
        if server["error"] and not held and not nobody_there(server):
            found = True
            yield warned(
                "others",
                f"{server['name']} cannot be asked whether it holds {move.instance} or its volumes: {server['error']}",
            )
        if not held or State(held["state"]).is_final:
            continue
        if held["id"] == move.instance_id:
            found = True
            yield refused(
                "others", f"{server['name']} holds {move.instance} too ({held['state']}): find out which copy is real."
            )
        for disk in server["disks"]:
            if str(disk["volume"]) in volumes:
                found = True
                yield refused(
                    "others",
                    f"The volume {volumes[str(disk['volume'])]} is in use on {server['name']} by {held['name']}, at "
                    f"generation {disk['generation']}.",
                )
    if not found:
        yield ok("others", f"No other server holds {move.instance} or a session of its volumes.")


def _replicas(move: Move) -> Iterator[Check]:
    """The destination's disks open after the source is gone, and only with all three: so all three must answer now."""
    for volume in move.regions:
        replicas = [replica for replica in move.replicas if replica.volume == volume]
        problems = [problem for replica in replicas for problem in _problems(move, replica)]
        for problem in problems:
            yield refused("replicas", problem)
        if not problems:
            region = move.regions[volume]
            yield ok(
                "replicas",
                f"{move.destination['name']} reaches {len(replicas)} of 3 downstairs of {volume}, all with "
                f"{region['extent_count']} extents of {region['blocks_per_extent']} blocks, {region['block_size']} B.",
            )


def _spread(move: Move) -> Iterator[Check]:
    """Two replicas on one machine are away together, and with one replica left no disk can be used."""
    for volume in move.regions:
        machines = Counter(replica.address for replica in move.replicas if replica.volume == volume)
        for address, count in machines.items():
            if count > 1:
                yield warned(
                    "spread",
                    f"{count} of 3 replicas of {volume} are on one machine ({address}): without it the disk cannot be "
                    "used, whatever the others hold.",
                )


def _problems(move: Move, replica: Replica) -> Iterator[str]:
    seen = replica.seen
    if not seen["reachable"]:
        yield (
            f"{move.destination['name']} does not reach the downstairs of {replica.volume} on {replica.place}: "
            f"{seen['error']} A migration without it ends with the source gone and the destination waiting."
        )
        return
    if seen["uuid"] is not None and str(seen["uuid"]) != replica.region:
        yield (
            f"The downstairs on {replica.place} serves region {seen['uuid']}; {replica.volume} expects "
            f"{replica.region} there."
        )
    for what, found in (seen["geometry"] or {}).items():
        expected = move.regions[replica.volume][what]
        if found != expected:
            yield f"The downstairs on {replica.place} has a region with {what} {found}; its siblings have {expected}."


def _source_disks(move: Move) -> Iterator[Check]:
    """The health of the replicas as the live upstairs sees it, where the server's API tells it (5.0.0 and later)."""
    for disk in move.source["disks"]:
        problems = list(_disk_problems(move, disk))
        for problem in problems:
            yield refused("disks", problem)
        if not problems:
            known = all(target["state"] != "unknown" for target in disk["targets"])
            health = (
                "active on three of three downstairs" if known else "in use (this age of server does not tell how well)"
            )
            yield ok("disks", f"Disk {disk['name']} is {health}, at generation {disk['generation']}.")


def _disk_problems(move: Move, disk: Answer) -> Iterator[str]:
    if disk["active"] is False:
        yield f"Disk {disk['name']} of {move.instance} is not active on {move.source['name']}."
    for target in disk["targets"]:
        if target["state"] not in ("active", "unknown"):
            yield (
                f"The downstairs {target['address']} of disk {disk['name']} is {target['state']}, not active: the "
                "machine runs on the others. Restart or replace it; move the machine when all three are active."
            )
        if target["repair_address"] and Address.parse(str(target["repair_address"])).is_wildcard:
            yield (
                f"The downstairs {target['address']} advertises {target['repair_address']} for repair, which means "
                "another host to each that asks; start it with its own address."
            )


def live_differences(source: Answer, requests: Sequence[Mapping[str, Any]]) -> dict[str, list[Difference]]:
    """By disk, what the request that the source tells differs in from the one in its disk request.

    Keys are hidden by who told it, and so here: of them, only that there is one can differ. Raises NotPropolis.
    """
    dialect = choose(str(source["dialect"] or "auto"))
    if dialect is None or not isinstance(source["spec"], Mapping):
        return {}
    spec = dialect.read_spec(Value(source["spec"], source["name"]))
    live = {disk.name: disk.volume for disk in (spec.crucible_disks if spec else ()) if disk.volume}
    new = {str(one["name"]): Value(redact(one["volume_construction_request"]), str(one["name"])) for one in requests}
    return {name: differences(live[name], read_volume(new[name])) for name in live if name in new}


def _volumes(move: Move) -> Iterator[Check]:
    for name, found in move.differences.items():
        if found:
            named = told(found, f"on {move.source['name']}", "as described")
            yield refused("volumes", refusal(name, move.instance, named))


def _keys(move: Move) -> Iterator[Check]:
    """Regions do not know their key: with another one all goes well until the guest reads (seen on the real server)."""
    volumes = {str(region["volume_id"]): name for name, region in move.regions.items()}
    for disk in move.source["disks"]:
        name = volumes.get(str(disk["volume"]), disk["volume"])
        if disk["key_fits"] is False:
            yield refused(
                "keys",
                f"The key of {name} is not the one that {move.source['name']} uses for disk {disk['name']}: "
                f"{move.instance} would run on {move.destination['name']}, and each read and write of it would fail.",
            )
        elif disk["key_fits"]:
            yield ok("keys", f"The key of {name} is the one that {move.source['name']} uses.")


def _devices(move: Move) -> Iterator[Check]:
    for disk in move.source["disks"]:
        if disk["device"] == "nvme":
            yield warned(
                "devices",
                f"Disk {disk['name']} is nvme: after the move its I/O stands still until the guest's own timeout "
                "resets the controller (30 s on Linux), at all revisions of the server seen; virtio goes on at once.",
            )
    components = _components(move.source["spec"])
    for name, kind in components.items():
        if kind in UNMIGRATABLE:
            yield refused("devices", f"{move.instance} has {UNMIGRATABLE[kind]} ({name}), which cannot be migrated.")


def _components(spec: Any) -> dict[str, str]:
    """Component name → type, in specs of API 1.0.0 and later; empty for those of 2023, whose devices all migrate."""
    value = ((spec or {}).get("spec") or {}).get("value") or {} if isinstance(spec, Mapping) else {}
    value = value.get("spec", value)
    components = value.get("components") or {}
    return {str(name): str(component.get("type")) for name, component in components.items()}
