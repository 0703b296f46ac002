# SPDX-License-Identifier: GPL-3.0-or-later
"""Moving an instance: look, plan, ask, follow both ends, and report what is true at the end.

``Finish`` on both ends is not success (seen: the destination fails half a second later and the machine is gone).
Success is what ``truth`` calls so. A second run of the same move finds the first by its id and follows it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from .dialects import MigrationTarget
from .errors import ApiError, PropolisError
from .instance import Change, Phase, Side
from .migration_follow import Follower, Noticed
from .migration_guest import Guest, hear
from .migration_plan import Plan, Refused, check_ends, make_plan
from .migration_replicas import ReplicaWatch
from .migration_request import Move
from .migration_timeline import DESTINATION, Event, Note, Timeline
from .observation import Reach, Sighting
from .observe import Look, Observer
from .truth import at_deadline, judge
from .verdict import Answer, Began, Case, Code, Reason, Verdict

# Both ends are looked at when one of them shows something final, and at least this often: an end that dies without
# a word shows nothing.
LOOK_EVERY = 2.0  # seconds
# A bad verdict is believed when a second look, begun after the first had ended, says the same: the two ends of the
# first look were not seen at the same instant, and a whole migration takes less than half a second.
_CONFIRM_AFTER = 0.2  # seconds


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``changed`` is True when this run asked for a migration, or finished one that it adopted.

    ``pause`` is how long the guest stood still for the API (None: not seen), ``total`` the whole time, both in seconds.
    ``guest`` is what its console told after a move that ended well, None when nobody listened to it.
    ``sightings`` is what was last seen, source and destination first. ``follows`` says of a plan that a run would
    follow what is under way.
    """

    move: Move
    verdict: Verdict
    timeline: tuple[Event, ...] = ()
    pause: float | None = None
    total: float = 0.0
    changed: bool = False
    warnings: tuple[str, ...] = ()
    plan: Plan | None = None
    refusal: PropolisError | None = None
    sightings: tuple[Sighting, ...] = ()
    follows: bool = False
    guest: Guest | None = None


