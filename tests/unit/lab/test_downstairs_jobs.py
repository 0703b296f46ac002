# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of jobs: dependencies, and what a flush makes of them."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from propolis_lab.downstairs.jobs import JobQueue
from propolis_lab.protocol.messages import Barrier, ExtentLiveNoOp, Flush, JobRequest

UP, SESSION = UUID(int=1), UUID(int=2)


def _job(number: int, *dependencies: int) -> JobRequest:
    return ExtentLiveNoOp(UP, SESSION, number, dependencies)


def _barrier(number: int, *dependencies: int) -> JobRequest:
    return Barrier(UP, SESSION, number, dependencies)


def _run(queue: JobQueue) -> list[int]:
    """Do all jobs whose turn comes; gives their ids in the order in which they ran."""
    done = []
    while (job := queue.next()) is not None:
        done.append(job.job_id)
        queue.finished(job)
    return done


def test_jobs_without_dependencies_run_in_the_order_of_their_arrival() -> None:
    queue = JobQueue()
    for number in (1003, 1001, 1002):
        queue.add(_job(number))
    assert _run(queue) == [1003, 1001, 1002]


def test_a_reopen_that_is_sent_before_what_it_depends_on_waits_for_it() -> None:
    queue = JobQueue()
    for job in (_job(13, 12), _job(10), _job(11, 10), _job(12, 11)):
        queue.add(job)
    assert _run(queue) == [10, 11, 12, 13]


def test_a_dependency_that_never_comes_is_waited_for_and_the_others_go_on() -> None:
    queue = JobQueue()
    queue.add(_job(1001, 999))
    queue.add(_job(1002))
    assert _run(queue) == [1002]
    assert len(queue) == 1
    assert queue.describe() == ["job 1001 ExtentLiveNoOp waits for [999]"]


def test_a_dependency_on_a_job_before_the_last_barrier_is_never_met() -> None:
    queue = JobQueue()
    for job in (_job(1000), _barrier(1002, 1000), _job(1003, 1000), _job(1004, 1002)):
        queue.add(job)
    assert _run(queue) == [1000, 1002, 1004]


def test_a_flush_that_came_first_takes_the_ground_from_under_a_job_that_was_ready() -> None:
    queue = JobQueue()
    queue.add(Flush(UP, SESSION, 2, (1,), 1, 1))
    queue.add(_job(3, 1))
    queue.add(_job(1))
    assert _run(queue) == [1, 2]


def test_a_session_that_comes_back_builds_on_its_last_flush_alone() -> None:
    queue = JobQueue(1500)
    queue.add(_barrier(1501, 1400))
    queue.add(_barrier(1502, 1500))
    assert _run(queue) == [1502]


def test_after_the_end_no_job_is_left() -> None:
    queue = JobQueue()
    queue.add(_job(1))
    queue.add(_job(2, 9))
    queue.clear()
    assert (len(queue), _run(queue)) == (0, [])


@st.composite
def _plans(draw: st.DrawFn) -> list[JobRequest]:
    """Jobs with dependencies on earlier ids, in any order of arrival, flushes among them."""
    count = draw(st.integers(1, 12))
    jobs: list[JobRequest] = []
    for number in range(count):
        dependencies = draw(st.lists(st.integers(-1, number - 1), max_size=3, unique=True)) if number else []
        kind = _barrier if draw(st.integers(0, 5)) == 0 else _job
        jobs.append(kind(number, *sorted(dependencies)))
    return draw(st.permutations(jobs))


@given(_plans())
def test_the_queue_does_what_looking_at_all_jobs_after_each_finished_one_would_do(jobs: list[JobRequest]) -> None:
    queue = JobQueue()
    waiting: list[JobRequest] = []
    complete: set[int] = set()
    expected = []
    done = []
    for job in jobs:
        queue.add(job)
        done += _run(queue)
        waiting.append(job)
        while (ready := next((job for job in waiting if complete.issuperset(job.dependencies)), None)) is not None:
            waiting.remove(ready)
            if isinstance(ready, Barrier):
                complete.clear()
            complete.add(ready.job_id)
            expected.append(ready.job_id)
    assert done == expected
    assert len(queue) == len(waiting)
