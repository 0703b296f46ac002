# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults 12 and 13: a generation that is too low, and one that was forgotten."""

from __future__ import annotations

import json

import by_hand
from conftest import VM, Machine
from played_lab import ROOT

BY_MODULE = str(ROOT / "tests" / "fixtures" / "moves_by_module.yml")


def test_fault_12_a_number_that_is_not_above_all_floors_is_refused_with_both_numbers_also_in_check_mode(
    machine: Machine,
) -> None:
    for mode in ([], ["--check"]):
        played = machine.move(*mode, migration_generations={"vm0-boot": machine.generation})
        assert played.status != 0
        played.says(
            f"Plan: no move of vm0 from {machine.source} to {machine.destination}, because of what is refused here",
            "generation_too_low",
            f"generation: {machine.generation} must not be used for volume",
            f"it has to be more than {machine.spent}, which",
            f"the next free one is {machine.spent + 1}",
        )
    assert machine.lab.state(machine.source) == "Running"
    assert machine.newest_number() == machine.spent
    machine.until_it_writes()


def test_fault_12_with_all_checks_off_it_loses_the_machine_and_the_status_says_so(machine: Machine) -> None:
    by_hand.migrate(machine.lab, machine.source, machine.destination, machine.generation)
    machine.until_state(machine.destination, "Failed")
    assert machine.lab.state(machine.source) == "Destroyed"
    log = machine.log(machine.destination)
    assert f"Generation number is too low: requested {machine.generation}, found {machine.generation + 1}" in log
    status = machine.lab.play("status")
    assert status.status != 0
    status.says(
        f"lost: NOBODY RUNS vm0: {machine.source} says Destroyed, {machine.destination} says Failed",
        "start it on any one server with a generation that its ledger hands out",
    )
    assert machine.newest_number() == machine.spent


def test_fault_13_a_forgotten_unknown_or_equal_replacement_is_refused_before_anything_is_asked_for(
    machine: Machine,
) -> None:
    lab = machine.lab
    begun = machine.passed("destination", "Sync")
    request = json.loads(by_hand.volume_request(lab, machine.source, machine.generation))
    fresh = json.loads(by_hand.volume_request(lab, machine.source, machine.spent + 1))
    disk = "helios-blockdev"
    tries = [
        [],
        [
            {"name": disk, "volume_construction_request": fresh},
            {"name": "nosuch", "volume_construction_request": fresh},
        ],
        [{"name": disk, "volume_construction_request": request}],
    ]
    played = lab.play(
        BY_MODULE,
        instance={"id": VM, "name": "vm0"},
        source={"name": machine.source, "address": lab.address(machine.source)},
        destination={"name": machine.destination, "address": lab.address(machine.destination)},
        tries=tries,
    )
    played.says(
        "codes: missing_replacement, unknown_replacement, generation_too_low",
        f"vm0 has the Crucible disk {disk} too, and no new volume construction request is given for it",
        f"nosuch is not a Crucible disk of vm0 on {machine.source}; it has: {disk}",
        f"generation {machine.generation} is asked for, and {machine.source} uses {machine.generation}",
    )
    assert machine.passed("destination", "Sync") == begun
    assert lab.state(machine.source) == "Running"
    machine.until_it_writes()
