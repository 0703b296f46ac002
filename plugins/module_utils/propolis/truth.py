# SPDX-License-Identifier: GPL-3.0-or-later
"""The truth about one move: what was seen at both ends and on all other servers → exactly one verdict.

Pure functions, no clock and no network. The table is by the place of the destination first, because only the
destination can make a move succeed, and then by the place of the source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from .instance import MigrationRecord, Phase
from .observation import DOWN, SILENT, DiskFinding, Disks, Place, Sighting, look_at_disks
from .truth_elsewhere import find_elsewhere
from .truth_words import speak
from .verdict import Began, Case, Code, Finding, Reason, Scene, Verdict


def judge(case: Case, source: Sighting, destination: Sighting, others: Sequence[Sighting] = ()) -> Verdict:
    """The one verdict on ``case``, for what its two ends and all other servers were seen to say.

    ``settled`` is False when time alone may change it: then ask again, until the deadline.
    """
    scene = Scene.of(case, source, destination, others)
    finding = find_elsewhere(scene) or _BY_DESTINATION[scene.destination_place](scene)
    return speak(scene, finding)


def at_deadline(verdict: Verdict, waited: float) -> Verdict:
    """What an unsettled verdict becomes when the time that the user allowed (seconds) is over.

    Waiting ends, the migration does not: propolis has no way to cancel one.
    """
    if verdict.settled:
        return verdict
    if verdict.code in _KEPT_AT_DEADLINE:
        return replace(verdict, settled=True)
    ours = "; the migration itself goes on" if verdict.code is Code.ADOPTED else ""
    waiting = f"After {waited:.0f} s this run stops waiting{ours}. "
    return replace(
        verdict,
        code=Code.TIMED_OUT,
        settled=True,
        sentence=waiting + verdict.sentence,
        account=waiting + verdict.account,
        failure_code=Code.TIMED_OUT.value,
    )


# These say more than "the time is over": what is waited for, or that nobody can say.
_KEPT_AT_DEADLINE = frozenset(
    {
        Code.WAITING_FOR_DISKS,
        Code.UNKNOWN,
        Code.IN_PROGRESS_ELSEWHERE,
        Code.FAILED_ON_SOURCE,
        Code.FAILED_AND_SOURCE_STUCK,
    }
)


def _finding(code: Code, reason: Reason, *, settled: bool = True, disk: DiskFinding | None = None) -> Finding:
    return Finding(code, reason, settled, disk)


def _waits(code: Code, reason: Reason, disk: DiskFinding | None = None) -> Finding:
    return Finding(code, reason, False, disk)


def _in_flight(scene: Scene, record: MigrationRecord | None) -> Finding:
    """A migration is under way: ours, or somebody else's."""
    if scene.is_ours(record):
        return _waits(Code.ADOPTED, Reason.IN_FLIGHT)
    return _waits(Code.IN_PROGRESS_ELSEWHERE, Reason.IN_FLIGHT)


# --- the destination runs the instance -------------------------------------------------------------------------


def _destination_runs(scene: Scene) -> Finding:
    at_source = scene.source_place
    if at_source in _RUNS_WITH:
        return _RUNS_WITH[at_source](scene)
    if at_source is Place.STOPPING:
        return _waits(Code.ADOPTED if scene.began else Code.ALREADY_THERE, Reason.SOURCE_LETS_GO)
    if not scene.began:
        return _there_already(scene)
    if at_source is Place.UNREACHABLE and not scene.case.source_finished:
        return _waits(Code.UNKNOWN, Reason.RUNS_SOURCE_UNREACHABLE)
    return _moved(scene)


def _both_run(scene: Scene) -> Finding:
    old = look_at_disks(scene.source, {}).disks
    new = look_at_disks(scene.destination, {}).disks
    if old is Disks.FENCED and new is Disks.OURS:
        return _finding(Code.LEFTOVER_SOURCE, Reason.LEFTOVER_SOURCE)
    if new is Disks.FENCED and old is Disks.OURS:
        return _finding(Code.SPLIT_BRAIN, Reason.LEFTOVER_DESTINATION)
    return _finding(Code.SPLIT_BRAIN, Reason.BOTH_RUN)


def _source_still_moving(scene: Scene) -> Finding:
    outgoing, incoming = scene.source.outgoing, scene.destination.incoming
    if outgoing is not None and incoming is not None and outgoing.id == incoming.id:
        return _waits(Code.ADOPTED if scene.is_ours(outgoing) else Code.IN_PROGRESS_ELSEWHERE, Reason.SOURCE_LETS_GO)
    if outgoing is None and scene.source.incoming is not None:
        return _waits(Code.IN_PROGRESS_ELSEWHERE, Reason.MOVES_TO_SOURCE)
    return _finding(Code.SPLIT_BRAIN, Reason.BOTH_RUN)


