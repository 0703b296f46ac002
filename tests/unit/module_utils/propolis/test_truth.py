# SPDX-License-Identifier: GPL-3.0-or-later
"""The truth about a move: the design's table row by row, and every combination of what can be seen."""

from __future__ import annotations

import itertools

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.instance import (
    DiskSession,
    MigrationRecord,
    Phase,
    State,
    TargetStatus,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.observation import (
    Disks,
    Place,
    Reach,
    ServerName,
    Sighting,
    look_at_disks,
    place,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.truth import at_deadline, judge
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.verdict import (
    Answer,
    Began,
    Case,
    Code,
    Finding,
    InstanceName,
    Reason,
    Scene,
)
from hypothesis import given
from hypothesis import strategies as st

VM = InstanceName("1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a01", "vm0")
OTHER_VM = "7b0d9d0c-52aa-4c70-bb0e-6b6c2f7f0b02"
OURS = "3a1f7a52-0d0f-4f8e-9b7b-5d4f4a0c1c03"
FOREIGN = "0e492367-1607-4045-a424-20c03bce66d1"
VOLUME = "0cedae45-3d6e-4d90-b2cb-56f1a1a42a89"
ALPHA = ServerName("alpha", "10.0.0.1:8000")
BETA = ServerName("beta", "10.0.0.2:8000")
GAMMA = ServerName("gamma", "10.0.0.3:8000")


def disk(generation: int | None = 2, active: bool | None = True, state: str | None = "active", **more) -> DiskSession:
    values = {
        "name": "boot",
        "backend": "boot-backend",
        "device": "virtio",
        "read_only": False,
        "volume": VOLUME,
        "generation": generation,
        "floor": generation,
        "active": active,
        "state": state,
        "targets": (),
    }
    return DiskSession(**(values | more))


FENCED = disk(1, active=False, state="disabled")
WAITING = disk(
    2,
    active=False,
    state="go_active",
    targets=(
        TargetStatus("10.0.0.9:8810", "connecting", "wait_quorum", "new"),
        TargetStatus("10.0.0.9:8820", "connecting", "wait_quorum", "new"),
        TargetStatus("10.0.0.9:8830", "connecting", "wait_connect", "new"),
    ),
)


def seen(server: ServerName, state: State | None = None, **more) -> Sighting:
    values = {"reach": Reach.ANSWERS, "state": state, "dialect": "5.0.0"}
    if state is not None:
        values |= {"instance_id": VM.id, "instance_name": VM.name}
    return Sighting(server, **(values | more))


def silent(server: ServerName, reach: Reach) -> Sighting:
    return Sighting(server, reach, error=f"{server} said nothing")


def case(began: Began = Began.ASKED, **more) -> Case:
    values = {"migration_id": OURS, "generations": {"boot": 2}, "volumes": frozenset({VOLUME})}
    answer = Answer.ACCEPTED if began is Began.ASKED else Answer.NONE
    return Case(VM, **(values | {"began": began, "answer": answer} | more))


NOT_BEGUN = case(Began.NO)
LOOKING = Case(VM)


def record(phase: Phase, migration: str = OURS) -> MigrationRecord:
    return MigrationRecord(migration, phase)


RUNNING_ALPHA = seen(ALPHA, State.RUNNING, disks=(disk(1),))
GAVE_UP = seen(ALPHA, State.RUNNING, outgoing=record(Phase.ERROR), disks=(disk(1),))
HANDED_OVER = seen(ALPHA, State.DESTROYED, outgoing=record(Phase.FINISH))
ARRIVED = seen(BETA, State.RUNNING, incoming=record(Phase.FINISH), disks=(disk(2),))
EMPTY_BETA = seen(BETA)
FAILED_BETA = seen(BETA, State.FAILED, incoming=record(Phase.ERROR))
ARRIVING = seen(BETA, State.MIGRATING, incoming=record(Phase.RAM_PUSH))
WAITING_BETA = seen(BETA, State.MIGRATING, incoming=record(Phase.FINISH), disks=(WAITING,))
LEAVING = seen(ALPHA, State.MIGRATING, outgoing=record(Phase.RAM_PUSH), disks=(disk(1),))

TABLE = [
    ("nothing begun", NOT_BEGUN, RUNNING_ALPHA, EMPTY_BETA, Code.NOT_STARTED, True),
    ("nothing begun, only looking", LOOKING, RUNNING_ALPHA, EMPTY_BETA, Code.NOT_STARTED, True),
    ("ours in flight", NOT_BEGUN, LEAVING, ARRIVING, Code.ADOPTED, False),
    ("ours in flight, source says Running", case(), RUNNING_ALPHA, ARRIVING, Code.ADOPTED, False),
    (
        "somebody else's in flight",
        NOT_BEGUN,
        seen(ALPHA, State.MIGRATING, outgoing=record(Phase.PAUSE, FOREIGN)),
        seen(BETA, State.MIGRATING, incoming=record(Phase.PAUSE, FOREIGN)),
        Code.IN_PROGRESS_ELSEWHERE,
        False,
    ),
    ("in flight, only looking", LOOKING, LEAVING, ARRIVING, Code.IN_PROGRESS_ELSEWHERE, False),
    ("failed safely", case(), RUNNING_ALPHA, FAILED_BETA, Code.FAILED_ON_SOURCE, True),
    ("gave up, and the destination has not heard", case(), GAVE_UP, ARRIVING, Code.FAILED_ON_SOURCE, True),
    ("gave up, only looking", LOOKING, GAVE_UP, ARRIVING, Code.FAILED_ON_SOURCE, True),
    ("handed over, and the destination has not heard", case(), HANDED_OVER, ARRIVING, Code.UNKNOWN, False),
    ("done", case(), HANDED_OVER, ARRIVED, Code.SUCCEEDED, True),
    ("done, adopted", case(Began.ADOPTED), HANDED_OVER, ARRIVED, Code.ADOPTED, True),
    ("done long ago", NOT_BEGUN, HANDED_OVER, ARRIVED, Code.ALREADY_THERE, True),
    ("done, source had another instance since", case(), seen(ALPHA), ARRIVED, Code.SUCCEEDED, True),
    ("nearly done", case(), HANDED_OVER, WAITING_BETA, Code.WAITING_FOR_DISKS, False),
    (
        "both say Finish, then Failed",
        case(),
        HANDED_OVER,
        seen(BETA, State.FAILED, incoming=record(Phase.FINISH)),
        Code.NOBODY_RUNS,
        True,
    ),
    ("destination died after Finish", case(), HANDED_OVER, silent(BETA, Reach.GONE), Code.NOBODY_RUNS, True),
    (
        "a leftover",
        case(),
        seen(ALPHA, State.RUNNING, disks=(FENCED,)),
        ARRIVED,
        Code.LEFTOVER_SOURCE,
        True,
    ),
    ("split brain", case(), RUNNING_ALPHA, ARRIVED, Code.SPLIT_BRAIN, True),
    (
        "destination died before the negotiation",
        case(answer=Answer.LOST),
        seen(ALPHA, State.RUNNING, outgoing=record(Phase.ERROR), disks=(disk(1),)),
        silent(BETA, Reach.GONE),
        Code.FAILED_AND_SOURCE_STUCK,
        True,
    ),
    (
        "the source refuses since an earlier failure",
        case(answer=Answer.FAILED),
        seen(ALPHA, State.RUNNING, outgoing=record(Phase.ERROR, FOREIGN), disks=(disk(1),)),
        seen(BETA, State.FAILED, incoming=record(Phase.SYNC)),
        Code.FAILED_AND_SOURCE_STUCK,
        True,
    ),
    (
        "destination killed while memory was copied",
        case(reached=Phase.RAM_PUSH),
        seen(ALPHA, State.RUNNING, outgoing=record(Phase.ERROR), disks=(disk(1),)),
        silent(BETA, Reach.GONE),
        Code.FAILED_ON_SOURCE,
        True,
    ),
    ("deaf source", case(), silent(ALPHA, Reach.HANGS), ARRIVED, Code.SUCCEEDED, True),
    ("source process gone after the hand-over", case(), silent(ALPHA, Reach.GONE), ARRIVED, Code.SUCCEEDED, True),
    ("source out of reach", case(), silent(ALPHA, Reach.UNREACHABLE), ARRIVED, Code.UNKNOWN, False),
    (
        "source out of reach after it was seen to hand over",
        case(source_finished=True),
        silent(ALPHA, Reach.UNREACHABLE),
        ARRIVED,
        Code.SUCCEEDED,
        True,
    ),
    (
        "source out of reach, destination empty",
        case(),
        silent(ALPHA, Reach.UNREACHABLE),
        EMPTY_BETA,
        Code.UNKNOWN,
        False,
    ),
    ("destination deaf", case(), HANDED_OVER, silent(BETA, Reach.HANGS), Code.UNKNOWN, False),
    ("destination deaf at the start", NOT_BEGUN, RUNNING_ALPHA, silent(BETA, Reach.HANGS), Code.NOT_STARTED, True),
    ("moved, then stopped", case(), HANDED_OVER, seen(BETA, State.DESTROYED), Code.NOBODY_RUNS, True),
    (
        "another generation than ours",
        case(),
        HANDED_OVER,
        seen(BETA, State.RUNNING, disks=(disk(7),)),
        Code.UNKNOWN,
        True,
    ),
    ("runs with a fenced disk", case(), HANDED_OVER, seen(BETA, State.RUNNING, disks=(FENCED,)), Code.UNKNOWN, True),
    (
        "2023: both stay Migrating after a failure",
        case(),
        seen(ALPHA, State.MIGRATING, outgoing=record(Phase.ERROR), dialect="2023-01", disks=(disk(1, None, None),)),
        seen(BETA, State.MIGRATING, incoming=record(Phase.ERROR), dialect="2023-01"),
        Code.FAILED_ON_SOURCE,
        True,
    ),
    (
        "2023: a created copy is left at the destination",
        case(answer=Answer.FAILED),
        RUNNING_ALPHA,
        seen(BETA, State.CREATING),
        Code.FAILED_ON_SOURCE,
        True,
    ),
    ("the source is only created", NOT_BEGUN, seen(ALPHA, State.CREATING), EMPTY_BETA, Code.NOT_STARTED, True),
    ("the same migration failed before", NOT_BEGUN, RUNNING_ALPHA, FAILED_BETA, Code.FAILED_ON_SOURCE, True),
]


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_each_row_of_the_table_has_its_verdict(row) -> None:
    _what, known, source, destination, code, settled = row
    verdict = judge(known, source, destination)
    assert (verdict.code, verdict.settled) == (code, settled), verdict.sentence
    assert "vm0" in verdict.sentence
    assert verdict.next_steps


MORE = [
    ("runs, disks not told", case(), HANDED_OVER, seen(BETA, State.RUNNING, disks_problem="no"), Code.UNKNOWN, False),
    ("runs, disks not yet active", case(), HANDED_OVER, seen(BETA, State.RUNNING, disks=(WAITING,)), "waits", False),
    ("arrives, source out of reach", case(), silent(ALPHA, Reach.UNREACHABLE), WAITING_BETA, Code.UNKNOWN, False),
    ("arrives, source created", case(), seen(ALPHA, State.CREATING), ARRIVING, Code.UNKNOWN, False),
    ("arrives, source gone too early", case(), silent(ALPHA, Reach.GONE), ARRIVING, Code.UNKNOWN, False),
    ("arrives, holds another", case(), seen(ALPHA, State.RUNNING, instance_id=OTHER_VM), WAITING_BETA, "waits", False),
    (
        "2023: starts after the hand-over",
        case(),
        seen(ALPHA),
        seen(BETA, State.STARTING, incoming=record(Phase.FINISH)),
        "waits",
        False,
    ),
    ("starts cold beside the source", case(), RUNNING_ALPHA, seen(BETA, State.STARTING), Code.SPLIT_BRAIN, True),
    ("starts cold alone", case(), seen(ALPHA), seen(BETA, State.STARTING), Code.UNKNOWN, False),
    ("source moves without a word of whereto", NOT_BEGUN, seen(ALPHA, State.MIGRATING), EMPTY_BETA, "elsewhere", False),
    (
        "it is moved to the source",
        NOT_BEGUN,
        seen(ALPHA, State.MIGRATING, incoming=record(Phase.SYNC, FOREIGN)),
        seen(BETA, State.RUNNING, disks=(disk(1),)),
        "elsewhere",
        False,
    ),
    (
        "destination holds another",
        NOT_BEGUN,
        seen(ALPHA),
        seen(BETA, State.RUNNING, instance_id=OTHER_VM),
        "nobody",
        True,
    ),
    (
        "the leftover is at the destination",
        NOT_BEGUN,
        RUNNING_ALPHA,
        seen(BETA, State.RUNNING, disks=(FENCED,)),
        Code.SPLIT_BRAIN,
        True,
    ),
]
WORDS = {"waits": Code.WAITING_FOR_DISKS, "elsewhere": Code.IN_PROGRESS_ELSEWHERE, "nobody": Code.NOBODY_RUNS}


@pytest.mark.parametrize("row", MORE, ids=[row[0] for row in MORE])
def test_rarer_sights_have_their_verdict_too(row) -> None:
    _what, known, source, destination, code, settled = row
    verdict = judge(known, source, destination)
    assert (verdict.code, verdict.settled) == (WORDS.get(code, code), settled), verdict.sentence


def test_an_unfinished_stop_is_no_verdict_yet() -> None:
    stopping = judge(case(), seen(ALPHA, State.STOPPING), seen(BETA, State.FAILED, incoming=record(Phase.ERROR)))
    assert (stopping.code, stopping.settled) == (Code.NOBODY_RUNS, False)
    assert at_deadline(stopping, 9).code is Code.TIMED_OUT


def test_disks_of_different_generations_are_told_one_by_one() -> None:
    two = (disk(2), disk(7, name="data", backend="data-backend"))
    verdict = judge(NOT_BEGUN, HANDED_OVER, seen(BETA, State.RUNNING, disks=two))
    assert "at generations boot 2, data 7" in verdict.sentence


def states(server: ServerName):
    """Every way in which a server can be seen."""
    phases = [None, record(Phase.SYNC), record(Phase.FINISH), record(Phase.ERROR), record(Phase.DEVICE, FOREIGN)]
    sessions = [(), (disk(2),), (disk(1),), (FENCED,), (WAITING,), (disk(2, None, None),), (disk(None, True, None),)]
    yield from (silent(server, reach) for reach in Reach if reach is not Reach.ANSWERS)
    for state, incoming, outgoing, disks in itertools.product([None, *State], phases, phases, sessions):
        if state is None and disks:
            continue
        for dialect in ("2023-01", "5.0.0") if state is State.MIGRATING else ("5.0.0",):
            yield seen(server, state, incoming=incoming, outgoing=outgoing, disks=disks, dialect=dialect)
    yield seen(server, State.RUNNING, disks_problem=f"{server} does not tell")
    yield seen(server, State.RUNNING, instance_id=OTHER_VM, instance_name="vm9", disks=(disk(5),))
    yield seen(server, State.FAILED, instance_id=OTHER_VM, instance_name="vm9")


CASES = [
    LOOKING,
    NOT_BEGUN,
    *[case(answer=answer) for answer in Answer if answer is not Answer.NONE],
    case(reached=Phase.SYNC),
    case(reached=Phase.DEVICE, source_finished=True),
    case(Began.ADOPTED),
]
AT_ALPHA, AT_BETA, AT_GAMMA = list(states(ALPHA)), list(states(BETA)), list(states(GAMMA))

GONE_PLACES = {Place.OFF, Place.FAILED, Place.EMPTY, Place.OCCUPIED, Place.GONE, Place.HANGS}


@given(
    known=st.sampled_from(CASES),
    source=st.sampled_from(AT_ALPHA),
    destination=st.sampled_from(AT_BETA),
    others=st.lists(st.sampled_from(AT_GAMMA), max_size=1),
)
def test_every_combination_of_observations_has_one_verdict_that_claims_no_more_than_was_seen(
    known: Case, source: Sighting, destination: Sighting, others: list[Sighting]
) -> None:
    verdict = judge(known, source, destination, others)
    assert isinstance(verdict.code, Code)
    assert verdict.sentence.endswith(".")
    assert verdict.next_steps
    assert judge(known, source, destination, others) == verdict
    final = at_deadline(verdict, 30.0)
    assert final.settled
    assert (final.failure_code is None) == final.is_good
    good = verdict.is_good and verdict.code in (Code.SUCCEEDED, Code.ADOPTED)
    if not good:
        assert not (final.is_good and final.code in (Code.SUCCEEDED, Code.ADOPTED))
        return
    at_source = place(source, VM.id)
    assert known.began is not Began.NO
    assert place(destination, VM.id) is Place.RUNS
    assert look_at_disks(destination, {"boot": 2}).disks is Disks.OURS
    assert at_source in GONE_PLACES or (at_source is Place.UNREACHABLE and known.source_finished)


@given(source=st.sampled_from(AT_ALPHA), destination=st.sampled_from(AT_BETA), known=st.sampled_from(CASES))
def test_two_copies_that_both_run_with_live_disks_are_always_shouted_about(
    source: Sighting, destination: Sighting, known: Case
) -> None:
    both = place(source, VM.id) is Place.RUNS and place(destination, VM.id) is Place.RUNS
    verdict = judge(known, source, destination)
    if both:
        assert verdict.code in (Code.SPLIT_BRAIN, Code.LEFTOVER_SOURCE)
        assert verdict.failure_code == verdict.code.value
    if verdict.code is Code.NOBODY_RUNS:
        assert Place.RUNS not in (place(source, VM.id), place(destination, VM.id))


def test_the_whole_product_of_both_ends_is_judged_without_a_gap() -> None:
    for source, destination in itertools.product(AT_ALPHA[::7], AT_BETA[::11]):
        assert judge(NOT_BEGUN, source, destination).code in Code


def test_a_waiting_destination_names_the_downstairs_that_is_missing_and_not_those_that_wait_for_it() -> None:
    verdict = judge(case(), HANDED_OVER, WAITING_BETA)
    assert "10.0.0.9:8830 is connecting" in verdict.sentence
    assert "8810" not in verdict.sentence
    assert any("do not stop or kill beta" in step for step in verdict.next_steps)
    assert at_deadline(verdict, 5).code is Code.WAITING_FOR_DISKS


def test_a_source_that_came_by_another_migration_is_told_by_the_one_that_is_under_way() -> None:
    came = seen(ALPHA, State.MIGRATING, incoming=record(Phase.FINISH, FOREIGN), outgoing=record(Phase.RAM_PUSH))
    assert "alpha says Migrating, phase RamPush, beta says" in judge(case(), came, ARRIVING).sentence


def test_a_timeout_ends_our_waiting_and_never_says_cancelled() -> None:
    verdict = at_deadline(judge(case(), LEAVING, ARRIVING), 60.0)
    assert verdict.code is Code.TIMED_OUT
    assert verdict.failure_code == "timed_out"
    assert "the migration itself goes on" in verdict.sentence
    assert "cancel" not in verdict.sentence


def test_when_nobody_runs_the_next_usable_generation_is_named() -> None:
    verdict = judge(case(), HANDED_OVER, seen(BETA, State.FAILED, incoming=record(Phase.FINISH)))
    assert "generation 3 or higher" in verdict.sentence
    assert verdict.runs_on is None
    looked = judge(LOOKING, HANDED_OVER, seen(BETA, State.FAILED, incoming=record(Phase.FINISH)))
    assert "with a generation that its ledger hands out (boot.yml does)" in looked.sentence


def test_a_failure_says_how_far_it_came_and_how_long_the_guest_stood_still_for_it() -> None:
    plain = judge(case(), RUNNING_ALPHA, FAILED_BETA)
    early = judge(case(reached=Phase.RAM_PUSH), RUNNING_ALPHA, FAILED_BETA)
    late = judge(case(reached=Phase.RAM_PUSH_DIRTY, paused=0.3061), RUNNING_ALPHA, FAILED_BETA)
    assert "the migration failed safely;" in plain.sentence
    assert "the migration failed safely in phase RamPush;" in early.sentence
    assert "safely in phase RamPushDirty, for which the guest stood still for 0.31 s;" in late.sentence


def test_a_destination_that_waits_for_a_source_that_gave_up_is_to_be_restarted() -> None:
    verdict = judge(case(reached=Phase.RAM_PUSH), GAVE_UP, ARRIVING)
    assert "vm0 still runs on alpha at generation 1, which gave up the migration in phase RamPush" in verdict.sentence
    assert "restart the server process of beta" in verdict.sentence
    assert verdict.runs_on == ALPHA


def test_a_lost_last_word_is_waited_for_and_nobody_is_told_to_start_another_copy_first() -> None:
    verdict = judge(case(), HANDED_OVER, ARRIVING)
    assert "NOBODY MAY BE RUNNING vm0: alpha has handed it over and says Destroyed" in verdict.sentence
    assert "run the same play again" in verdict.next_steps[0]
    assert "generation 3 or higher" in verdict.next_steps[-1]
    final = at_deadline(verdict, 5)
    assert (final.code, final.failure_code, final.runs_on) == (Code.UNKNOWN, "unknown", None)


def test_a_deaf_source_is_named_in_a_success() -> None:
    verdict = judge(case(), silent(ALPHA, Reach.HANGS), ARRIVED)
    assert "alpha has gone deaf" in verdict.sentence
    assert verdict.runs_on == BETA


ELSEWHERE = [
    ("a third copy", seen(GAMMA, State.RUNNING, disks=(disk(9),)), RUNNING_ALPHA, EMPTY_BETA, Code.SPLIT_BRAIN),
    (
        "a fenced third copy",
        seen(GAMMA, State.RUNNING, disks=(FENCED,)),
        RUNNING_ALPHA,
        EMPTY_BETA,
        Code.LEFTOVER_SOURCE,
    ),
    ("it runs elsewhere", seen(GAMMA, State.RUNNING, disks=(disk(9),)), seen(ALPHA), EMPTY_BETA, Code.NOT_STARTED),
    (
        "it moves elsewhere",
        seen(GAMMA, State.MIGRATING, incoming=record(Phase.SYNC, FOREIGN)),
        seen(ALPHA, State.MIGRATING, outgoing=record(Phase.SYNC, FOREIGN)),
        EMPTY_BETA,
        Code.IN_PROGRESS_ELSEWHERE,
    ),
    (
        "it just moved elsewhere",
        seen(GAMMA, State.RUNNING, incoming=record(Phase.FINISH, FOREIGN), disks=(disk(9),)),
        seen(ALPHA, State.MIGRATING, outgoing=record(Phase.FINISH, FOREIGN)),
        EMPTY_BETA,
        Code.IN_PROGRESS_ELSEWHERE,
    ),
    ("it is started elsewhere", seen(GAMMA, State.STARTING), RUNNING_ALPHA, EMPTY_BETA, Code.SPLIT_BRAIN),
    ("it is started elsewhere only", seen(GAMMA, State.STARTING), seen(ALPHA), EMPTY_BETA, Code.UNKNOWN),
    (
        "another instance has its volume",
        seen(GAMMA, State.RUNNING, instance_id=OTHER_VM, instance_name="vm9", disks=(disk(9),)),
        RUNNING_ALPHA,
        EMPTY_BETA,
        Code.SPLIT_BRAIN,
    ),
    (
        "another instance has its volume and it does not run",
        seen(GAMMA, State.RUNNING, instance_id=OTHER_VM, instance_name="vm9", disks=(disk(9),)),
        seen(ALPHA),
        EMPTY_BETA,
        Code.NOT_STARTED,
    ),
    (
        "another instance reads its volume",
        seen(GAMMA, State.RUNNING, instance_id=OTHER_VM, disks=(disk(9, read_only=True),)),
        RUNNING_ALPHA,
        EMPTY_BETA,
        Code.NOT_STARTED,
    ),
]


@pytest.mark.parametrize(
    ("what", "other", "source", "destination", "code"), ELSEWHERE, ids=[row[0] for row in ELSEWHERE]
)
def test_other_servers_that_hold_the_instance_or_its_volume_are_named(what, other, source, destination, code) -> None:
    verdict = judge(NOT_BEGUN, source, destination, [other])
    assert verdict.code is code, verdict.sentence
    if what != "another instance reads its volume":
        assert "gamma" in verdict.sentence


def test_an_end_that_is_listed_among_the_others_too_is_not_taken_for_a_third_server() -> None:
    assert judge(NOT_BEGUN, RUNNING_ALPHA, EMPTY_BETA, [RUNNING_ALPHA, EMPTY_BETA]).code is Code.NOT_STARTED


def test_a_destination_that_is_itself_a_source_is_somebody_elses_business() -> None:
    leaving = seen(BETA, State.MIGRATING, incoming=record(Phase.FINISH), outgoing=record(Phase.PAUSE, FOREIGN))
    verdict = judge(NOT_BEGUN, HANDED_OVER, leaving)
    assert verdict.code is Code.IN_PROGRESS_ELSEWHERE
    assert FOREIGN in verdict.sentence


def test_a_server_that_answers_no_instance_in_the_middle_of_a_request_is_already_moving() -> None:
    assert place(seen(BETA, incoming=record(Phase.SYNC)), VM.id) is Place.MOVING
    assert place(seen(BETA, incoming=record(Phase.ERROR)), VM.id) is Place.EMPTY


def test_a_finding_about_another_server_must_name_it() -> None:
    from ansible_collections.apiary.propolis.plugins.module_utils.propolis.truth_words import speak

    scene = Scene.of(LOOKING, RUNNING_ALPHA, EMPTY_BETA, ())
    with pytest.raises(ValueError, match="names the server"):
        speak(scene, Finding(Code.SPLIT_BRAIN, Reason.THIRD_COPY))


@pytest.mark.parametrize(
    ("sessions", "expected", "finding"),
    [
        ((disk(2),), {"boot": 2}, Disks.OURS),
        ((disk(2),), {"boot-backend": 2}, Disks.OURS),
        ((disk(2),), {}, Disks.OURS),
        ((disk(2, None, None),), {"boot": 2}, Disks.OURS),
        ((disk(3),), {"boot": 2}, Disks.OTHER),
        ((disk(None),), {"boot": 2}, Disks.UNREADABLE),
        ((WAITING,), {"boot": 2}, Disks.PENDING),
        ((FENCED,), {"boot": 2}, Disks.FENCED),
        ((disk(2, False, None),), {}, Disks.FENCED),
        ((disk(2),), {"data": 2}, Disks.UNREADABLE),
        ((disk(2), disk(2, False, "go_active", name="data", backend="data-backend")), {"boot": 2}, Disks.PENDING),
    ],
)
def test_disks_are_ours_only_when_each_one_is_active_at_its_number(sessions, expected, finding) -> None:
    assert look_at_disks(seen(BETA, State.RUNNING, disks=sessions), expected).disks is finding
