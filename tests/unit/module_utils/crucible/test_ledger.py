# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger file: numbers, floors, damage, locks."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.crucible import ledger_reader
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.errors import (
    GenerationError,
    InvalidValueError,
    LedgerError,
    LedgerMovedError,
)
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger import (
    Ledger,
    ledger_path,
    volume_of_ledger,
)
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger_entries import (
    Entry,
    Floor,
    decode_entry,
    encode_entry,
    entry_from_mapping,
)
from hypothesis import given
from hypothesis import strategies as st

VOLUME = "0cedae45-3d6e-4d90-b2cb-56f1a1a42a89"
START = Entry(0, "start", "vm0", "alpha", controller="desk")
MOVE = Entry(0, "migrate", "vm0", "beta", "3a1f7a52-0d0f-4f8e-9b7b-5d4f4a0c1c03")

entries = st.builds(
    Entry,
    st.integers(1, 2**63 - 2),
    st.sampled_from(["start", "migrate", "maintenance"]),
    st.none() | st.text(),
    st.none() | st.text(),
    st.none() | st.uuids().map(str),
    st.text(),
    st.none() | st.text(),
)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(
        ledger_path(tmp_path / "r"), VOLUME, now=lambda: datetime(2026, 11, 23, 8, 18, 20, 241000, tzinfo=UTC)
    )


def numbers(ledger):
    return [entry.generation for entry in ledger.read().entries]


def test_the_first_number_is_one(ledger):
    entry, is_new = ledger.allocate(START)
    assert (entry.generation, is_new) == (1, True)
    assert entry.time == "2026-11-23T08:18:20.241+00:00"


def test_the_file_is_lines_of_json_that_begin_with_the_volume(ledger):
    ledger.allocate(START)
    lines = ledger.path.read_text().splitlines()
    assert json.loads(lines[0]) == {"ledger": 1, "volume": VOLUME}
    assert json.loads(lines[1])["holder"] == {"instance": "vm0", "server": "alpha"}
    assert volume_of_ledger(ledger.path) == VOLUME


def test_an_absent_ledger_is_empty(ledger):
    assert (ledger.read().exists, ledger.read().last, ledger.read().newest) == (False, 0, None)
    assert volume_of_ledger(ledger.path) is None


def test_a_number_is_above_the_last_and_above_every_floor(ledger):
    ledger.allocate(START)
    assert ledger.allocate(START, floors=[Floor(40, "the disk status of alpha"), Floor(7, "dump")])[0].generation == 41
    assert ledger.allocate(START, floors=[Floor(3, "dump")])[0].generation == 42
    assert ledger.next_generation([Floor(50, "x")]) == 51


@pytest.mark.parametrize("asked", [40, 1])
def test_an_explicit_number_that_is_not_above_every_floor_is_refused_and_says_which(ledger, asked):
    ledger.allocate(START)
    with pytest.raises(
        GenerationError, match=r"more than 40, which the disk status of alpha holds; .* is 41"
    ) as caught:
        ledger.allocate(START, floors=[Floor(40, "the disk status of alpha")], explicit=asked)
    assert caught.value.details == {"generation": asked, "floor": 40, "source": "the disk status of alpha"}
    assert numbers(ledger) == [1]


def test_an_explicit_number_above_every_floor_is_handed_out_and_the_gap_is_never_filled(ledger):
    assert ledger.allocate(START, explicit=1000)[0].generation == 1000
    assert ledger.allocate(START)[0].generation == 1001


@pytest.mark.parametrize("asked", [0, -1, True, 2**64])
def test_an_explicit_number_that_nobody_may_use_is_refused(ledger, asked):
    with pytest.raises(InvalidValueError, match="expected a whole number from 1"):
        ledger.allocate(START, explicit=asked)


def test_the_numbers_end_before_they_overflow(ledger):
    with pytest.raises(InvalidValueError, match="expected a whole number from 1"):
        ledger.allocate(START, floors=[Floor(2**63 - 2, "somebody's clock")])


def test_controllers_whose_clocks_disagree_get_numbers_that_rise_all_the_same(ledger):
    ahead = Ledger(ledger.path, VOLUME, now=lambda: datetime(2031, 1, 1, tzinfo=UTC))
    behind = Ledger(ledger.path, VOLUME, now=lambda: datetime(1986, 12, 28, tzinfo=UTC))
    assert [one.allocate(START)[0].generation for one in (ledger, ahead, behind, ledger)] == [1, 2, 3, 4]
    assert [entry.time[:4] for entry in behind.read().entries] == ["2026", "2031", "1986", "2026"]


