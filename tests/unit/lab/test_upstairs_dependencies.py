# SPDX-License-Identifier: GPL-3.0-or-later
"""Which jobs a job waits for, against a plain model that keeps every block by itself."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from propolis_lab.upstairs.dependencies import Dependencies

BLOCKS = 12


@dataclass
class Model:
    """The rule as it is written down: per block the latest write-like job, and the reads since."""

    write: dict[int, int] = field(default_factory=dict)
    reads: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))

    def of_read(self, job: int, blocks: range) -> tuple[int, ...]:
        found = {self.write[block] for block in blocks if block in self.write}
        for block in blocks:
            self.reads[block].append(job)
        return tuple(sorted(found))

    def of_write(self, job: int, blocks: range) -> tuple[int, ...]:
        found: set[int] = set()
        for block in blocks:
            found.update(self.reads[block] or ([self.write[block]] if block in self.write else []))
            self.reads[block] = []
            self.write[block] = job
        return tuple(sorted(found))

    def forget(self, last: int) -> None:
        self.write = {block: job for block, job in self.write.items() if job > last}
        for block in range(BLOCKS):
            self.reads[block] = [job for job in self.reads[block] if job > last]


spans = st.tuples(st.integers(0, BLOCKS - 1), st.integers(1, BLOCKS)).map(
    lambda span: (span[0], min(span[1], BLOCKS - span[0]))
)
acts = st.one_of(
    st.tuples(st.just("read"), spans),
    st.tuples(st.just("write"), spans),
    st.tuples(st.just("flush"), st.just((0, BLOCKS))),
    st.tuples(st.just("forget"), st.tuples(st.integers(0, 40), st.just(0))),
)


@given(st.lists(acts, max_size=40))
def test_every_job_depends_on_exactly_what_the_rule_says(story: list[tuple[str, tuple[int, int]]]) -> None:
    found, model = Dependencies(BLOCKS), Model()
    for job, (act, (first, count)) in enumerate(story, start=1000):
        blocks = range(first, first + count)
        if act == "read":
            assert found.read(job, first, count) == model.of_read(job, blocks)
        elif act == "write":
            assert found.write(job, first, count) == model.of_write(job, blocks)
        elif act == "flush":
            assert found.write_all(job) == model.of_write(job, blocks)
        else:
            found.forget(1000 + first)
            model.forget(1000 + first)


@given(st.lists(st.tuples(st.booleans(), spans), max_size=30))
def test_a_job_never_depends_on_anything_before_the_last_flush(story: list[tuple[bool, tuple[int, int]]]) -> None:
    dependencies = Dependencies(BLOCKS)
    flush = 0
    for job, (is_write, (first, count)) in enumerate(story, start=1):
        if job % 7 == 0:
            dependencies.write_all(job)
            flush = job
            continue
        deps = (dependencies.write if is_write else dependencies.read)(job, first, count)
        assert all(flush <= number < job for number in deps)


def test_the_recorded_example_of_a_write_over_two_reads_is_met() -> None:
    # Recorded: a write of 3 blocks waits for two reads that each touched some of them.
    dependencies = Dependencies(64)
    dependencies.read(16064, 0x2A, 10)
    dependencies.read(16070, 0x2F, 8)
    assert dependencies.write(16077, 0x2F, 3) == (16064, 16070)


def test_runs_of_blocks_with_the_same_jobs_are_joined_when_jobs_are_forgotten() -> None:
    dependencies = Dependencies(1000)
    for job in range(500):
        dependencies.write(job + 1, job * 2, 1)
    dependencies.forget(499)
    assert dependencies.write_all(501) == (500,)
    assert len(dependencies._starts) == 1