def _there_already(scene: Scene) -> Finding:
    """Nothing was begun by us, and the instance is where it shall be."""
    disks = look_at_disks(scene.destination, {})
    if disks.disks is Disks.FENCED:
        return _finding(Code.UNKNOWN, Reason.DESTINATION_FENCED, disk=disks)
    if disks.disks is Disks.PENDING:
        return _waits(Code.WAITING_FOR_DISKS, Reason.RUNS_WITHOUT_DISKS, disks)
    return _finding(Code.ALREADY_THERE, Reason.THERE, disk=disks)


def _moved(scene: Scene) -> Finding:
    """Our migration, its source let go: everything hangs on the disks."""
    disks = look_at_disks(scene.destination, scene.case.generations)
    if disks.disks is Disks.OURS:
        return _finding(Code.ADOPTED if scene.case.began is Began.ADOPTED else Code.SUCCEEDED, Reason.MOVED)
    if disks.disks is Disks.FENCED:
        return _finding(Code.UNKNOWN, Reason.DESTINATION_FENCED, disk=disks)
    if disks.disks is Disks.OTHER:
        return _finding(Code.UNKNOWN, Reason.OTHER_GENERATION, disk=disks)
    if disks.disks is Disks.PENDING:
        return _waits(Code.WAITING_FOR_DISKS, Reason.RUNS_WITHOUT_DISKS, disks)
    return _waits(Code.UNKNOWN, Reason.DISKS_UNREADABLE, disks)


_RUNS_WITH: Mapping[Place, Callable[[Scene], Finding]] = {
    Place.RUNS: _both_run,
    Place.MOVING: _source_still_moving,
    Place.STARTING: lambda scene: _finding(Code.SPLIT_BRAIN, Reason.SECOND_START),
    Place.CREATED: lambda scene: _finding(Code.LEFTOVER_SOURCE, Reason.CREATED_LEFT_AT_SOURCE),
}


# --- the destination is in a migration -------------------------------------------------------------------------


def _destination_moves(scene: Scene) -> Finding:
    incoming, outgoing = scene.destination.incoming, scene.destination.outgoing
    if outgoing is not None and outgoing.phase is not Phase.ERROR:
        return _waits(Code.IN_PROGRESS_ELSEWHERE, Reason.LEAVES_DESTINATION)
    if incoming is None or incoming.phase is Phase.ERROR or _is_foreign(scene, incoming):
        # Without a phase, or with Error, the next answer is about to say more (Failed, for one).
        return _in_flight(scene, incoming)
    if scene.source_gave_up_on(incoming):
        return _finding(Code.FAILED_ON_SOURCE, Reason.HALF_LEFT_AT_DESTINATION)
    handed_over = incoming.phase is Phase.FINISH or scene.source_handed_over
    return _arriving(scene, handed_over)


def _is_foreign(scene: Scene, record: MigrationRecord) -> bool:
    return scene.case.migration_id is not None and not scene.is_ours(record)


def _arriving(scene: Scene, handed_over: bool) -> Finding:
    """The destination takes the instance over, by our migration or by one that nobody asked about."""
    at_source = scene.source_place
    if at_source is Place.UNREACHABLE and not scene.case.source_finished:
        return _waits(Code.UNKNOWN, Reason.MOVES_SOURCE_UNREACHABLE)
    if scene.last_word_is_out:
        return _waits(Code.UNKNOWN, Reason.LAST_WORD_OUT)
    if handed_over and (at_source in DOWN or at_source in SILENT):
        return _waits(Code.WAITING_FOR_DISKS, Reason.WAITS_FOR_DISKS, look_at_disks(scene.destination, {}))
    if at_source in DOWN:
        return _waits(Code.UNKNOWN, Reason.SOURCE_GONE_TOO_EARLY)
    if at_source in (Place.STARTING, Place.CREATED):
        return _waits(Code.UNKNOWN, Reason.SECOND_START)
    return _in_flight(scene, scene.destination.incoming)


# --- the destination holds an instance that did not come by migration --------------------------------------------


def _destination_starts(scene: Scene) -> Finding:
    incoming = scene.destination.incoming
    arrived = incoming is not None and incoming.phase is Phase.FINISH and not _is_foreign(scene, incoming)
    if arrived and (scene.source_place in DOWN or scene.source_place is Place.HANGS):
        # A server of January 2023 starts a migrated instance when it is told to run, and opens its disks then.
        return _waits(Code.WAITING_FOR_DISKS, Reason.WAITS_FOR_DISKS, look_at_disks(scene.destination, {}))
    if scene.source_place in (Place.RUNS, Place.MOVING, Place.STARTING):
        return _finding(Code.SPLIT_BRAIN, Reason.COLD_START_AT_DESTINATION)
    return _waits(Code.UNKNOWN, Reason.COLD_START_AT_DESTINATION)