def test_another_last_number_than_expected_names_the_newest_entry_and_spends_nothing(ledger):
    ledger.allocate(START)
    with pytest.raises(
        LedgerMovedError, match=r"is 1, expected 0; the newest entry is 1 \(start to vm0 on alpha, by desk"
    ):
        ledger.allocate(START, expected_last=0)
    assert numbers(ledger) == [1]
    assert ledger.allocate(START, expected_last=1)[0].generation == 2


def test_an_empty_ledger_where_one_was_expected_says_so(ledger):
    with pytest.raises(LedgerMovedError, match="the ledger is empty") as caught:
        ledger.allocate(START, expected_last=4)
    assert caught.value.code == "ledger_moved"


def test_a_migration_gets_its_number_once(ledger):
    ledger.allocate(START)
    first, is_new = ledger.allocate(MOVE, expected_last=1)
    again, is_new_again = ledger.allocate(MOVE, expected_last=1)
    assert (first, is_new, is_new_again) == (again, True, False)
    assert numbers(ledger) == [1, 2]


def test_a_migration_whose_number_was_overtaken_does_not_get_it_again(ledger):
    ledger.allocate(MOVE)
    ledger.allocate(START)
    with pytest.raises(LedgerMovedError, match=r"got generation 1 .* but a later one was handed out since: 2"):
        ledger.allocate(MOVE)


def test_a_migration_whose_number_was_overtaken_gets_a_new_one_once_it_knows_of_the_later_one(ledger):
    ledger.allocate(MOVE, expected_last=0)
    ledger.allocate(START)
    again, is_new = ledger.allocate(MOVE, expected_last=2)
    assert (again.generation, is_new) == (3, True)
    assert ledger.allocate(MOVE, expected_last=3) == (again, False)
    assert Ledger(ledger.path, VOLUME).allocate(MOVE, expected_last=3) == (again, False)
    other = Ledger(ledger.path.with_name("other.ledger"), VOLUME)
    merged = ledger.read().entries
    assert other.allocate(MOVE, merge=merged, expected_last=3) == (again, False), "from what other hosts know, too"


def test_a_migration_that_has_a_number_cannot_have_another(ledger):
    ledger.allocate(MOVE)
    with pytest.raises(GenerationError, match="has generation 1 already, not 7"):
        ledger.allocate(MOVE, explicit=7)


def test_a_dry_run_spends_nothing_and_makes_no_file(ledger):
    assert ledger.allocate(START, dry_run=True)[0].generation == 1
    assert ledger.record([Entry(3, "start")], dry_run=True) == [Entry(3, "start")]
    assert list(ledger.path.parent.iterdir()) == []


def test_recording_twice_changes_nothing(ledger):
    known = [Entry(2, "start"), Entry(1, "start")]
    assert [entry.generation for entry in ledger.record(known)] == [1, 2]
    before = ledger.path.read_bytes()
    assert ledger.record(known) == []
    assert ledger.path.read_bytes() == before


def test_one_number_with_two_holders_is_a_conflict_that_names_both(ledger):
    ledger.record([Entry(2, "start", "vm0", "alpha")])
    with pytest.raises(LedgerError, match=r"handed out twice: here 2 .*alpha.*; elsewhere 2 .*beta") as caught:
        ledger.record([Entry(2, "start", "vm0", "beta")])
    assert caught.value.code == "ledger_conflict"


def test_a_lost_ledger_is_whole_again_after_the_next_allocation(ledger):
    others = [Entry(number, "start") for number in (1, 2, 3)]
    assert ledger.allocate(START, merge=others)[0].generation == 4
    assert numbers(ledger) == [1, 2, 3, 4]


@pytest.mark.parametrize("torn", [b"{", b'{"generation":9,"rea', b'{"generation":9', b"\xff\x00"])
def test_a_torn_last_line_is_ignored_and_cut_off_by_the_next_append(ledger, torn):
    ledger.allocate(START)
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole + torn)
    assert numbers(ledger) == [1]
    assert ledger.read().torn == len(torn)
    following = ledger.allocate(START)[0].generation
    assert following == (10 if b"9" in torn else 2)
    assert ledger.path.read_bytes().startswith(whole)
    assert ledger.read().torn == 0


