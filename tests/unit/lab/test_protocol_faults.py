# SPDX-License-Identifier: GPL-3.0-or-later
"""Requested faults: what a description may say, and which messages a rule hits."""

from __future__ import annotations

from pathlib import Path

import pytest
from propolis_lab.protocol.faults import VARIABLE, Faults, FaultsError, parse
from propolis_lab.protocol.messages import Write, WriteAck

WRITE, WRITE_ACK = Write.tag, WriteAck.tag


def _faults(text: str) -> Faults:
    return Faults.load("downstairs", text, {})


def test_without_a_description_there_are_no_faults() -> None:
    assert not Faults.load("downstairs", None, {})


def test_a_rule_hits_the_nth_match_as_often_as_it_says_and_no_more() -> None:
    faults = _faults('{"do": "drop", "message": "WriteAck", "on": "send", "skip": 2, "times": 2}')
    hits = [faults.of_message("send", WRITE_ACK, 1) is not None for _unused in range(6)]
    assert hits == [False, False, True, True, False, False]


def test_other_messages_directions_and_ports_are_neither_hit_nor_counted() -> None:
    faults = _faults('[{"do": "close", "message": "Write", "on": "receive", "port": 8810}]')
    assert faults.of_message("receive", WRITE_ACK, 8810) is None
    assert faults.of_message("send", WRITE, 8810) is None
    assert faults.of_message("receive", WRITE, 8820) is None
    hit = faults.of_message("receive", WRITE, 8810)
    assert hit is not None
    assert hit.do == "close"


def test_a_rule_for_the_other_side_does_nothing_here() -> None:
    assert not _faults('[{"do": "drop", "side": "upstairs"}]')


def test_times_0_hits_for_ever() -> None:
    faults = _faults('[{"do": "drop", "times": 0}]')
    assert all(faults.of_message("send", WRITE, 1) for _unused in range(50))


def test_refusals_and_slowness_count_connections_and_jobs() -> None:
    faults = _faults('[{"do": "refuse", "times": 2}, {"do": "slow", "seconds": 0.5, "skip": 1}]')
    assert [faults.refuses(1) for _unused in range(3)] == [True, True, False]
    assert [faults.slowness(1) for _unused in range(3)] == [0.0, 0.5, 0.0]
    assert faults.of_message("send", WRITE, 1) is None


def test_the_description_comes_from_a_file_that_the_variable_names(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text('[{"do": "die", "message": "Flush"}]')
    assert Faults.load("downstairs", None, {VARIABLE: str(path)})
    assert Faults.load("downstairs", str(path), {})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[", "not JSON"),
        ("/nowhere/faults.json", "can't be read"),
        ("[3]", "must be an object"),
        ("[{}]", "at least 'do'"),
        ('[{"do": "explode"}]', "'do' of a fault must be one of drop"),
        ('[{"do": "drop", "message": "Writ"}]', "'message' of a fault must be one of"),
        ('[{"do": "drop", "on": "both"}]', "'on' of a fault must be one of send, receive"),
        ('[{"do": "drop", "side": "left"}]', "'side' of a fault must be one of upstairs, downstairs"),
        ('[{"do": "drop", "times": -1}]', "'times' of a fault must be a whole number"),
        ('[{"do": "drop", "skip": true}]', "'skip' of a fault must be a whole number"),
        ('[{"do": "delay"}]', "'delay' needs 'seconds'"),
        ('[{"do": "slow", "seconds": 0}]', "'slow' needs 'seconds'"),
        ('[{"do": "drop", "seconds": 1}]', "has no meaning"),
        ('[{"do": "refuse", "message": "Write"}]', "looks at no message"),
        ('[{"do": "drop", "mesage": "Write"}]', "no field 'mesage'"),
    ],
)
def test_a_wrong_description_is_refused_and_the_wrong_part_named(text: str, complaint: str) -> None:
    with pytest.raises(FaultsError, match=complaint):
        parse(text)
