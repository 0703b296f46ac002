# SPDX-License-Identifier: GPL-3.0-or-later
"""The replay of command recordings itself: what it reads, what it masks, and that it complains."""

from __future__ import annotations

from pathlib import Path

import pytest
from recordings import crucible_replay
from recordings.crucible_differences import DIFFERENCES, Difference
from recordings.crucible_masks import masked, same
from recordings.crucible_replay import Answer, Replay
from recordings.crucible_transcript import Step, read_2023, read_today

STEP = Step("show it", "show it", stdout="one\ntwo\n", stderr="", status=0)
SAME = Answer("one\ntwo\n", "", 0)


def _held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, *listed: Difference) -> Replay:
    monkeypatch.setattr(crucible_replay, "DIFFERENCES", listed)
    replay = Replay("r", tmp_path)
    replay.hold(STEP, answer)
    return replay


@pytest.mark.parametrize("answer", [Answer("one\n", "", 0), Answer("one\ntwo\n", "x", 0), Answer("one\ntwo\n", "", 1)])
def test_any_difference_that_is_not_listed_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    with pytest.raises(AssertionError, match="show it: "):
        _held(tmp_path, monkeypatch, answer).check()
    _held(tmp_path, monkeypatch, SAME).check()


def test_a_listed_difference_passes_and_one_that_is_none_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Difference("r", "show it", "why")
    _held(tmp_path, monkeypatch, Answer("other", "", 0), listed).check()
    with pytest.raises(AssertionError, match="does not differ"):
        _held(tmp_path, monkeypatch, SAME, listed).check()
    with pytest.raises(AssertionError, match="exit status 3"):
        _held(tmp_path, monkeypatch, Answer("other", "", 3), listed).check()


def test_where_some_lines_may_differ_the_others_may_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Difference("r", "show it", "why", without="^two$|^zwei$")
    _held(tmp_path, monkeypatch, Answer("one\nzwei\n", "", 0), listed).check()
    with pytest.raises(AssertionError, match="stdout differs"):
        _held(tmp_path, monkeypatch, Answer("eins\nzwei\n", "", 0), listed).check()


def test_an_entry_that_no_step_needs_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="names 'show nothing', which was not met"):
        _held(tmp_path, monkeypatch, SAME, Difference("r", "show nothing", "why")).check()


def test_every_entry_of_the_list_has_a_reason_and_a_recording_that_is_replayed() -> None:
    names = ("02-create", "03-run-and-generations", "04-fencing-and-repair", "07-wildcard-repair-address")
    replayed = {*(f"crucible/{name}" for name in names), "2023/ds"}
    assert {entry.recording for entry in DIFFERENCES} == replayed
    assert all(len(entry.reason) > 20 for entry in DIFFERENCES)
    assert len({(entry.recording, entry.step) for entry in DIFFERENCES}) == len(DIFFERENCES)


def test_what_was_left_out_of_a_recording_may_be_anything_and_its_ends_may_not() -> None:
    recorded = "a\n... (2 lines left out)\nd"
    assert same(recorded, "a\nb\nc\nd")
    assert not same(recorded, "x\nb\nc\nd")
    assert not same(recorded, "a\nb\nc\nx")


def test_times_processes_and_random_bytes_are_masked_and_equal_hashes_stay_equal() -> None:
    record = '{"msg":"hello","v":0,"name":"crucible","level":30,"time":"2026","hostname":"lab","pid":7,"task":"main"}'
    assert masked(record) == "record: msg=hello, v=0, name=crucible, level=30, task=main"
    assert masked("Nov 23 08:20:45.980 INFO hello") == "<time> INFO hello"
    assert masked("0123456789abcdef 0123456789abcdef fedcba9876543210") == "<hash 1> <hash 1> <hash 2>"
    assert masked('{"msg":"This is the stand-in for x","v":0}\nnext') == "next"


def test_both_forms_of_recordings_are_read(tmp_path: Path) -> None:
    today, old = tmp_path / "today.txt", tmp_path / "2023.txt"
    today.write_text("# why\n\n$ show\n--- stdout\na\n\n--- stderr\nb\n--- exit 3\n\n$ run &\n\n# ds0: SIGTERM\n")
    assert read_today(today) == [
        Step("why", note="why"),
        Step("show", "show", "a\n\n", "b\n", 3),
        Step("run &", "run &"),
        Step("ds0: SIGTERM", note="ds0: SIGTERM"),
    ]
    old.write_text(
        "=== a.txt\nargv: ['x', '-y']\nexit: -15 (sent)\n----- stdout (2 bytes)\nq\n----- stderr (0 bytes)\n"
        "=== b.txt\nonly text\n"
    )
    assert read_2023(old) == [Step("a.txt", ("x", "-y"), "q\n", "", -15), Step("b.txt", note="only text\n")]
