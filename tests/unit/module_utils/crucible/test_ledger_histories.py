# SPDX-License-Identifier: GPL-3.0-or-later
"""Three ledgers of one volume through any history of allocations, crashes, losses and live sessions.

A number counts as handed out when all three hosts have recorded it; only then may an upstairs use it.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

from ansible_collections.apiary.propolis.plugins.module_utils.crucible.errors import GenerationError, LedgerMovedError
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger import Ledger
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger_entries import Entry, Floor
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

VOLUME = "0cedae45-3d6e-4d90-b2cb-56f1a1a42a89"


class Histories(RuleBasedStateMachine):
    """What playbooks do with ledgers, and what can happen to them meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.ledgers = [Ledger(self.folder / f"r{host}.ledger", VOLUME) for host in range(3)]
        self.handed_out: list[int] = []
        self.stored = [0, 0, 0]
        self.live = 0
        self.lost: set[int] = set()
        self.serial = 0

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    # -- what a playbook does ------------------------------------------------------------------------------------------

    def floors(self) -> list[Floor]:
        seen = [Floor(number, "a region") for number in self.stored] + [Floor(self.live, "the live session")]
        return seen + [Floor(ledger.read().last, "a ledger") for ledger in self.ledgers]

    def allocate(self, explicit: int | None = None) -> Entry:
        known = {entry.generation: entry for ledger in self.ledgers for entry in ledger.read().entries}
        self.serial += 1
        template = Entry(0, "start", "vm0", f"server{self.serial}")
        floors = self.floors()
        entry, is_new = self.ledgers[0].allocate(
            template, floors=floors, merge=list(known.values()), explicit=explicit, timeout=1
        )
        assert is_new
        assert entry.generation > max(floor.generation for floor in floors)
        return entry

    def hand_out(self, entry: Entry) -> None:
        assert entry.generation > max(self.handed_out, default=0)
        self.handed_out.append(entry.generation)
        self.lost.clear()

    def record(self, *hosts: int) -> None:
        everything = self.ledgers[0].read().entries
        for host in hosts:
            self.ledgers[host].record(everything, timeout=1)

    @rule()
    def a_number_is_handed_out(self) -> None:
        entry = self.allocate()
        self.record(1, 2)
        self.hand_out(entry)

    @rule(above=st.integers(-3, 50))
    def a_certain_number_is_asked_for(self, above: int) -> None:
        highest = max(floor.generation for floor in self.floors())
        wanted = max(1, highest + above)
        try:
            entry = self.allocate(explicit=wanted)
        except GenerationError:
            assert any(ledger.read().torn_generation for ledger in self.ledgers) or wanted <= highest
            return
        assert wanted > highest
        assert entry.generation == wanted
        self.record(1, 2)
        self.hand_out(entry)

    @rule(off=st.integers(1, 3))
    def somebody_saw_an_older_ledger(self, off: int) -> None:
        before = [ledger.read() for ledger in self.ledgers]
        with contextlib.suppress(LedgerMovedError):
            self.ledgers[0].allocate(Entry(0, "start"), expected_last=before[0].last + off, timeout=1)
            raise AssertionError("a number was handed out to somebody who saw another ledger")
        assert [ledger.read() for ledger in self.ledgers] == before

    @precondition(lambda self: self.handed_out)
    @rule()
    def a_session_begins_at_the_last_number(self) -> None:
        self.live = self.handed_out[-1]

    # Not while it alone remembers its number: where all three ledgers are lost, a session that ended without a flushed
    # write left no trace anywhere, and nobody holds its number any more.
    @precondition(lambda self: len(self.lost) < 3 or max(self.handed_out, default=0) <= max(self.stored))
    @rule()
    def the_session_ends(self) -> None:
        self.live = 0

    @precondition(lambda self: self.live)
    @rule(hosts=st.sets(st.integers(0, 2), min_size=2))
    def the_session_flushes_a_write(self, hosts: set[int]) -> None:
        for host in hosts:
            self.stored[host] = self.live

    # -- what happens to it --------------------------------------------------------------------------------------------

    @rule(kept=st.floats(0, 1))
    def a_crash_during_the_append(self, kept: float) -> None:
        path = self.ledgers[0].path
        before = path.read_bytes() if path.exists() else b""
        whole = before[: before.rfind(b"\n") + 1]
        self.allocate()
        after = path.read_bytes()
        path.write_bytes(after[: len(whole) + round(kept * (len(after) - len(whole)))])

    @rule(hosts=st.sampled_from([(), (1,), (2,)]))
    def a_crash_before_all_have_recorded(self, hosts: tuple[int, ...]) -> None:
        self.allocate()
        self.record(*hosts)

    @rule(host=st.integers(1, 2), kept=st.floats(0, 1))
    def a_crash_while_recording(self, host: int, kept: float) -> None:
        self.allocate()
        path = self.ledgers[host].path
        before = path.read_bytes() if path.exists() else b""
        whole = before[: before.rfind(b"\n") + 1]
        self.record(host)
        after = path.read_bytes()
        path.write_bytes(after[: len(whole) + round(kept * (len(after) - len(whole)))])

    @rule(host=st.integers(0, 2))
    def a_ledger_is_lost(self, host: int) -> None:
        if self.lost | {host} != {0, 1, 2} or max(self.handed_out, default=0) <= max(self.live, *self.stored):
            self.ledgers[host].path.unlink(missing_ok=True)
            self.lost.add(host)

    @rule(host=st.integers(0, 2), length=st.floats(0, 1))
    def a_ledger_is_restored_from_an_old_backup(self, host: int, length: float) -> None:
        path = self.ledgers[host].path
        if path.exists() and self.lost | {host} != {0, 1, 2}:
            lines = path.read_bytes().splitlines(keepends=True)
            path.write_bytes(b"".join(lines[: round(length * len(lines))]))
            self.lost.add(host)

    @invariant()
    def no_number_was_handed_out_twice(self) -> None:
        assert len(set(self.handed_out)) == len(self.handed_out)
        assert self.handed_out == sorted(self.handed_out)


Histories.TestCase.settings = settings(stateful_step_count=25, deadline=None)
TestNoHistoryHandsOutANumberTwiceNorOneBelowAFloor = Histories.TestCase