def _destination_created(scene: Scene) -> Finding:
    at_source = scene.source_place
    if at_source is Place.RUNS:
        if scene.case.answer_pending:
            return _waits(Code.ADOPTED, Reason.IN_FLIGHT)
        code = Code.FAILED_ON_SOURCE if scene.began else Code.NOT_STARTED
        return _finding(code, Reason.CREATED_LEFT_AT_DESTINATION)
    if at_source is Place.MOVING:
        return _source_alone_moves(scene)
    if at_source in SILENT or at_source is Place.STARTING:
        return _waits(Code.UNKNOWN, Reason.SILENT)
    settled = at_source is not Place.STOPPING
    return _finding(Code.NOBODY_RUNS, Reason.CREATED_ONLY, settled=settled)


# --- the destination does not run it ----------------------------------------------------------------------------


def _destination_idle(scene: Scene) -> Finding:
    """The destination answers and does not run the instance, or its process is gone."""
    at_source = scene.source_place
    if at_source is Place.RUNS:
        return _source_alone_runs(scene)
    if at_source is Place.MOVING:
        return _source_alone_moves(scene)
    if at_source in (Place.STARTING, Place.CREATED):
        return _finding(Code.NOT_STARTED, Reason.SOURCE_NOT_RUNNING)
    if at_source in SILENT:
        return _waits(Code.UNKNOWN, Reason.SILENT)
    if at_source is Place.STOPPING or scene.case.answer_pending or scene.destination_place is Place.STOPPING:
        return _waits(Code.NOBODY_RUNS, Reason.NOBODY)
    return _finding(Code.NOBODY_RUNS, _why_nobody_runs(scene))


def _why_nobody_runs(scene: Scene) -> Reason:
    if not scene.case.is_looking:
        return Reason.STOPPED if scene.was_stopped else Reason.NOBODY
    if scene.was_lost:
        return Reason.NOBODY
    # Long after a move, the server that it went to may have been ended or started anew, and knows nothing any more.
    return Reason.VANISHED if scene.source_handed_over and not scene.was_stopped else Reason.STOPPED


def _source_alone_runs(scene: Scene) -> Finding:
    if scene.case.answer_pending:
        return _waits(Code.ADOPTED, Reason.IN_FLIGHT)
    failed = scene.began or scene.failed_before
    if not failed:
        return _finding(Code.NOT_STARTED, Reason.RUNS_ON_SOURCE)
    settled = scene.destination_place is not Place.STOPPING
    if scene.source_is_stuck:
        return _finding(Code.FAILED_AND_SOURCE_STUCK, Reason.SOURCE_STUCK, settled=settled)
    return _finding(Code.FAILED_ON_SOURCE, Reason.FAILED_SAFELY, settled=settled)


def _source_alone_moves(scene: Scene) -> Finding:
    outgoing, incoming = scene.source.outgoing, scene.source.incoming
    if outgoing is None and incoming is not None:
        return _waits(Code.IN_PROGRESS_ELSEWHERE, Reason.MOVES_TO_SOURCE)
    return _in_flight(scene, outgoing)


def _destination_silent(scene: Scene) -> Finding:
    at_source = scene.source_place
    if at_source is Place.RUNS:
        if scene.source_gave_up:
            return _source_alone_runs(scene)
        if not scene.began:
            return _finding(Code.NOT_STARTED, Reason.DESTINATION_SILENT)
    if at_source in (Place.STARTING, Place.CREATED) and not scene.began:
        return _finding(Code.NOT_STARTED, Reason.SOURCE_NOT_RUNNING)
    if at_source is Place.MOVING:
        return _source_alone_moves(scene)
    return _waits(Code.UNKNOWN, Reason.DESTINATION_SILENT)


_BY_DESTINATION: Mapping[Place, Callable[[Scene], Finding]] = {
    Place.RUNS: _destination_runs,
    Place.MOVING: _destination_moves,
    Place.STARTING: _destination_starts,
    Place.CREATED: _destination_created,
    Place.STOPPING: _destination_idle,
    Place.OFF: _destination_idle,
    Place.FAILED: _destination_idle,
    Place.EMPTY: _destination_idle,
    Place.OCCUPIED: _destination_idle,
    Place.GONE: _destination_idle,
    Place.HANGS: _destination_silent,
    Place.UNREACHABLE: _destination_silent,
}
