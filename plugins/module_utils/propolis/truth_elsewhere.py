# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the truth that other servers than the two ends of a move hold: third copies, foreign moves, disks."""

from __future__ import annotations

from collections.abc import Iterator

from .observation import Disks, Place, Sighting, look_at_disks, place
from .verdict import Code, Finding, Reason, Scene

_AT_AN_END = (Place.RUNS, Place.MOVING)


def find_elsewhere(scene: Scene) -> Finding | None:
    """The verdict when another server decides it, else None. Alarms come before what is merely elsewhere."""
    return _shared_volume(scene) or _copy_elsewhere(scene) or _move_elsewhere(scene) or _start_elsewhere(scene)


def _at(scene: Scene, wanted: Place) -> Iterator[Sighting]:
    for other in scene.others:
        if place(other, scene.case.instance.id) is wanted:
            yield other


def _runs_at_an_end(scene: Scene) -> bool:
    return Place.RUNS in (scene.source_place, scene.destination_place)


def _copy_elsewhere(scene: Scene) -> Finding | None:
    for other in _at(scene, Place.RUNS):
        if look_at_disks(other, {}).disks is Disks.FENCED:
            if _runs_at_an_end(scene) and not scene.began:
                return Finding(Code.LEFTOVER_SOURCE, Reason.LEFTOVER_ELSEWHERE, server=other)
            if scene.destination_place is Place.RUNS:
                return Finding(Code.LEFTOVER_SOURCE, Reason.LEFTOVER_ELSEWHERE, server=other)
            continue
        if _runs_at_an_end(scene) or Place.MOVING in (scene.source_place, scene.destination_place):
            if _is_handing_over(scene, other):
                return Finding(Code.IN_PROGRESS_ELSEWHERE, Reason.MOVES_ELSEWHERE, settled=False, server=other)
            return Finding(Code.SPLIT_BRAIN, Reason.THIRD_COPY, server=other)
        code = Code.UNKNOWN if scene.began else Code.NOT_STARTED
        return Finding(code, Reason.RUNS_ELSEWHERE, server=other)
    return None


def _is_handing_over(scene: Scene, other: Sighting) -> bool:
    """``other`` is the far end of a migration from or to one of our ends: both may be seen running for a moment."""
    pairs = (
        (scene.source.outgoing, other.incoming),
        (scene.destination.outgoing, other.incoming),
        (scene.source.incoming, other.outgoing),
        (scene.destination.incoming, other.outgoing),
    )
    moving = Place.MOVING in (scene.source_place, scene.destination_place)
    return moving and any(one is not None and two is not None and one.id == two.id for one, two in pairs)


def _move_elsewhere(scene: Scene) -> Finding | None:
    for other in _at(scene, Place.MOVING):
        return Finding(Code.IN_PROGRESS_ELSEWHERE, Reason.MOVES_ELSEWHERE, settled=False, server=other)
    return None


def _start_elsewhere(scene: Scene) -> Finding | None:
    for other in _at(scene, Place.STARTING):
        if scene.source_place in _AT_AN_END or scene.destination_place in _AT_AN_END:
            return Finding(Code.SPLIT_BRAIN, Reason.COLD_START_ELSEWHERE, server=other)
        return Finding(Code.UNKNOWN, Reason.COLD_START_ELSEWHERE, settled=False, server=other)
    return None


def _shared_volume(scene: Scene) -> Finding | None:
    """Another instance, wherever it is, that has a live writable session on one of our volumes."""
    wanted = scene.case.instance.id
    ends = (scene.source, scene.destination)
    volumes = set(scene.case.volumes)
    for end in ends:
        if end.instance_id == wanted:
            volumes |= {disk.volume for disk in end.disks if disk.volume is not None}
    for sighting in (*ends, *scene.others):
        if sighting.instance_id == wanted or sighting.state is None or sighting.state.is_final:
            continue
        for disk in sighting.disks:
            if disk.volume in volumes and disk.active and not disk.read_only and not disk.is_fenced:
                if _runs_at_an_end(scene):
                    return Finding(Code.SPLIT_BRAIN, Reason.VOLUME_SHARED, server=sighting)
                if not scene.began:
                    return Finding(Code.NOT_STARTED, Reason.VOLUME_IN_USE, server=sighting)
    return None
