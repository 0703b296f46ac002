# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of jobs within one connection: each runs once the jobs that it depends on are complete here.

As in the real program (seen): a finished flush or barrier empties the set of complete jobs and leaves only its own id
in it, so a dependency on anything older is never met and its job waits for ever. Job ids are not checked for doubles.
"""

from __future__ import annotations

import heapq
from collections import defaultdict

from propolis_lab.protocol.messages import Barrier, Flush, JobRequest


class JobQueue:
    """Jobs that wait, jobs that may run, and the ids of those that are complete.

    ``last_flush`` is the id from a LastFlush message, which counts as complete when a session comes back.
    """

    def __init__(self, last_flush: int | None = None) -> None:
        self._complete = set() if last_flush is None else {last_flush}
        self._ready: list[tuple[int, JobRequest]] = []
        self._waiting: defaultdict[int, list[tuple[int, JobRequest]]] = defaultdict(list)
        self._arrivals = 0
        self._left = 0

    def __len__(self) -> int:
        """How many jobs have come and are not finished."""
        return self._left

    def add(self, job: JobRequest) -> None:
        """Take a job that has arrived."""
        self._arrivals += 1
        self._left += 1
        self._place(self._arrivals, job)

    def next(self) -> JobRequest | None:
        """Of the jobs whose dependencies are met the one that came first; it counts as running from now on."""
        while self._ready:
            arrival, job = heapq.heappop(self._ready)
            if self._complete.issuperset(job.dependencies):
                return job
            self._place(arrival, job)  # a flush that came first has emptied the set since
        return None

    def finished(self, job: JobRequest) -> None:
        """A running job is done; whatever waited for it may become ready."""
        self._left -= 1
        if isinstance(job, Flush | Barrier):
            self._complete.clear()
        self._complete.add(job.job_id)
        for arrival, waiting in self._waiting.pop(job.job_id, ()):
            self._place(arrival, waiting)

    def clear(self) -> None:
        """Forget all jobs: the session is over."""
        self._ready.clear()
        self._waiting.clear()
        self._left = 0

    def describe(self) -> list[str]:
        """One line for each job that waits, as an answer to somebody who looks at the log."""
        unready = sorted({arrival: job for jobs in self._waiting.values() for arrival, job in jobs}.items())
        return [f"job {job.job_id} {type(job).__name__} waits for {list(job.dependencies)}" for _unused, job in unready]

    def _place(self, arrival: int, job: JobRequest) -> None:
        # A job waits under one unmet dependency at a time: only that one's end can bring it nearer.
        missing = next((needed for needed in job.dependencies if needed not in self._complete), None)
        if missing is None:
            heapq.heappush(self._ready, (arrival, job))
        else:
            self._waiting[missing].append((arrival, job))
