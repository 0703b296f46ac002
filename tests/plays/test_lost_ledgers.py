# SPDX-License-Identifier: GPL-3.0-or-later
"""Ledgers that are lost, brought back from an old copy, or damaged, and the next move after that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Lab


def ledgers(lab: Lab) -> list[Path]:
    """Those of vm0-boot, in the order of its targets."""
    return sorted(lab.root.glob("hosts/ds*/crucible/vm0-boot/*.ledger"))


def handed_out(ledger: Path) -> list[int]:
    return sorted(json.loads(line)["generation"] for line in ledger.read_text().splitlines()[1:])


MOVE = "tests/fixtures/move_only.yml"


def moved(lab: Lab) -> str:
    """Move vm0 to where it is not; what the play said."""
    destination = "beta" if lab.state("alpha") == "Running" else "alpha"
    played = lab.play(MOVE, migration_destination=destination)
    assert played.status == 0, played.output[-3000:]
    assert f"vm0 runs on {destination} at generation" in played.words
    return played.words


@pytest.mark.parametrize("lost", [("ds0",), ("ds0", "ds2")], ids=["the first target's ledger", "two of three ledgers"])
def test_fault_14_what_is_left_of_the_ledgers_makes_the_lost_ones_anew(lab: Lab, lost: tuple[str, ...]) -> None:
    places, before = ledgers(lab), [handed_out(ledger) for ledger in ledgers(lab)]
    assert before[0] == before[1] == before[2] != []
    for ledger in places:
        if ledger.parts[-4] in lost:
            ledger.unlink()
    words = moved(lab)
    assert f"Ledger rebuilt: of the {len(before[1])} numbers of vm0-boot that were handed out before" in words
    assert all(f"{host} had {0 if host in lost else len(before[1])}," in words for host in ("ds0", "ds1", "ds2"))
    assert [handed_out(ledger) for ledger in places] == [[*before[1], before[1][-1] + 1]] * 3


def test_fault_14_a_ledger_from_an_old_copy_gets_what_was_handed_out_since(lab: Lab) -> None:
    places = ledgers(lab)
    lines = places[0].read_text().splitlines(keepends=True)
    places[0].write_text("".join(lines[:-1]))
    words = moved(lab)
    assert f"Ledger rebuilt: of the {len(lines) - 1} numbers" in words
    assert f"ds0 had {len(lines) - 2}, ds1 had {len(lines) - 1}," in words
    assert len({ledger.read_text() for ledger in places}) == 1
    assert handed_out(places[0]) == list(range(1, len(lines) + 1))


def test_fault_14_without_any_ledger_the_numbers_go_on_above_what_is_stored_and_live(lab: Lab) -> None:
    places = ledgers(lab)
    highest = handed_out(places[0])[-1]
    for ledger in places:
        ledger.unlink()
    assert f"Ledger begun: no host has one for vm0-boot, but its generations are used up to {highest}" in moved(lab)
    assert [handed_out(ledger) for ledger in places] == [[highest + 1]] * 3


def test_fault_14_a_ledger_that_cannot_be_read_stops_the_move_and_spends_nothing(lab: Lab) -> None:
    ledger = ledgers(lab)[1]
    whole = ledger.read_text()
    ledger.write_text(whole + "no entry\n")
    try:
        before = lab.truth()
        played = lab.play(MOVE, migration_destination="alpha")
        assert played.status != 0
        assert f"{ledger}: line {len(whole.splitlines()) + 1} is damaged" in played.words, played.output[-2000:]
        assert "so that it is made anew from the ledgers of the other two hosts" in played.words
        assert "Traceback" not in played.output
        assert lab.truth() == before
    finally:
        ledger.write_text(whole)
