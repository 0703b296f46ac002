# SPDX-License-Identifier: GPL-3.0-or-later
"""Three ledgers of one volume through any history of allocations, crashes, losses and live sessions.

Two controllers work at once, each step by step as the roles do: look at all three hosts, hand out at the first, record
at the others. One starts machines, one moves them: its next play is the same migration until a number comes into use,
and finds its number again. A number counts as handed out when all three hosts have recorded it; only then may an
upstairs use it.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.errors import (
    GenerationError,
    LedgerError,
    LedgerMovedError,
)
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger import Ledger
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger_entries import Entry, Floor
from crashing_files import Death, dying
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

VOLUME = "0cedae45-3d6e-4d90-b2cb-56f1a1a42a89"
HOSTS = (0, 1, 2)
_TO_RECORD = (1, 2, 0)  # the first host has the number already, and is asked once more whether it still is the newest
_STEPS = 7
_STARTS, _MOVES = "desk", "lap"
CONTROLLERS = st.integers(0, 1)
deaths = st.builds(Death, st.integers(0, 9), st.floats(0, 1), st.booleans(), st.floats(0, 1))


class Controller:
    """One play: what it knows, and which step comes next. Its ledgers remember what they have read."""

    def __init__(self, name: str, paths: list[Path]) -> None:
        self.name = name
        self.ledgers = [Ledger(path, VOLUME) for path in paths]
        self.begin()

    def begin(self, explicit: int | None = None) -> None:
        self.step = 0
        self.explicit = explicit
        self.floors: list[Floor] = []
        self.seen: list[int] = []
        self.expected_last = 0
        self.entry: Entry | None = None
        self.entries: tuple[Entry, ...] = ()

    @property
    def at_work(self) -> bool:
        return self.step > 0


class Histories(RuleBasedStateMachine):
    """What plays do with ledgers, and what can happen to them meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.paths = [self.folder / f"host{host}" / "r.ledger" for host in HOSTS]
        for path in self.paths:
            path.parent.mkdir()
        self.controllers = [Controller(name, self.paths) for name in (_STARTS, _MOVES)]
        self.backups: list[list[bytes]] = [[], [], []]
        self.used: dict[int, Entry] = {}
        self.stored = [0, 0, 0]
        self.live = 0
        self.lost: set[int] = set()
        self.serial = 0

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @property
    def handed_out(self) -> list[int]:
        return list(self.used)

    # -- what a play does ----------------------------------------------------------------------------------------------

    def advance(self, one: Controller) -> None:
        """The next step: 0 to 2 look at a host, 3 asks the live session and hands out, 4 and 5 record, 6 asks again."""
        step = one.step
        one.step += 1
        if step in HOSTS:
            last = one.ledgers[step].last
            one.seen.append(last)
            one.floors += [Floor(last, f"ledger {step}"), Floor(self.stored[step], f"region {step}")]
            one.expected_last = last if step == 0 else one.expected_last
        elif step == 3:
            self.allocate(one)
        else:
            assert one.entry is not None
            host = _TO_RECORD[step - 4]
            seen = one.seen[host] if host else one.entry.generation
            one.ledgers[host].record(one.entries, expected_last=one.entry.generation, seen_last=seen, timeout=1)
            if step == _STEPS - 1:
                self.hand_out(one.entry, one)

    def look_at_all_hosts(self, one: Controller) -> None:
        one.begin()
        for _host in HOSTS:
            self.advance(one)

    def allocate(self, one: Controller) -> None:
        self.serial += 1
        floors = [*one.floors, Floor(self.live, "the live session"), Floor(self.stored[0], "region 0")]
        template = Entry(0, "start", "vm0", f"server{self.serial}", controller=one.name)
        if one.name == _MOVES:
            in_use = str(max(self.handed_out, default=0))
            template = replace(template, reason="migrate", migration_id=str(uuid.uuid5(uuid.NAMESPACE_OID, in_use)))
        entry, is_new = one.ledgers[0].allocate(
            template, floors=floors, expected_last=one.expected_last, explicit=one.explicit, timeout=1
        )
        assert entry.generation > max(floor.generation for floor in floors) or not is_new
        assert is_new or (entry.migration_id is not None and entry.migration_id == template.migration_id)
        assert one.explicit in (None, entry.generation)
        one.entry = entry
        one.entries = one.ledgers[0].read().entries[-3:]

    def hand_out(self, entry: Entry, one: Controller) -> None:
        assert entry.generation > max(self.handed_out, default=0), "no number twice, and none after a higher one"
        self.used[entry.generation] = entry
        # A ledger that was lost after this play had written it down there is one of the three that may not all be lost.
        self.lost = {host for host in HOSTS if Ledger(self.paths[host], VOLUME).last < entry.generation}
        one.begin()

    def go(self, one: Controller, steps: int) -> None:
        """Up to ``steps`` steps; a refusal ends the play."""
        for _step in range(steps):
            try:
                self.advance(one)
            except (LedgerMovedError, GenerationError):
                one.begin()
                return
            except LedgerError as error:
                if error.code != "ledger_conflict":
                    raise
                self.make_anew_what_differs()
                one.begin()
                return
            if not one.at_work:
                return

    def make_anew_what_differs(self) -> None:
        """What the sentence on a conflict tells a person to do: the ledger goes whose entry nobody uses."""
        known = [{entry.generation: entry for entry in Ledger(path, VOLUME).read().entries} for path in self.paths]
        merged: dict[int, Entry] = {}
        for entries in known:
            merged |= entries
        merged |= self.used
        for path, entries in zip(self.paths, known, strict=True):
            if any(merged[number] != entry for number, entry in entries.items()):
                path.unlink()
                Ledger(path, VOLUME).record(list(merged.values()), timeout=1)

    @initialize(number=st.integers(0, 40))
    def a_volume_that_was_used_before(self, number: int) -> None:
        self.stored = [number, number, max(0, number - 1)]

    @rule(who=CONTROLLERS, steps=st.integers(1, _STEPS - 1))
    def a_play_goes_some_steps(self, who: int, steps: int) -> None:
        self.go(self.controllers[who], steps)

    @rule(who=CONTROLLERS)
    def a_play_goes_to_its_end(self, who: int) -> None:
        self.go(self.controllers[who], _STEPS)

    @rule(who=CONTROLLERS, above=st.integers(-3, 50))
    def a_play_asks_for_a_certain_number(self, who: int, above: int) -> None:
        one = self.controllers[who]
        one.begin(max(1, max([*self.handed_out, *self.stored, self.live, 0]) + above))
        self.go(one, _STEPS)

    @rule(who=CONTROLLERS, death=deaths, steps=st.integers(1, _STEPS))
    def a_play_dies_at_any_of_its_file_operations(self, who: int, death: Death, steps: int) -> None:
        one = self.controllers[who]
        with dying(death):
            self.go(one, steps)
        if death.operations > death.at:
            self.controllers[who] = Controller(one.name, self.paths)

    @precondition(lambda self: self.handed_out)
    @rule()
    def a_session_begins_at_the_last_number(self) -> None:
        self.live = self.handed_out[-1]

    # Not while it alone remembers its number: where all three ledgers are lost, a session that ended without a flushed
    # write left no trace anywhere, and nobody holds its number any more.
    @precondition(lambda self: len(self.lost) < 3)
    @rule()
    def the_session_ends(self) -> None:
        self.live = 0

    @precondition(lambda self: self.live)
    @rule(hosts=st.sets(st.integers(0, 2), min_size=2))
    def the_session_flushes_a_write(self, hosts: set[int]) -> None:
        for host in hosts:
            self.stored[host] = self.live

    # -- what happens to the files -------------------------------------------------------------------------------------

    def may_lose(self, host: int, left: bytes = b"") -> bool:
        """Any one or two; the third only while nobody is at work and something else knows the last number."""
        if self.hides_from_an_overtaken_play(host, left):
            return False
        if self.lost | {host} != {0, 1, 2}:
            return True
        known = max(self.live, *self.stored)
        return max(self.handed_out, default=0) <= known and not any(one.at_work for one in self.controllers)

    def hides_from_an_overtaken_play(self, host: int, left: bytes) -> bool:
        """Whether with this ledger nothing would be between a play that was overtaken and the use of its number.

        Of the ledgers that such a play has still to ask, the others tell nothing already. What is ``left`` of this one
        is a copy that was made after the play had looked, or after it had taken its number: the ledger cannot tell that
        it once knew a later one. Crucible can, surely once the session with the later one has flushed a write.
        """
        path = self.folder / "left"
        path.write_bytes(left)

        def tells(one: Controller, asked: int) -> bool:
            assert one.entry is not None
            last = Ledger(path if asked == host else self.paths[asked], VOLUME).last
            return last > one.entry.generation or last < (one.seen[asked] if asked else one.entry.generation)

        overtaken = [
            one for one in self.controllers if one.entry and one.entry.generation <= max(self.handed_out, default=0)
        ]
        return any(
            host in _TO_RECORD[one.step - 4 :] and not any(tells(one, asked) for asked in _TO_RECORD[one.step - 4 :])
            for one in overtaken
        )

    @rule(who=CONTROLLERS, further=st.integers(1, 3), in_place=st.booleans())
    def the_first_host_falls_back_while_a_play_is_at_work(self, who: int, further: int, in_place: bool) -> None:
        """What it held when one play looked is all that it holds when that play goes on; others worked in between."""
        if not self.may_lose(0):
            return
        one, other = self.controllers[who], self.controllers[1 - who]
        self.look_at_all_hosts(one)
        before = self.paths[0].read_bytes() if self.paths[0].exists() else b""
        other.begin()
        for _number in range(further):
            self.go(other, _STEPS)
        self.lost.add(0)
        self.put(0, before, in_place)
        self.go(one, 3)

    @rule(host=st.integers(0, 2))
    def a_backup_is_made(self, host: int) -> None:
        if self.paths[host].exists():
            self.backups[host].append(self.paths[host].read_bytes())

    @rule(host=st.integers(0, 2), lock_too=st.booleans())
    def a_ledger_is_lost(self, host: int, lock_too: bool) -> None:
        if self.may_lose(host):
            self.lost.add(host)
            self.paths[host].unlink(missing_ok=True)
            if lock_too:
                self.paths[host].with_name("r.ledger.lock").unlink(missing_ok=True)

    @rule(host=st.integers(0, 2), which=st.floats(0, 1), in_place=st.booleans())
    def a_ledger_is_restored_from_an_old_backup(self, host: int, which: float, in_place: bool) -> None:
        if not self.backups[host]:
            return
        backup = self.backups[host][round(which * (len(self.backups[host]) - 1))]
        if self.may_lose(host, backup):
            self.lost.add(host)
            self.put(host, backup, in_place)

    @rule(host=st.integers(0, 2), kept=st.floats(0, 1), in_place=st.booleans())
    def a_ledger_is_cut_off_anywhere(self, host: int, kept: float, in_place: bool) -> None:
        if not self.paths[host].exists():
            return
        content = self.paths[host].read_bytes()
        kept_bytes = content[: round(kept * len(content))]
        if self.may_lose(host, kept_bytes):
            self.lost.add(host)
            self.put(host, kept_bytes, in_place)

    def put(self, host: int, content: bytes, in_place: bool) -> None:
        if in_place:
            self.paths[host].write_bytes(content)
        else:
            beside = self.paths[host].with_name("restored")
            beside.write_bytes(content)
            beside.replace(self.paths[host])

    @precondition(lambda self: not any(one.at_work for one in self.controllers))
    @rule(host=st.integers(0, 2))
    def a_ledger_that_cannot_be_read_stops_every_play(self, host: int) -> None:
        path = self.paths[host]
        before = path.read_bytes() if path.exists() else None
        path.write_bytes((before or b"") + b"damage\n")
        one = self.controllers[0]
        with pytest.raises(LedgerError, match=r"damaged|first line"):
            self.look_at_all_hosts(one)
        one.begin()
        path.unlink() if before is None else path.write_bytes(before)

    @rule(who=CONTROLLERS, host=st.integers(0, 2))
    def who_remembers_knows_the_last_number_as_well_as_who_reads_it_all(self, who: int, host: int) -> None:
        assert self.controllers[who].ledgers[host].last == Ledger(self.paths[host], VOLUME).last


Histories.TestCase.settings = settings(stateful_step_count=40, deadline=None)
TestNoHistoryHandsOutANumberTwiceNorOneBelowAFloor = Histories.TestCase


@pytest.fixture
def state():
    """A history that a test tells itself."""
    state = Histories()
    yield state
    state.teardown()


def test_a_play_that_was_overtaken_is_stopped_where_the_ledgers_that_knew_of_it_were_lost(state):
    state.a_play_asks_for_a_certain_number(0, above=0)
    state.a_play_goes_some_steps(0, steps=4)
    state.a_play_goes_to_its_end(1)
    for host in (1, 2):
        state.a_ledger_is_lost(host, lock_too=False)
    state.a_play_goes_to_its_end(0)
    assert state.handed_out == [1, 3]
    assert [path.exists() for path in state.paths] == [True, False, False]
    state.a_play_goes_to_its_end(0)
    assert state.handed_out == [1, 3, 4]
    assert {Ledger(path, VOLUME).last for path in state.paths} == {4}
