# SPDX-License-Identifier: GPL-3.0-or-later
"""The small pieces of a verdict's sentence: generations, places, disks, and what this run has changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .instance import DiskSession
from .observation import Place, ServerName, Sighting
from .verdict import Answer, Began, Code, Finding, Scene


@dataclass(frozen=True)
class Words:
    """Where it runs, what to do (the first step is part of the sentence), and the server where it runs."""

    where: str
    steps: tuple[str, ...]
    runs_on: ServerName | None = None


_PLACES = {
    Place.RUNS: "says Running",
    Place.MOVING: "says Migrating",
    Place.STARTING: "says Starting",
    Place.CREATED: "holds it created, not started",
    Place.STOPPING: "is stopping its copy",
    Place.OFF: "says Destroyed",
    Place.FAILED: "says Failed",
    Place.EMPTY: "does not hold it",
    Place.OCCUPIED: "holds another instance",
    Place.GONE: "has no server process any more",
    Place.HANGS: "does not answer any more",
    Place.UNREACHABLE: "cannot be reached",
}


def place_words(sighting: Sighting, where: Place) -> str:
    """What a server says, after its name; with the phase of the migration where there is one."""
    words = _PLACES[where]
    if where is Place.MOVING:
        # A server remembers the migration by which an instance came also while it moves away by another one.
        records = [record for record in (sighting.incoming, sighting.outgoing) if record is not None]
        records.sort(key=lambda record: record.phase.is_final)
        return f"{words}, phase {records[0].phase.value}" if records else words
    if where is Place.OCCUPIED and sighting.instance_name:
        return f"holds another instance ({sighting.instance_name})"
    return words


def generations_text(generations: Mapping[str, int]) -> str:
    """``generation 2`` for one disk or equal numbers, ``generations boot 2, data 7`` otherwise."""
    if not generations:
        return ""
    if len(set(generations.values())) == 1:
        return f"generation {next(iter(generations.values()))}"
    return "generations " + ", ".join(f"{name} {number}" for name, number in sorted(generations.items()))


def live_generations(sighting: Sighting) -> dict[str, int]:
    """The generations that a server's disks use, where it tells them."""
    return {disk.name: disk.generation for disk in sighting.disks if disk.generation is not None}


def at_generation(sighting: Sighting) -> str:
    """`` at generation 2``, or nothing when the server does not tell."""
    text = generations_text(live_generations(sighting))
    return f" at {text}" if text else ""


def next_generation(scene: Scene) -> str:
    """``generation 3 or higher``: what may be used after all that is known here (the ledger may know of higher ones).

    Servers whose instance has ended tell no number: then only the ledger knows.
    """
    # A server that holds another instance tells the numbers of other volumes.
    ends = [end for end in (scene.source, scene.destination) if end.instance_id == scene.case.instance.id]
    known = [number for end in ends for number in live_generations(end).values()]
    known += [disk.floor for end in ends for disk in end.disks if disk.floor is not None]
    known += scene.case.generations.values()
    return f"generation {max(known) + 1} or higher" if known else "a generation that its ledger hands out"


def changed(scene: Scene, finding: Finding) -> str:
    """What this run has changed, as the middle part of the sentence."""
    case = scene.case
    numbers = generations_text(case.generations)
    if case.began is Began.NO:
        return "nothing was changed"
    if case.began is Began.ADOPTED:
        return f"this run found and followed migration {case.migration_id}, which an earlier run began"
    if finding.code is Code.SUCCEEDED:
        return f"it was moved from {scene.source.server}, whose copy is gone (migration {case.migration_id})"
    spent = f"; {numbers} {'is' if numbers.startswith('generation ') else 'are'} spent" if numbers else ""
    if case.answer is Answer.REFUSED:
        return f"{scene.destination.server} refused the request ({case.answer_text}){spent}"
    told = f" ({case.answer_text})" if case.answer_text else ""
    return f"migration {case.migration_id} to {scene.destination.server} was asked for{told}{spent}"


def how_far(scene: Scene) -> str:
    """`` in phase RamPushDirty, for which the guest stood still for 0.31 s``, of a migration that failed.

    Servers tell the phase, and no amount of memory that has been copied.
    """
    reached, paused = scene.case.reached, scene.case.paused
    if reached is None:
        return ""
    stood = f", for which the guest stood still for {paused:.2f} s" if paused is not None else ""
    return f" in phase {reached.value}{stood}"


def migration_of(scene: Scene) -> str:
    """Which migration is under way, and whose it is."""
    for record in (scene.destination.incoming, scene.source.outgoing, scene.destination.outgoing):
        if record is not None:
            return f"migration {record.id}" + (", ours" if scene.is_ours(record) else ", not of this play")
    return f"migration {scene.case.migration_id}, ours" if scene.began else "a migration of unknown id"


def source_note(scene: Scene) -> str | None:
    """What is strange about the source of a move that ended well, and what to do about it."""
    server = scene.source.server
    if scene.source_place is Place.HANGS:
        return f"{server} has gone deaf (its server process does not answer any more): restart that process"
    if scene.source_place is Place.GONE:
        return f"note that the server process of {server} is gone"
    if scene.source_place is Place.UNREACHABLE:
        return f"note that {server} cannot be asked ({scene.source.error or 'no answer'})"
    return None


def describe_disk(finding: Finding) -> str:
    """``its disk boot``, for the disk that decided a finding."""
    disk = _disk(finding)
    return f"its disk {disk.name}" if disk is not None else "a disk of it"


def live_generation(finding: Finding) -> str:
    disk = _disk(finding)
    return str(disk.generation) if disk is not None and disk.generation is not None else "none"


def blocking_targets(finding: Finding) -> str:
    """``: the downstairs 10.0.0.3:8830 is connecting``, for the disk that decided; nothing when nobody tells."""
    disk = _disk(finding)
    if disk is None:
        return ""
    missing = [target for target in disk.targets if target.state not in ("active", "unknown")]
    # Downstairs that wait for the third one are well; the one that makes them wait is the one to name.
    culprits = [target for target in missing if target.step != "wait_quorum"] or missing
    if not culprits:
        return f" ({disk.name} says {disk.state})" if disk.state else ""
    named = ", ".join(f"{target.address or 'unknown'} is {target.words}" for target in culprits)
    return f": of disk {disk.name}, the downstairs {named}"


def _disk(finding: Finding) -> DiskSession | None:
    return finding.disk.disk if finding.disk is not None else None