class Mover:
    """One run of one move. ``tell`` is called for what happens as it happens (from other threads, one at a time)."""

    def __init__(self, move: Move, tell: Callable[[Event | Note], None] | None = None) -> None:
        self._move = move
        self._observer = Observer(api=move.api, timeout=move.ask_timeout)
        self._began = time.monotonic()
        self._deadline = self._began + move.timeout
        self._timeline = Timeline(self._began, tell)
        self._noticed: queue.SimpleQueue[Noticed] = queue.SimpleQueue()
        self._case = Case(
            move.instance, migration_id=move.migration_id, generations=move.generations, volumes=move.volumes
        )
        self._seen: tuple[Sighting, ...] = ()
        self._plan: Plan | None = None
        self._replicas = ReplicaWatch(move.instance.name, move.destination.name)
        self._run_sent = False
        self._answered: queue.SimpleQueue[tuple[Answer, str]] = queue.SimpleQueue()

    # --- looking ------------------------------------------------------------------------------------------------

    def _look(self) -> Verdict:
        ours = self._case.migration_id
        looks = [Look(self._move.source, Side.OUT, ours), Look(self._move.destination, Side.IN, ours)]
        looks += [Look(other) for other in self._move.others]
        self._seen = tuple(self._observer.look_at_all(looks))
        source = self._seen[0]
        if self._move.source.address == self._move.destination.address:
            # One server under both names: what it holds is at the destination, and there is no other end.
            source = Sighting(self._move.source, Reach.ANSWERS, dialect=source.dialect, at=source.at)
        if source.outgoing is not None and source.outgoing.id == ours and source.outgoing.phase is Phase.FINISH:
            self._case = replace(self._case, source_finished=True)
        if self._case.began is not Began.NO:
            for sentence in self._replicas.look(source):
                self._timeline.note(sentence, source.at)
        return judge(self._case, source, self._seen[1], self._seen[2:])

    def _confirmed_look(self) -> Verdict:
        """A look; when it is bad and settled, a second one must say the same, else the newer counts."""
        verdict = self._look()
        for _attempt in range(3):
            if not verdict.settled or verdict.is_good or verdict.code is Code.NOT_STARTED:
                return verdict
            time.sleep(_CONFIRM_AFTER)
            self._learn()
            again = self._look()
            if (again.code, again.reason) == (verdict.code, verdict.reason):
                return again
            verdict = again
        return verdict

    # --- planning -----------------------------------------------------------------------------------------------

    def plan(self) -> Outcome:
        """What would happen now: changes nothing on any server. ``not_started`` without a refusal means: may begin."""
        verdict = self._confirmed_look()
        if verdict.is_good or self._may_follow(verdict):
            return self._outcome(verdict)
        if self._move.source.address == self._move.destination.address:
            refused = Refused(
                f"{self._move.source} ({self._move.source.address}) is given as source and as destination, and "
                f"{self._move.instance.name} does not run there; name the server where it runs as the source.",
                code="same_server",
            )
            return self._outcome(_not_begun(verdict, refused), refusal=refused)
        if verdict.reason not in _PLANNED:
            return self._outcome(verdict)
        try:
            check_ends(self._move, self._seen[0], self._seen[1])
            if verdict.reason is not Reason.RUNS_ON_SOURCE:
                return self._outcome(verdict)
            self._plan = make_plan(self._move, self._observer.open(self._move.source), self._seen[0])
        except PropolisError as error:
            return self._outcome(_not_begun(verdict, error), refusal=error)
        return self._outcome(verdict)

    def _may_follow(self, verdict: Verdict) -> bool:
        """Our own migration, begun by an earlier run, that has not ended; or one whose source is just letting go."""
        if verdict.settled:
            return False
        if verdict.code is Code.ADOPTED or verdict.reason is Reason.SOURCE_LETS_GO:
            return verdict.code is not Code.IN_PROGRESS_ELSEWHERE
        incoming = self._seen[1].incoming
        ours = incoming is not None and incoming.id == self._case.migration_id
        return verdict.code is Code.WAITING_FOR_DISKS and ours

    # --- moving -------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Bring the instance to the destination, or say why not. Raises nothing for what servers do."""
        planned = self.plan()
        if planned.plan is not None:
            return self._begin(planned.plan)
        if not planned.follows:
            return planned
        if planned.verdict.code is not Code.ALREADY_THERE:
            self._case = replace(self._case, began=Began.ADOPTED)
        return self._follow()

    def _begin(self, plan: Plan) -> Outcome:
        self._case = replace(self._case, began=Began.ASKED, answer=Answer.PENDING)
        source = self._observer.open(self._move.source)
        if source.dialect.marks_source:
            try:
                source.change_state(Change.MIGRATE_START)
            except PropolisError as error:
                self._case = replace(self._case, began=Began.NO, answer=Answer.NONE)
                refused = Refused(
                    f"{self._move.source} does not let {self._move.instance.name} go: {error.message}",
                    code="source_refuses",
                )
                return self._outcome(_not_begun(self._look(), refused), refusal=refused)
        return self._follow(plan)

    def _follow(self, plan: Plan | None = None) -> Outcome:
        """Follow both ends to a settled verdict or to the deadline; with a plan, ask the destination first."""
        followers = [
            Follower(
                server,
                side,
                self._move.migration_id,
                observer=self._observer,
                timeline=self._timeline,
                noticed=self._noticed,
                deadline=self._deadline,
            )
            for server, side in ((self._move.source, Side.OUT), (self._move.destination, Side.IN))
        ]
        for follower in followers:
            follower.start()
        try:
            if plan is not None:
                threading.Thread(target=self._ask, args=(plan,), name="ask destination", daemon=True).start()
            outcome = self._outcome(self._wait())
        finally:
            for follower in followers:
                follower.stop()
        return self._with_guest(outcome)

    def _with_guest(self, outcome: Outcome) -> Outcome:
        """The outcome with what the guest itself shows; one that is not heard is a failure of a move that succeeded."""
        wanted = self._move.wait_for
        if wanted is None or not outcome.verdict.is_good:
            return outcome
        guest = hear(self._move, wanted, self._timeline)
        if guest.problem is None:
            return replace(outcome, guest=guest)
        return replace(outcome, guest=guest, verdict=_unheard(outcome.verdict, guest.problem))

    def _wait(self) -> Verdict:
        if self._case.answer is not Answer.PENDING:
            self._noticed.put(Noticed("both", "adopted"))
        while True:
            left = self._deadline - time.monotonic()
            if left <= 0:
                self._learn()
                return at_deadline(self._look(), self._move.timeout)
            try:
                self._noticed.get(timeout=min(left, LOOK_EVERY))
                while True:
                    self._noticed.get_nowait()
            except queue.Empty:
                pass
            self._learn()
            verdict = self._confirmed_look()
            if verdict.settled or self._lost_the_race(verdict):
                if verdict.is_good:
                    self._complete_timeline()
                return verdict
            self._run_when_arrived()

    def _lost_the_race(self, verdict: Verdict) -> bool:
        """Somebody else's migration came first: the servers took theirs and refused ours. It is not ours to follow."""
        refused = self._case.answer in (Answer.REFUSED, Answer.FAILED)
        return refused and verdict.code is Code.IN_PROGRESS_ELSEWHERE

    def _learn(self) -> None:
        """Take in what the other threads have found out since."""
        reached, paused = _phase(self._timeline.source_reached()), self._timeline.pause()
        self._case = replace(self._case, reached=reached, paused=paused)
        try:
            answer, text = self._answered.get_nowait()
        except queue.Empty:
            return
        self._case = replace(self._case, answer=answer, answer_text=text)

    def _complete_timeline(self) -> None:
        """Let the follower of the destination report ``Running``: a look may have seen it a moment earlier."""
        until = time.monotonic() + _CONFIRM_AFTER
        while not self._timeline.shows(DESTINATION, "Running"):
            try:
                self._noticed.get(timeout=max(until - time.monotonic(), 0))
            except queue.Empty:
                self._timeline.add(DESTINATION, "Running", self._seen[1].at)

    def _ask(self, plan: Plan) -> None:
        """Ask the destination to fetch the instance. It answers after Sync, or never; it goes on either way."""
        move = self._move
        target = MigrationTarget(
            id=move.instance.id,
            name=plan.source.name,
            migration_id=move.migration_id,
            source_address=move.source.address,
            source=plan.source,
            spec=plan.spec,
            volumes=plan.volumes,
        )
        answer, text = Answer.ACCEPTED, ""
        try:
            server = self._observer.open(move.destination)
            server.ensure_migration_target(target, timeout=max(self._deadline - time.monotonic(), 0.1))
        except ApiError as error:
            answer, text = Answer.REFUSED if error.status < 500 else Answer.FAILED, error.message
        except PropolisError as error:
            answer, text = Answer.LOST, error.message
        self._answered.put((answer, text))
        self._noticed.put(Noticed("destination", f"answer {answer.value}"))

    def _run_when_arrived(self) -> None:
        """Servers of January 2023 hold a migrated instance until they are told to run it (read in their source).

        Only after Finish on the destination: before, it would be refused, and at no time is it harmful then.
        """
        destination = self._seen[1]
        incoming = destination.incoming
        if self._run_sent or incoming is None or incoming.phase is not Phase.FINISH:
            return
        if incoming.id != self._case.migration_id:
            return
        try:
            server = self._observer.open(self._move.destination)
            if server.dialect.runs_after_migration:
                return
            server.change_state(Change.RUN)
        except PropolisError:
            return  # not ready yet, running already, or away: the next look tells, and then it is tried again
        self._run_sent = True
        self._noticed.put(Noticed("destination", "told to run"))

    # --- reporting ----------------------------------------------------------------------------------------------

    def _outcome(self, verdict: Verdict, refusal: PropolisError | None = None) -> Outcome:
        answered_no = self._case.answer is Answer.REFUSED
        return Outcome(
            move=self._move,
            verdict=verdict,
            timeline=self._timeline.events,
            pause=self._timeline.pause(),
            total=time.monotonic() - self._began,
            changed=self._case.began is not Began.NO and not answered_no,
            warnings=(*(self._plan.warnings if self._plan is not None else ()), *self._replicas.warnings),
            plan=self._plan,
            refusal=refusal,
            sightings=self._seen,
            follows=self._may_follow(verdict),
        )


