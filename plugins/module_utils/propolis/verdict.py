# SPDX-License-Identifier: GPL-3.0-or-later
"""The words and values of a verdict on a move: its codes, what is known of the case, and the scene that is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from .instance import MigrationRecord, Phase
from .observation import DOWN, DiskFinding, Place, ServerName, Sighting, place


class Code(Enum):
    """Every way in which a move can stand or end. The words are an interface: playbooks branch on them."""

    SUCCEEDED = "succeeded"
    ALREADY_THERE = "already_there"
    ADOPTED = "adopted"  # ours, begun by an earlier run: in flight, or (settled) ended well
    FAILED_ON_SOURCE = "failed_on_source"
    FAILED_AND_SOURCE_STUCK = "failed_and_source_stuck"
    WAITING_FOR_DISKS = "waiting_for_disks"
    NOBODY_RUNS = "nobody_runs"
    LEFTOVER_SOURCE = "leftover_source"
    SPLIT_BRAIN = "split_brain"
    IN_PROGRESS_ELSEWHERE = "in_progress_elsewhere"
    TIMED_OUT = "timed_out"
    UNKNOWN = "unknown"
    NOT_STARTED = "not_started"


GOOD = frozenset({Code.SUCCEEDED, Code.ALREADY_THERE, Code.ADOPTED})


class Reason(Enum):
    """Why a verdict is what it is, finer than its code: one sentence for each."""

    MOVED = "moved"
    THERE = "there"
    IN_FLIGHT = "in_flight"
    SOURCE_LETS_GO = "source_lets_go"
    BOTH_RUN = "both_run"
    LEFTOVER_SOURCE = "leftover_source"
    LEFTOVER_DESTINATION = "leftover_destination"
    LEFTOVER_ELSEWHERE = "leftover_elsewhere"
    SECOND_START = "second_start"
    CREATED_LEFT_AT_SOURCE = "created_left_at_source"
    CREATED_LEFT_AT_DESTINATION = "created_left_at_destination"
    CREATED_ONLY = "created_only"
    COLD_START_AT_DESTINATION = "cold_start_at_destination"
    COLD_START_ELSEWHERE = "cold_start_elsewhere"
    RUNS_SOURCE_UNREACHABLE = "runs_source_unreachable"
    MOVES_SOURCE_UNREACHABLE = "moves_source_unreachable"
    SOURCE_GONE_TOO_EARLY = "source_gone_too_early"
    MOVES_TO_SOURCE = "moves_to_source"
    LEAVES_DESTINATION = "leaves_destination"
    HALF_LEFT_AT_DESTINATION = "half_left_at_destination"
    LAST_WORD_OUT = "last_word_out"
    MOVES_ELSEWHERE = "moves_elsewhere"
    RUNS_ELSEWHERE = "runs_elsewhere"
    THIRD_COPY = "third_copy"
    VOLUME_SHARED = "volume_shared"
    VOLUME_IN_USE = "volume_in_use"
    DESTINATION_FENCED = "destination_fenced"
    OTHER_GENERATION = "other_generation"
    RUNS_WITHOUT_DISKS = "runs_without_disks"
    WAITS_FOR_DISKS = "waits_for_disks"
    DISKS_UNREADABLE = "disks_unreadable"
    SOURCE_NOT_RUNNING = "source_not_running"
    RUNS_ON_SOURCE = "runs_on_source"
    DESTINATION_SILENT = "destination_silent"
    SILENT = "silent"
    FAILED_SAFELY = "failed_safely"
    SOURCE_STUCK = "source_stuck"
    NOBODY = "nobody"  # the machine was lost from memory
    STOPPED = "stopped"  # somebody ended it: nothing was lost
    VANISHED = "vanished"  # stopped or lost: the server that knew has been ended or started anew since


class Began(Enum):
    """Whether this run has a migration of its own under way."""

    NO = "no"
    ASKED = "asked"
    ADOPTED = "adopted"


class Answer(Enum):
    """What became of the request to the destination."""

    NONE = "none"  # not sent
    PENDING = "pending"
    ACCEPTED = "accepted"
    REFUSED = "refused"  # the destination understood and said no (4xx): the source was never asked
    FAILED = "failed"  # the destination tried and failed (5xx); its own log holds the reason
    LOST = "lost"  # no answer came: the server died, or the time was over


@dataclass(frozen=True)
class InstanceName:
    """The instance that is to move."""

    id: str
    name: str


@dataclass(frozen=True)
class Case:
    """What we know of a move beside what the servers say now.

    ``migration_id`` is ours (None when only looking), ``generations`` maps our disk names to the numbers that we
    allocated, ``volumes`` are the ids of the instance's volumes. ``reached`` is the last phase of our migration that
    the source was seen in, ``paused`` how long the guest stood still (seconds, None: not seen), ``source_finished``
    whether the source itself was seen to have handed over.
    ``is_looking`` is True when nobody moves anything and the question is only how the instance stands.
    """

    instance: InstanceName
    migration_id: str | None = None
    generations: Mapping[str, int] = field(default_factory=dict)
    volumes: frozenset[str] = frozenset()
    began: Began = Began.NO
    answer: Answer = Answer.NONE
    answer_text: str = ""
    reached: Phase | None = None
    paused: float | None = None
    source_finished: bool = False
    is_looking: bool = False

    @property
    def answer_pending(self) -> bool:
        return self.answer is Answer.PENDING


@dataclass(frozen=True)
class Scene:
    """A case together with what was seen at its two ends and at all other servers."""

    case: Case
    source: Sighting
    destination: Sighting
    others: Sequence[Sighting]
    source_place: Place
    destination_place: Place

    @classmethod
    def of(cls, case: Case, source: Sighting, destination: Sighting, others: Sequence[Sighting]) -> Scene:
        ends = {source.server.address, destination.server.address}
        rest = tuple(other for other in others if other.server.address not in ends)
        wanted = case.instance.id
        return cls(case, source, destination, rest, place(source, wanted), place(destination, wanted))

    @property
    def began(self) -> bool:
        return self.case.began is not Began.NO

    def is_ours(self, record: MigrationRecord | None) -> bool:
        return record is not None and self.case.migration_id is not None and record.id == self.case.migration_id

    @property
    def source_handed_over(self) -> bool:
        outgoing = self.source.outgoing
        finished = outgoing is not None and outgoing.phase is Phase.FINISH
        return self.case.source_finished or finished

    @property
    def was_stopped(self) -> bool:
        """Somebody (the guest, for one) ended the instance at one end; it was not lost on the way between them."""
        if self.source_handed_over:
            return self.destination_place is Place.OFF
        return Place.OFF in (self.source_place, self.destination_place)

    @property
    def was_lost(self) -> bool:
        """It was lost from memory: a server says Failed."""
        return Place.FAILED in (self.source_place, self.destination_place)

    @property
    def source_gave_up(self) -> bool:
        """The source itself says that our migration failed."""
        outgoing = self.source.outgoing
        return self.is_ours(outgoing) and outgoing is not None and outgoing.phase is Phase.ERROR

    def source_gave_up_on(self, incoming: MigrationRecord) -> bool:
        """The source runs on after it gave up the very migration that the destination still waits for.

        It hears of that at once, unless the network between the two is broken; then it waits for ever.
        """
        outgoing = self.source.outgoing
        gave_up = outgoing is not None and outgoing.id == incoming.id and outgoing.phase is Phase.ERROR
        return gave_up and self.source_place is Place.RUNS

    @property
    def last_word_is_out(self) -> bool:
        """The source has handed over and ended, and the destination has not heard its last word.

        That takes a moment, unless the network between the two is broken.
        """
        incoming = self.destination.incoming
        waits = incoming is not None and incoming.phase is not Phase.FINISH
        return waits and self.source_handed_over and self.source_place in DOWN

    @property
    def failed_before(self) -> bool:
        """This very migration (or, when only looking, the last one between these two) is known to have failed."""
        incoming, outgoing = self.destination.incoming, self.source.outgoing
        if self.case.migration_id is None:
            paired = incoming is not None and outgoing is not None and incoming.id == outgoing.id
            return paired and self.destination_place is Place.FAILED
        return self.source_gave_up or (self.is_ours(incoming) and self.destination_place is Place.FAILED)

    @property
    def source_is_stuck(self) -> bool:
        """Whether the source shows the signs of a real server that will refuse every further migration.

        Seen on the real program: when the destination dies between the connection and the agreement on a protocol
        version, the source remembers an Error without ever having shown a phase, and denies all that come after; the
        next destination answers 500 while the source still tells of the earlier migration.
        """
        outgoing = self.source.outgoing
        if outgoing is None or outgoing.phase is not Phase.ERROR:
            return False
        if not self.is_ours(outgoing):
            return self.case.answer is Answer.FAILED
        died = self.destination_place in (Place.GONE, Place.EMPTY, Place.HANGS, Place.UNREACHABLE)
        return self.began and died and self.case.reached is None


@dataclass(frozen=True)
class Finding:
    """A verdict before it is put into words. ``server`` is another server than the two ends, when it decided."""

    code: Code
    reason: Reason
    settled: bool = True
    disk: DiskFinding | None = None
    server: Sighting | None = None


@dataclass(frozen=True)
class Verdict:
    """The end of the story, or its present state.

    ``settled`` is False when waiting may change it. ``failure_code`` is None when there is nothing to fail about.
    ``runs_on`` is the server where the instance is known to run, None when it runs nowhere or nobody can say.
    ``account`` is the sentence without its last part, which says what to do.
    """

    code: Code
    reason: Reason
    settled: bool
    sentence: str
    next_steps: tuple[str, ...]
    failure_code: str | None
    runs_on: ServerName | None = None
    account: str = ""

    @property
    def is_good(self) -> bool:
        """The instance runs at the destination and nothing is left to do."""
        return self.settled and self.code in GOOD
