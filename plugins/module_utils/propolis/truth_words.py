# SPDX-License-Identifier: GPL-3.0-or-later
"""A finding put into words: where the VM runs now, at which generation, what was changed, what to do next."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from . import truth_alarms as alarms
from .observation import DOWN, Place, Sighting
from .truth_details import (
    Words,
    at_generation,
    blocking_targets,
    changed,
    describe_disk,
    how_far,
    live_generation,
    migration_of,
    next_generation,
    place_words,
    source_note,
)
from .verdict import GOOD, Code, Finding, Reason, Scene, Verdict


def speak(scene: Scene, finding: Finding) -> Verdict:
    """The verdict in words: one sentence of three parts, and the steps one by one."""
    words = _WORDS[finding.reason](scene, finding)
    account = words.where if scene.case.is_looking else f"{words.where}; {changed(scene, finding)}"
    failure = None if finding.code in GOOD and finding.settled else finding.code.value
    return Verdict(
        finding.code,
        finding.reason,
        finding.settled,
        f"{account}; {words.steps[0]}.",
        words.steps,
        failure,
        words.runs_on,
        account,
    )


_NOTHING = "nothing is left to do"
_LEAVE = "leave both servers alone and run the same play again to follow it"


def _look(scene: Scene) -> str:
    return f"look at {scene.source.server} and {scene.destination.server} again before anything else is started"


def _start_again(scene: Scene) -> tuple[str, ...]:
    return (
        f"start it on any one server with {next_generation(scene)} (boot.yml does)",
        f"read the log of {scene.destination.server} for the reason",
    )


def _moved(scene: Scene, finding: Finding) -> Words:
    server = scene.destination.server
    note = source_note(scene)
    where = f"{scene.case.instance.name} runs on {server}{at_generation(scene.destination)}"
    if note is None:
        return Words(where, (_NOTHING,), server)
    return Words(where, (note, _NOTHING), server)


def _in_flight(scene: Scene, finding: Finding) -> Words:
    lonely = _stays_migrating(scene) if finding.code is not Code.ADOPTED else None
    if lonely is not None:
        return lonely
    where = (
        f"{scene.case.instance.name} is on its way from {scene.source.server} to {scene.destination.server} "
        f"({migration_of(scene)}; {scene.source.server} {place_words(scene.source, scene.source_place)}, "
        f"{scene.destination.server} {place_words(scene.destination, scene.destination_place)})"
    )
    return Words(where, (_LEAVE if finding.code is Code.ADOPTED else "wait until it has ended, then look again",))


def _stays_migrating(scene: Scene) -> Words | None:
    """A server of January 2023 that says Migrating while nobody else has the instance.

    After a move that failed, such a source never takes that state back though its instance runs, and it tells of no
    migration whose id it is not given (read in its source).
    """
    ends = ((scene.source, scene.source_place), (scene.destination, scene.destination_place))
    moving = [sighting for sighting, at in ends if at is Place.MOVING and sighting.dialect == "2023-01"]
    if len(moving) != 1 or not any(at in DOWN for _sighting, at in ends):
        return None
    server = moving[0].server
    return Words(
        f"{scene.case.instance.name} is on {server}, which says Migrating, and no other server holds it",
        (
            f"if somebody moves it now, wait until that has ended; else a move has failed before and {server} says so "
            "for good, though the instance runs: end it there by force and start it again",
        ),
    )


def _source_lets_go(scene: Scene, finding: Finding) -> Words:
    server = scene.destination.server
    where = (
        f"{scene.case.instance.name} runs on {server}{at_generation(scene.destination)} and {scene.source.server} "
        f"{place_words(scene.source, scene.source_place)}"
    )
    return Words(where, (f"wait until {scene.source.server} has let go of its copy",), server)


def _runs_source_unreachable(scene: Scene, finding: Finding) -> Words:
    server = scene.destination.server
    return Words(
        f"{scene.case.instance.name} runs on {server}{at_generation(scene.destination)}, but {scene.source.server} "
        f"cannot be asked ({scene.source.error or 'no answer'}), so nobody can say whether an old copy is left there",
        (f"make {scene.source.server} reachable and look at it; start no other copy",),
        server,
    )


def _moves_source_unreachable(scene: Scene, finding: Finding) -> Words:
    return Words(
        f"it is unknown where {scene.case.instance.name} runs: {scene.destination.server} "
        f"{place_words(scene.destination, scene.destination_place)} and {scene.source.server} cannot be asked "
        f"({scene.source.error or 'no answer'})",
        (f"make {scene.source.server} reachable and look again; start no other copy",),
    )


def _source_gone_too_early(scene: Scene, finding: Finding) -> Words:
    return Words(
        f"{scene.case.instance.name} runs nowhere that can be seen: {scene.source.server} "
        f"{place_words(scene.source, scene.source_place)}, {scene.destination.server} still waits for the rest of it",
        (f"wait until {scene.destination.server} says Running or Failed; start no other copy before",),
    )


def _moves_to_source(scene: Scene, finding: Finding) -> Words:
    return Words(
        f"{scene.case.instance.name} is being moved to {scene.source.server} by somebody else "
        f"(migration {_id(scene.source)})",
        ("wait until that has ended, then look again",),
    )


def _leaves_destination(scene: Scene, finding: Finding) -> Words:
    record = scene.destination.outgoing
    return Words(
        f"{scene.case.instance.name} is being moved away from {scene.destination.server} by somebody else "
        f"(migration {record.id if record is not None else 'of unknown id'})",
        ("wait until that has ended, then look again",),
    )


def _destination_fenced(scene: Scene, finding: Finding) -> Words:
    server = scene.destination.server
    return Words(
        f"{scene.case.instance.name} is Running on {server}, but {describe_disk(finding)} was taken away by another "
        "session with a higher generation",
        ("find the server that holds the newer session (status.yml asks all of them) and stop one of the two",),
        server,
    )


def _other_generation(scene: Scene, finding: Finding) -> Words:
    server = scene.destination.server
    disk = finding.disk
    expected = disk.expected if disk is not None else None
    return Words(
        f"{scene.case.instance.name} is Running on {server}, but {describe_disk(finding)} uses generation "
        f"{live_generation(finding)} where {expected} was allocated for this migration",
        ("find out who started it with that number before anything else is moved or started",),
        server,
    )


def _runs_without_disks(scene: Scene, finding: Finding) -> Words:
    server = scene.destination.server
    return Words(
        f"{scene.case.instance.name} is Running on {server}, but {describe_disk(finding)} is not active"
        f"{blocking_targets(finding)}",
        ("bring the missing downstairs back, or replace it; do not stop the server",),
        server,
    )


def _waits_for_disks(scene: Scene, finding: Finding) -> Words:
    server = scene.destination.server
    return Words(
        f"{scene.case.instance.name} lives in the memory of {server} and waits for its disks"
        f"{blocking_targets(finding)}; {scene.source.server} has handed it over",
        (
            "bring the missing downstairs back, or replace it by a volume construction request; it then runs by itself",
            f"do not stop or kill {server}: the only copy of the memory is there",
        ),
    )


def _disks_unreadable(scene: Scene, finding: Finding) -> Words:
    server = scene.destination.server
    problem = finding.disk.problem if finding.disk is not None and finding.disk.problem else "no answer"
    return Words(
        f"{scene.case.instance.name} is Running on {server}, but its disks cannot be read ({problem})",
        (f"look at the disks on {server} before anything else is moved or started",),
        server,
    )


def _source_not_running(scene: Scene, finding: Finding) -> Words:
    return Words(
        f"{scene.case.instance.name} runs nowhere yet: {scene.source.server} "
        f"{place_words(scene.source, scene.source_place)}",
        (f"run it on {scene.source.server} and wait until it is Running, then move it",),
    )


def _runs_on_source(scene: Scene, finding: Finding) -> Words:
    server = scene.source.server
    return Words(
        f"{scene.case.instance.name} runs on {server}{at_generation(scene.source)}",
        ("nothing has to be done; a move may begin",),
        server,
    )


def _destination_silent(scene: Scene, finding: Finding) -> Words:
    at_source = scene.source_place is Place.RUNS
    where = (
        f"{scene.source.server} {place_words(scene.source, scene.source_place)} for {scene.case.instance.name}, and "
        f"{scene.destination.server} cannot be asked ({scene.destination.error or 'no answer'})"
    )
    return Words(
        where,
        (f"make {scene.destination.server} reachable and look again; start no other copy",),
        scene.source.server if at_source else None,
    )


def _silent(scene: Scene, finding: Finding) -> Words:
    return Words(
        f"it is unknown where {scene.case.instance.name} runs: {scene.source.server} "
        f"{place_words(scene.source, scene.source_place)}, {scene.destination.server} "
        f"{place_words(scene.destination, scene.destination_place)}",
        (_look(scene),),
    )


def _failed_safely(scene: Scene, finding: Finding) -> Words:
    server, log = scene.source.server, f"read the log of {scene.destination.server} for the reason"
    if scene.source.keeps_migrating_after_failure:
        # What says Migrating cannot be marked for another migration; the same play would only find this one again.
        steps = (log, f"stop and start the instance on {server} before the next try{_stopped_how(scene)}")
    else:
        cure = f"if {server} then refuses to be a migration source, stop and start the instance there: that cures it"
        steps = (f"{log}, then try again with new generations", cure)
    return Words(
        f"{scene.case.instance.name} still runs on {server}{at_generation(scene.source)}; the migration failed safely"
        f"{how_far(scene)}",
        steps,
        server,
    )


def _half_left_at_destination(scene: Scene, finding: Finding) -> Words:
    server, other = scene.source.server, scene.destination.server
    return Words(
        f"{scene.case.instance.name} still runs on {server}{at_generation(scene.source)}, which gave up the migration"
        f"{how_far(scene)}; {other} {place_words(scene.destination, scene.destination_place)} and waits for a rest "
        "that never comes",
        (
            f"restart the server process of {other}, see to the network between {server} and {other}, then try again "
            "with new generations",
        ),
        server,
    )


def _last_word_out(scene: Scene, finding: Finding) -> Words:
    server, other = scene.source.server, scene.destination.server
    return Words(
        f"NOBODY MAY BE RUNNING {scene.case.instance.name}: {server} has handed it over and "
        f"{place_words(scene.source, scene.source_place)}, and its last word has not reached {other}, which "
        f"{place_words(scene.destination, scene.destination_place)}",
        (
            f"see to the network between {server} and {other} and run the same play again: {other} runs it as soon as "
            "the word arrives",
            f"do not stop or kill {other} before you give that up: the only copy of the memory is there",
            f"then restart the server process of {other} and start the instance on any one server with "
            f"{next_generation(scene)} (boot.yml does): its disks are intact",
        ),
    )


def _source_stuck(scene: Scene, finding: Finding) -> Words:
    server = scene.source.server
    return Words(
        f"{scene.case.instance.name} still runs on {server}{at_generation(scene.source)}, but {server} shows the signs "
        f"of refusing to be a migration source since the failed migration {_id(scene.source)}",
        (
            f"stop and start the instance on {server} to cure this{_stopped_how(scene)}; until then every migration "
            "from it fails",
            "no number need be spent on further tries",
        ),
        server,
    )


def _stopped_how(scene: Scene) -> str:
    return " (instance_force stops one that says Migrating)" if scene.source.keeps_migrating_after_failure else ""


def _nobody(scene: Scene, finding: Finding) -> Words:
    name = scene.case.instance.name
    ended = f"{scene.source.server} {place_words(scene.source, scene.source_place)}, {scene.destination.server} "
    ended += place_words(scene.destination, scene.destination_place)
    if not finding.settled:
        return Words(f"{name} is about to run nowhere ({ended})", (_look(scene),))
    return Words(f"NOBODY RUNS {name}: {ended}; its disks are intact", _start_again(scene))


def _stopped(scene: Scene, finding: Finding) -> Words:
    source, destination = scene.source.server, scene.destination.server
    if scene.destination_place is Place.OFF:
        how = f"it was stopped on {destination}" + (f", where it was moved from {source}" if scene.began else "")
    elif scene.source_place is Place.OFF:
        how = f"it was stopped on {source}" + (f" before {destination} had it" if scene.began else "")
    else:
        how = "no server holds it"
    return Words(f"{scene.case.instance.name} runs nowhere: {how}; its disks are intact", _start_again(scene)[:1])


def _vanished(scene: Scene, finding: Finding) -> Words:
    destination = scene.destination.server
    return Words(
        f"{scene.case.instance.name} runs nowhere: {scene.source.server} handed it over, and {destination} "
        f"{place_words(scene.destination, scene.destination_place)}. It was stopped there or lost with its server, "
        "which was ended or started anew since, so nobody can say which",
        _start_again(scene),
    )


def _id(sighting: Sighting) -> str:
    record = sighting.outgoing or sighting.incoming
    return record.id if record is not None else "of unknown id"


_WORDS: Mapping[Reason, Callable[[Scene, Finding], Words]] = {
    Reason.MOVED: _moved,
    Reason.THERE: _moved,
    Reason.IN_FLIGHT: _in_flight,
    Reason.SOURCE_LETS_GO: _source_lets_go,
    Reason.BOTH_RUN: alarms.both_run,
    Reason.LEFTOVER_SOURCE: alarms.leftover_source,
    Reason.LEFTOVER_DESTINATION: alarms.leftover_destination,
    Reason.LEFTOVER_ELSEWHERE: alarms.leftover_elsewhere,
    Reason.SECOND_START: alarms.second_start,
    Reason.CREATED_LEFT_AT_SOURCE: alarms.created_left_at_source,
    Reason.CREATED_LEFT_AT_DESTINATION: alarms.created_left_at_destination,
    Reason.CREATED_ONLY: alarms.created_only,
    Reason.COLD_START_AT_DESTINATION: alarms.cold_start,
    Reason.COLD_START_ELSEWHERE: alarms.cold_start,
    Reason.RUNS_SOURCE_UNREACHABLE: _runs_source_unreachable,
    Reason.MOVES_SOURCE_UNREACHABLE: _moves_source_unreachable,
    Reason.SOURCE_GONE_TOO_EARLY: _source_gone_too_early,
    Reason.MOVES_TO_SOURCE: _moves_to_source,
    Reason.LEAVES_DESTINATION: _leaves_destination,
    Reason.HALF_LEFT_AT_DESTINATION: _half_left_at_destination,
    Reason.LAST_WORD_OUT: _last_word_out,
    Reason.MOVES_ELSEWHERE: alarms.moves_elsewhere,
    Reason.RUNS_ELSEWHERE: alarms.runs_elsewhere,
    Reason.THIRD_COPY: alarms.third_copy,
    Reason.VOLUME_SHARED: alarms.volume_shared,
    Reason.VOLUME_IN_USE: alarms.volume_in_use,
    Reason.DESTINATION_FENCED: _destination_fenced,
    Reason.OTHER_GENERATION: _other_generation,
    Reason.RUNS_WITHOUT_DISKS: _runs_without_disks,
    Reason.WAITS_FOR_DISKS: _waits_for_disks,
    Reason.DISKS_UNREADABLE: _disks_unreadable,
    Reason.SOURCE_NOT_RUNNING: _source_not_running,
    Reason.RUNS_ON_SOURCE: _runs_on_source,
    Reason.DESTINATION_SILENT: _destination_silent,
    Reason.SILENT: _silent,
    Reason.FAILED_SAFELY: _failed_safely,
    Reason.SOURCE_STUCK: _source_stuck,
    Reason.NOBODY: _nobody,
    Reason.STOPPED: _stopped,
    Reason.VANISHED: _vanished,
}