def test_a_torn_header_is_made_anew(ledger):
    ledger.path.write_bytes(b'{"ledger":1,"vol')
    assert ledger.read().entries == ()
    assert volume_of_ledger(ledger.path) is None
    ledger.allocate(START)
    assert volume_of_ledger(ledger.path) == VOLUME


def test_the_ledger_of_another_volume_is_refused(ledger):
    ledger.allocate(START)
    with pytest.raises(LedgerError, match=f"belongs to volume {VOLUME}, expected x") as caught:
        Ledger(ledger.path, "x").allocate(START)
    assert caught.value.code == "foreign_ledger"


@pytest.mark.parametrize("line", [b"{}", b"[]", b"text", b'{"ledger":2}', b""])
def test_a_file_that_is_no_ledger_is_refused(ledger, line):
    ledger.path.write_bytes(line + b"\n")
    with pytest.raises(LedgerError, match="first line is not that of a ledger"):
        ledger.read()


@pytest.mark.parametrize(
    "line", [b"{}", b"text", b'{"generation":0,"reason":"start"}', b'{"generation":1,"reason":"x"}']
)
def test_damage_that_is_not_at_the_end_is_named_with_its_line(ledger, line):
    ledger.allocate(START)
    ledger.path.write_bytes(ledger.path.read_bytes() + line + b"\n")
    with pytest.raises(LedgerError, match="line 3 is damaged") as caught:
        ledger.allocate(START)
    assert caught.value.code == "ledger_damaged"