# Verdicts after which the rest of the plan is worth while; all others speak for themselves.
_PLANNED = frozenset(
    {
        Reason.RUNS_ON_SOURCE,
        Reason.SOURCE_NOT_RUNNING,
        Reason.DESTINATION_SILENT,
        Reason.CREATED_LEFT_AT_DESTINATION,
    }
)


def _phase(text: str | None) -> Phase | None:
    return Phase(text) if text is not None else None


def _not_begun(verdict: Verdict, error: PropolisError) -> Verdict:
    """The verdict of a move that is refused: where the instance is stays true, and the refusal says the rest."""
    account = f"{error.message} {verdict.account.split(';', 1)[0]}; nothing was changed"
    return replace(
        verdict,
        code=Code.NOT_STARTED,
        settled=True,
        sentence=f"{account}.",
        account=account,
        next_steps=(),
        failure_code=error.code,
    )


def _unheard(verdict: Verdict, problem: str) -> Verdict:
    """The verdict of a move that succeeded for both servers, and whose guest was not heard."""
    account = f"{verdict.account}; but its guest was not heard there: {problem.rstrip('.')}"
    steps = (
        f"look at its console on {verdict.runs_on}: the API shows nothing of a guest that waits for its disk",
        "give wait_for.timeout more than the guest's own timeout for its disks (30 s on Linux)",
    )
    return replace(
        verdict, sentence=f"{account}; {steps[0]}.", account=account, next_steps=steps, failure_code="guest_silent"
    )
