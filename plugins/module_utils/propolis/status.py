# SPDX-License-Identifier: GPL-3.0-or-later
"""How an instance stands at this moment, judged by the table of a move although nobody moves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .errors import BadDescription
from .instance import Phase
from .observation import Place, Reach, ServerName, Sighting, place
from .observe import Look, Observer
from .truth import judge
from .verdict import Case, Code, InstanceName, Reason, Verdict

# Where an instance most likely is, in this order: the pair that is judged is made of the first two.
_PRECEDENCE = (
    Place.RUNS,
    Place.STARTING,
    Place.MOVING,
    Place.STOPPING,
    Place.CREATED,
    Place.HANGS,
    Place.UNREACHABLE,
    Place.FAILED,
    Place.OFF,
    Place.OCCUPIED,
    Place.EMPTY,
    Place.GONE,
)
_NO_OTHER = ServerName("no other server", "")


# Verdicts are made for moves; where nobody moves anything, these words say the same. All others stand for themselves.
_WORDS = {
    Reason.THERE: "running",
    Reason.IN_FLIGHT: "moving",
    Reason.SOURCE_LETS_GO: "moving",
    Reason.MOVES_TO_SOURCE: "moving",
    Reason.MOVES_ELSEWHERE: "moving",
    Reason.LEAVES_DESTINATION: "moving",
    Reason.COLD_START_AT_DESTINATION: "starting",
    Reason.CREATED_ONLY: "created",
    Reason.STOPPED: "stopped",
    Reason.NOBODY: "lost",
    Reason.VANISHED: "gone",
}
_CALM = frozenset({"running", "moving", "starting", "created", "stopped"})


@dataclass(frozen=True)
class Standing:
    """The verdict, and what each server was seen to say, in the order of the question."""

    verdict: Verdict
    sightings: tuple[Sighting, ...]

    @property
    def word(self) -> str:
        """How the instance stands, in one word."""
        verdict = self.verdict
        both = verdict.code is Code.SPLIT_BRAIN
        return verdict.code.value if both else _WORDS.get(verdict.reason, verdict.code.value)

    @property
    def is_alarm(self) -> bool:
        """Whether a person has to look at it."""
        return self.word not in _CALM


def standing(instance: InstanceName, servers: Sequence[ServerName], observer: Observer) -> Standing:
    """Ask all ``servers`` at once and judge. Raises BadDescription when there is none to ask."""
    if not servers:
        raise BadDescription(f"servers is empty; name every server that may hold {instance.name}.")
    sightings = observer.look_at_all([Look(server) for server in servers])
    return Standing(judge_standing(instance, sightings), tuple(sightings))


def judge_standing(instance: InstanceName, sightings: Sequence[Sighting]) -> Verdict:
    """The verdict on what was seen: the likeliest place is judged as the destination, the next one as the source."""
    ranked = sorted(
        (_about(instance, sighting) for sighting in sightings),
        key=lambda sighting: _PRECEDENCE.index(place(sighting, instance.id)),
    )
    destination = ranked[0]
    if len(ranked) > 1 and (
        _moves_to(ranked[1], destination, instance) or _gave_away(destination, ranked[1], instance)
    ):
        ranked[0], ranked[1] = ranked[1], ranked[0]
        destination = ranked[0]
    source = ranked[1] if len(ranked) > 1 else Sighting(_NO_OTHER, Reach.GONE)
    held = destination.disks if destination.instance_id == instance.id else ()
    volumes = frozenset(disk.volume for disk in held if disk.volume is not None)
    return judge(Case(instance, volumes=volumes, is_looking=True), source, destination, ranked[2:])


def _about(instance: InstanceName, sighting: Sighting) -> Sighting:
    """What a server says without its migrations when it held another instance last: they were that one's."""
    another = sighting.instance_id not in (None, instance.id)
    return replace(sighting, incoming=None, outgoing=None) if another else sighting


def _gave_away(first: Sighting, other: Sighting, instance: InstanceName) -> bool:
    """``first`` has ended because it handed the instance over, which ``other`` held after it, or nobody did."""
    ended_too = place(other, instance.id) is Place.OFF and _handed_over(other)
    return place(first, instance.id) is Place.OFF and _handed_over(first) and not ended_too


def _handed_over(sighting: Sighting) -> bool:
    return sighting.outgoing is not None and sighting.outgoing.phase is Phase.FINISH


def _moves_to(other: Sighting, first: Sighting, instance: InstanceName) -> bool:
    """In a migration that is under way, ``other`` takes the instance over from ``first``."""
    incoming = other.incoming
    return (
        place(other, instance.id) is Place.MOVING
        and incoming is not None
        and not incoming.phase.is_final
        and first.outgoing is not None
        and first.outgoing.id == incoming.id
    )
