# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of verdicts about copies that should not be there: split brains, leftovers, copies on third servers."""

from __future__ import annotations

from .observation import Place, Sighting
from .truth_details import Words, at_generation, place_words
from .verdict import Code, Finding, Scene


def both_run(scene: Scene, finding: Finding) -> Words:
    return Words(
        f"SPLIT BRAIN: {scene.case.instance.name} runs on {scene.source.server}{at_generation(scene.source)} and on "
        f"{scene.destination.server}{at_generation(scene.destination)} at once",
        (
            "stop one of the two copies now, by hand, after looking at which one has the newer data",
            "move and start nothing until only one copy is left",
        ),
    )


def leftover_source(scene: Scene, finding: Finding) -> Words:
    server = scene.destination.server
    return Words(
        f"{scene.case.instance.name} runs on {server}{at_generation(scene.destination)}; {scene.source.server} still "
        "says Running, but its disks are disabled because the newer session fenced them",
        (f"stop the old copy on {scene.source.server} (propolis_instance with state: stopped)",),
        server,
    )


def leftover_destination(scene: Scene, finding: Finding) -> Words:
    server = scene.source.server
    return Words(
        f"SPLIT BRAIN: {scene.case.instance.name} runs on {server}{at_generation(scene.source)}; "
        f"{scene.destination.server} also says Running, with disks that are disabled",
        (f"stop the fenced copy on {scene.destination.server} after looking at it",),
        server,
    )


def leftover_elsewhere(scene: Scene, finding: Finding) -> Words:
    other = _other(finding)
    end = scene.destination if scene.destination_place is Place.RUNS else scene.source
    return Words(
        f"{scene.case.instance.name} runs on {end.server}{at_generation(end)}; {other.server} still says Running, "
        "but its disks are disabled",
        (f"stop the old copy on {other.server} (propolis_instance with state: stopped)",),
        end.server,
    )


def second_start(scene: Scene, finding: Finding) -> Words:
    where = (
        f"{scene.case.instance.name} is on {scene.destination.server} "
        f"({place_words(scene.destination, scene.destination_place)}), and somebody has a second copy of it on "
        f"{scene.source.server} ({place_words(scene.source, scene.source_place)})"
    )
    server = scene.destination.server if scene.destination_place is Place.RUNS else None
    alarm = "SPLIT BRAIN ahead: " if finding.code is Code.SPLIT_BRAIN else ""
    return Words(f"{alarm}{where}", (f"stop the copy on {scene.source.server} before it runs",), server)


def created_left_at_source(scene: Scene, finding: Finding) -> Words:
    server = scene.destination.server
    return Words(
        f"{scene.case.instance.name} runs on {server}{at_generation(scene.destination)}; {scene.source.server} holds a "
        "created copy of it that was never started",
        (f"remove that copy from {scene.source.server} (propolis_instance with state: absent) and never run it",),
        server,
    )


def created_left_at_destination(scene: Scene, finding: Finding) -> Words:
    server = scene.source.server
    return Words(
        f"{scene.case.instance.name} runs on {server}{at_generation(scene.source)}; {scene.destination.server} holds a "
        "created copy of it that would boot from the same disks if somebody ran it",
        (f"remove that copy from {scene.destination.server} (propolis_instance with state: absent) and never run it",),
        server,
    )


def created_only(scene: Scene, finding: Finding) -> Words:
    return Words(
        f"{scene.case.instance.name} runs nowhere; {scene.destination.server} holds it created, not started",
        (f"run it there, or remove it there (propolis_instance on {scene.destination.server})",),
    )


def cold_start(scene: Scene, finding: Finding) -> Words:
    other = finding.server or scene.destination
    alarm = "SPLIT BRAIN ahead: " if finding.code is Code.SPLIT_BRAIN else ""
    return Words(
        f"{alarm}somebody starts {scene.case.instance.name} cold on {other.server} while {scene.source.server} "
        f"{place_words(scene.source, scene.source_place)}",
        (f"find out who started it on {other.server}, and let only one copy live",),
    )


def moves_elsewhere(scene: Scene, finding: Finding) -> Words:
    other = _other(finding)
    record = other.incoming or other.outgoing
    number = record.id if record is not None else "of unknown id"
    return Words(
        f"{scene.case.instance.name} is in a migration at {other.server} (migration {number})",
        ("wait until that has ended, then look again",),
    )


def runs_elsewhere(scene: Scene, finding: Finding) -> Words:
    other = _other(finding)
    return Words(
        f"{scene.case.instance.name} runs on {other.server}{at_generation(other)}, neither on {scene.source.server} "
        f"nor on {scene.destination.server}",
        (f"name {other.server} as the source if it is to move",),
        other.server,
    )


def third_copy(scene: Scene, finding: Finding) -> Words:
    other = _other(finding)
    return Words(
        f"SPLIT BRAIN: {scene.case.instance.name} runs on {other.server}{at_generation(other)}, and "
        f"{scene.source.server} {place_words(scene.source, scene.source_place)}, {scene.destination.server} "
        f"{place_words(scene.destination, scene.destination_place)}",
        (
            "stop all copies but one now, by hand, after looking at which one has the newer data",
            "move and start nothing until only one copy is left",
        ),
    )


def volume_shared(scene: Scene, finding: Finding) -> Words:
    other = _other(finding)
    end = scene.destination if scene.destination_place is Place.RUNS else scene.source
    return Words(
        f"SPLIT BRAIN: {scene.case.instance.name} runs on {end.server}{at_generation(end)}, and {other.server} has a "
        f"live session on one of its volumes for {other.instance_name or 'another instance'}",
        (
            f"stop {other.instance_name or 'that instance'} on {other.server} or {scene.case.instance.name} now: both "
            "write to the same disk",
        ),
        end.server,
    )


def volume_in_use(scene: Scene, finding: Finding) -> Words:
    other = _other(finding)
    return Words(
        f"{scene.case.instance.name} runs on neither server, and {other.server} has a live session on one of its "
        f"volumes for {other.instance_name or 'another instance'}",
        (f"stop {other.instance_name or 'that instance'} on {other.server} before anything uses this volume",),
    )


def _other(finding: Finding) -> Sighting:
    if finding.server is None:
        raise ValueError(f"a finding for {finding.reason.value} names the server that decided it")
    return finding.server
