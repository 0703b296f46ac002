# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults 24 and 27, and small ones: the two ends or the three replicas are not what they should be to each other."""

from __future__ import annotations

import base64
from typing import Any

from by_hand import put_instance, stop
from conftest import Machine, begin_anew

VOLUME: dict[str, Any] = {
    "id": "0cedae45-3d6e-4d90-b2cb-56f1a1a42a89",
    "block_size": 512,
    "blocks_per_extent": 8192,
    "targets": [{"host": f"ds{number}", "port": 8810 + 10 * number} for number in range(3)],
}
STRANGER = "7a0b1c2d-9f43-4a6e-8c8a-1b1d5c9e0a02"


def nothing_was_done(machine: Machine) -> None:
    assert machine.lab.state(machine.source) == "Running"
    assert machine.newest_number() == machine.spent
    machine.until_it_writes()


def test_fault_24_a_destination_that_holds_another_machine_is_refused(machine: Machine) -> None:
    put_instance(machine.lab, machine.destination, machine.source, STRANGER)
    played = machine.move()
    assert played.status != 0
    assert f"on {machine.destination} already holds" in played.words, played.output
    assert f"({STRANGER}, Creating); one server serves one instance." in played.words
    assert "no number was spent" in played.words
    nothing_was_done(machine)
    assert machine.lab.state(machine.destination) == "Creating"
    stop(machine.lab, machine.destination)


def test_fault_24_a_destination_of_another_revision_is_warned_of_in_the_plan(machine: Machine) -> None:
    with machine.lab.other_command(machine.destination, lambda argv: [argv[0], "--latest-api", "2.0.0", *argv[1:]]):
        played = machine.move("--check")
        assert played.status == 0, played.output
        assert f"warned {machine.source} speaks 5.0.0, {machine.destination} speaks 2.0.0" in played.words
        nothing_was_done(machine)


def test_fault_24_a_key_for_regions_that_are_not_encrypted_is_refused(machine: Machine) -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    played = machine.move(crucible_volumes={"vm0-boot": {**VOLUME, "key": key}})
    assert played.status != 0
    assert "encrypted" in played.words, played.output
    assert key not in played.output.split("-e ")[0]
    nothing_was_done(machine)


def test_fault_27_a_downstairs_that_advertises_a_wildcard_for_repair_is_refused(machine: Machine) -> None:
    with machine.lab.other_command("ds2", lambda argv: [*argv, "--advertise", "0.0.0.0"]):
        machine.until_all_active()
        played = machine.move()
        assert played.status != 0
        assert "advertises 0.0.0.0:12830 for repair" in played.words, played.output
        assert "start it with its own address" in played.words
        nothing_was_done(machine)


def test_a_downstairs_that_is_slow_and_forgetful_delays_a_move_and_loses_nothing(machine: Machine) -> None:
    with machine.lab.other_command("ds0", lambda argv: [*argv, "--lossy"]):
        machine.until_all_active()
        played = machine.move()
        assert played.status == 0, played.output
        assert f"vm0 runs on {machine.destination} at generation {machine.spent + 1}" in played.words
        machine.until_it_writes()


def test_a_large_machine_on_a_thin_line_is_predicted_to_stand_still_for_long(machine: Machine) -> None:
    large = {
        "id": "1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a01",
        "vcpus": 4,
        "memory_mib": 8192,
        "host": "alpha",
        "port": 8000,
    }
    disks = [{"volume": "vm0-boot", "name": "helios-blockdev", "device": "virtio", "slot": 1}]
    played = machine.move("--check", migration_mib_per_second=10, propolis_instances={"vm0": {**large, "disks": disks}})
    assert played.status == 0, played.output
    assert "in about 836.2 s, with the guest paused for about 16.63 s" in played.words, played.output
    nothing_was_done(machine)


def test_after_a_power_cut_of_all_hosts_the_machine_boots_with_a_number_that_was_never_used(machine: Machine) -> None:
    for host in ("alpha", "beta", "ds0", "ds1", "ds2"):
        machine.lab.kill(host)
    begin_anew(machine.lab, keep_history=True)
    assert machine.lab.state("alpha") == "Running"
    assert machine.newest_number() == machine.spent + 1
    machine.until_it_writes()
