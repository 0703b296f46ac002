# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults 26 and 31: somebody opens a second session of the volume by hand, and both write.

The damage is done on purpose, so what the checker says of it is expected. Both copies end with the test: nobody can
say any more which of them is right.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from by_hand import DISK, run_copy, send, stop, volume_request
from conftest import VM, Machine

STRANGER = "7a0b1c2d-9f43-4a6e-8c8a-1b1d5c9e0a02"


@pytest.fixture
def broken(machine: Machine) -> Iterator[Machine]:
    """The machine of a test that lets two sessions write."""
    machine.expected += [
        "I1",  # the copies run at once
        "I2",  # and write over each other
        "I3",  # with numbers that nobody handed out
    ]
    yield machine
    for host in (machine.source, machine.destination):
        machine.lab.kill(host)


def open_beside(machine: Machine, instance: str, generation: int) -> None:
    """Let a copy at the destination in beside the live session, by the real programs' bug: after a refused try."""
    lab = machine.lab
    run_copy(lab, machine.destination, machine.source, instance, machine.generation)
    machine.until_state(machine.destination, "Starting")
    stop(lab, machine.destination)  # its refused connections go, and take the fence of the live session with them
    run_copy(lab, machine.destination, machine.source, instance, generation)
    machine.until_state(machine.destination, "Running")
    assert lab.state(machine.source) == "Running"


def test_fault_26_a_number_equal_to_that_of_a_live_session_or_below_is_refused_and_a_second_session_is_found_at_once(
    broken: Machine,
) -> None:
    lab = broken.lab
    live = broken.spent + 5  # which neither a ledger nor a region knows
    told = {"vcr_json": volume_request(lab, broken.source, live)}
    assert send(lab, "PUT", broken.source, f"/instance/disk/{DISK}/vcr", told).status_code == 200
    for number in (live, live - 2):
        refused = broken.move(migration_generations={"vm0-boot": number})
        assert refused.status != 0
        refused.says(
            f"generation: {number} must not be used for volume",
            f"it has to be more than {live}, which disk helios-blockdev on {broken.source} holds",
            f"the next free one is {live + 1}",
            f"vm0 runs on {broken.source} as before",
        )
    assert broken.newest_number() == broken.spent

    open_beside(broken, STRANGER, live + 1)
    status = lab.play("status")
    assert status.status != 0
    status.says(
        f"SPLIT BRAIN: vm0 runs on {broken.source} at generation",
        f"{broken.destination} has a live session on one of its volumes",
    )


def test_fault_31_a_copy_that_was_let_in_beside_the_first_is_called_a_split_brain(broken: Machine) -> None:
    open_beside(broken, VM, broken.generation + 1)
    places = [
        f"{broken.source} at generation {broken.generation}",
        f"{broken.destination} at generation {broken.generation + 1}",
    ]
    status = broken.lab.play("status")
    assert status.status != 0
    status.says("SPLIT BRAIN: vm0 runs on", *places)
    moved = broken.move()
    assert moved.status != 0
    moved.says("SPLIT BRAIN: vm0 runs on", *places, "Verdict: split_brain", "no number was spent")
    assert broken.newest_number() == broken.spent