def test_a_lock_that_somebody_holds_is_named_when_the_time_is_over(ledger):
    with ledger.path.with_name("r.ledger.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LedgerError, match=r"somebody else has held the lock for more than 0\.05 s") as caught:
            ledger.allocate(START, timeout=0.05)
    assert caught.value.code == "ledger_locked"


def test_a_full_disk_hands_out_nothing(ledger, monkeypatch):
    ledger.allocate(START)

    def short(handle: int, data: bytes) -> int:
        with os.fdopen(os.dup(handle), "ab") as file:
            return file.write(data[:20])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", short)
        with pytest.raises(LedgerError, match="the disk is full; make room, no number was handed out") as caught:
            ledger.allocate(START)
    assert caught.value.code == "disk_full"
    assert numbers(ledger) == [1]
    assert ledger.allocate(START)[0].generation in (2, 3)


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "belongs to another user"),
        (errno.EDQUOT, "quota is used up"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_trouble_with_the_disk_is_one_sentence(ledger, monkeypatch, number, sentence):
    def refuse(*_unused: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(LedgerError, match=sentence):
            ledger.allocate(START)


def test_a_lock_that_the_file_system_does_not_give_is_one_sentence(ledger, monkeypatch):
    def refuse(*_unused: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(LedgerError, match="cannot be locked: No locks available; no number was handed out"):
        ledger.allocate(START)


def test_a_number_that_a_later_one_has_overtaken_is_not_recorded_for_use(ledger):
    ledger.record([Entry(7, "start", "vm0", "beta")], expected_last=7)
    with pytest.raises(LedgerMovedError, match=r"is 7, expected 5; the newest entry is 7 \(start to vm0 on beta"):
        ledger.record([Entry(5, "start")], expected_last=5)
    assert numbers(ledger) == [7]


@pytest.mark.parametrize("held", [(), (1,), (1, 2)], ids=["lost", "an old copy", "the one before"])
def test_a_ledger_that_holds_less_than_when_it_was_seen_takes_no_number_and_stays_as_it_is(ledger, held):
    ledger.record([Entry(number, "start") for number in held])
    before = ledger.path.read_bytes() if held else None
    sentence = f"is {len(held)} and was 3 when this run looked, so the ledger was lost"
    for dry_run in (True, False):
        with pytest.raises(LedgerMovedError, match=sentence) as caught:
            ledger.record([Entry(3, "start"), Entry(4, "start")], expected_last=4, seen_last=3, dry_run=dry_run)
        assert caught.value.code == "ledger_fell_back"
        assert caught.value.details == {"last": len(held), "seen_last": 3}
    assert (ledger.path.read_bytes() if ledger.path.exists() else None) == before


@pytest.mark.parametrize("held", [(), (1,), (1, 2, 3), (1, 2, 3, 4)])
def test_a_ledger_that_lacked_numbers_before_it_was_seen_gets_them(ledger, held):
    ledger.record([Entry(number, "start") for number in held])
    every = [Entry(number, "start") for number in (1, 2, 3, 4)]
    ledger.record(every, expected_last=4, seen_last=min(len(held), 3))
    assert numbers(ledger) == [1, 2, 3, 4]


def test_an_older_number_is_written_in_its_place_and_the_file_is_never_half_there(ledger):
    ledger.record([Entry(2, "start"), Entry(5, "start")])
    before = ledger.path.stat().st_ino
    ledger.record([Entry(3, "start")])
    assert numbers(ledger) == [2, 3, 5]
    assert ledger.path.stat().st_ino != before
    assert Ledger(ledger.path, VOLUME).read() == ledger.read()


@pytest.mark.parametrize("second", [4, 5])
def test_numbers_that_do_not_rise_are_damage(ledger, second):
    ledger.record([Entry(5, "start")])
    ledger.path.write_bytes(ledger.path.read_bytes() + encode_entry(Entry(second, "start")))
    with pytest.raises(LedgerError, match=f"line 3 is damaged \\({second} comes after 5\\)"):
        ledger.read()


def test_only_what_was_appended_is_read_again(ledger, monkeypatch):
    other = Ledger(ledger.path, VOLUME)
    for _number in range(20):
        other.allocate(START)
    assert ledger.read().last == 20
    decoded = []
    monkeypatch.setattr(ledger_reader, "decode_entry", lambda line: decoded.append(line) or decode_entry(line))
    other_entry, _is_new = other.allocate(START)
    assert ledger.read().newest == other_entry
    assert len(decoded) == 2  # by each of the two objects, the one line that was new to it


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("lines", [1, 2, 4])
def test_a_file_that_was_put_back_is_read_anew(ledger, lines, in_place):
    for _number in range(5):
        ledger.allocate(START)
    old = b"".join(ledger.path.read_bytes().splitlines(keepends=True)[:lines])
    if not in_place:
        ledger.path.unlink()
    ledger.path.write_bytes(old)
    assert numbers(ledger) == list(range(1, lines))
    longer = Ledger(ledger.path, VOLUME)
    longer.record([Entry(number, "maintenance", "a longer name than before") for number in range(lines, 40)])
    assert ledger.read() == longer.read()


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LedgerError, match="the directory above it is not there"):
        Ledger(tmp_path / "nowhere" / "r.ledger", VOLUME).allocate(START)


def test_a_ledger_that_is_a_directory_is_named(tmp_path):
    (tmp_path / "r.ledger").mkdir()
    with pytest.raises(LedgerError, match="cannot be read: Is a directory"):
        Ledger(tmp_path / "r.ledger", VOLUME).read()


def test_many_at_once_get_different_numbers(ledger):
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger import Ledger\n"
        "from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger_entries import Entry\n"
        "for _ in range(12):\n"
        "    print(Ledger(Path(sys.argv[1]), sys.argv[2]).allocate(Entry(0, 'start'), timeout=30)[0].generation)\n"
    )
    command = [sys.executable, "-c", program, str(ledger.path), VOLUME]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _worker in range(4)]
    found = [int(line) for one in running for line in one.communicate(timeout=60)[0].split()]
    assert sorted(found) == list(range(1, 49))
    assert numbers(ledger) == list(range(1, 49))


@given(entries)
def test_an_entry_is_read_back_as_it_was_written(entry):
    line = encode_entry(entry)
    assert line.count(b"\n") == 1
    assert decode_entry(line.rstrip(b"\n")) == entry
    assert entry_from_mapping(entry.as_dict()) == entry


@given(st.binary() | st.text().map(str.encode))
def test_any_line_is_an_entry_or_none(line):
    found = decode_entry(line)
    assert found is None or found.generation > 0


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (7, "entries: found 'int'"),
        ({"reason": "x"}, "reason: found 'x', expected one of start, migrate, maintenance"),
        ({"reason": "start", "holder": 7}, "holder: found 'int'"),
        ({"reason": "start", "holder": {"server": 7}}, "server: found 7, expected text"),
        ({"reason": "start"}, "generation: found None"),
    ],
)
def test_what_is_no_entry_is_refused_with_its_field(found, sentence):
    with pytest.raises(InvalidValueError, match=sentence):
        entry_from_mapping(found)
