# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults 24 and 27, and small ones: the two ends or the three replicas are not what they should be to each other."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from by_hand import put_instance, stop
from conftest import VOLUME, Machine, begin_anew

BOOT_VOLUME: dict[str, Any] = {
    "id": VOLUME,
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


def program(path: Path, script: str) -> str:
    """An executable shell script; its path."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def with_processor(folder: Path, cpuinfo: str) -> str:
    """A Python for a host with another processor: another /proc/cpuinfo, mounted for what Ansible runs there alone."""
    (folder / "cpuinfo").write_text(cpuinfo)
    mounted = f'mount --bind {folder / "cpuinfo"} /proc/cpuinfo && exec "{sys.executable}" "$@"'
    return program(folder / "python", f"exec unshare --mount sh -c '{mounted}' sh \"$@\"")


def inventory_of(folder: Path, hosts: dict[str, dict[str, str]]) -> Path:
    """An inventory beside the lab's, with other variables of some hosts."""
    path = folder / "odd.yml"
    path.write_text(json.dumps({"all": {"hosts": hosts}}))
    return path


OTHER_PROCESSORS = "another processor is a file that is mounted, which only root may do"


def test_fault_24_other_revisions_and_another_family_of_processor_are_warned_of_in_the_plan(
    machine: Machine, tmp_path: Path
) -> None:
    here, there, other = machine.source, machine.destination, "0123456789abcdef0123456789abcdef01234567"
    ours = machine.lab.root / "bin" / "crucible-downstairs"
    changed = f'"{ours}" version | sed "s/^Commit SHA: .*/Commit SHA: {other}/"'
    script = f'[ "$1" = version ] || exec "{ours}" "$@"\n{changed}'
    hosts = {"ds2": {"crucible_downstairs_executable": program(tmp_path / "crucible-downstairs", script)}}
    root, processor = os.geteuid() == 0, Path("/proc/cpuinfo").read_text()
    if root:
        odd = re.sub(r"(?m)^cpu family\s*:.*$", "cpu family\t: 99", processor)
        assert odd != processor, "the kernel tells no family of its processor"
        hosts[there] = {"ansible_python_interpreter": with_processor(tmp_path, odd)}
    odd_ones = str(inventory_of(tmp_path, hosts))
    with machine.lab.other_command(there, lambda argv: [argv[0], "--latest-api", "2.0.0", *argv[1:]]):
        played = machine.move("--check", "-i", odd_ones, migration_any_cpu=True)
        assert played.status == 0, played.output
        played.says(
            f"warned {here} speaks 5.0.0, {there} speaks 2.0.0",
            "warned The programs crucible-downstairs are of different revisions",
            f"{other} on ds2)",
        )
        nothing_was_done(machine)
    if not root:
        pytest.skip(f"all but the processor was checked: {OTHER_PROCESSORS}")
    played.says(
        "warned The family of the processor is", f"and 99 on {there}; a guest that uses what the other one lacks"
    )


@contextmanager
def odd_hosts(machine: Machine, folder: Path) -> Iterator[Path]:
    """An inventory in which the destination has another processor and a server of January 2023, ds2 the Crucible of
    that age.
    """
    python = with_processor(folder, "vendor_id\t: LabVendor\ncpu family\t: 99\nmodel name\t: Lab 9\n")
    bootrom = folder / "server.toml"
    bootrom.write_text(f'bootrom = "{machine.lab.root / "share" / "OVMF_CODE.fd"}"\n')
    ours = machine.lab.root / "bin" / "crucible-downstairs"
    downstairs = program(folder / "crucible-downstairs", f'exec "{ours}" --age 2023 "$@"')
    hosts = {
        machine.destination: {"ansible_python_interpreter": python},
        "ds2": {"crucible_downstairs_executable": downstairs},
    }
    inventory = inventory_of(folder, hosts)
    run_of_2023 = [f"{machine.lab.root}/bin/propolis-server", "--age", "2023-01", "run", str(bootrom)]
    with machine.lab.other_command(machine.destination, lambda argv: [*run_of_2023, argv[-1]]):
        yield inventory


@pytest.mark.skipif(os.geteuid() != 0, reason=OTHER_PROCESSORS)
def test_fault_24_another_age_another_processor_and_another_crucible_are_refused_and_only_the_second_may_be_allowed(
    machine: Machine, tmp_path: Path
) -> None:
    here, there = machine.source, machine.destination
    with odd_hosts(machine, tmp_path) as inventory:
        for allowed in (False, True):
            played = machine.move("-i", str(inventory), migration_any_cpu=allowed)
            assert played.status != 0
            played.says(
                f"Plan: no move of vm0 from {here} to {there}, because of what is refused here",
                f"refused {here} speaks 5.0.0, {there} speaks 2023-01; the two servers must be of one age",
                f"{'warned' if allowed else 'refused'} The vendor of the processor is",
                f"and LabVendor on {there}; a guest that uses what the other one lacks dies of it",
                "refused The programs crucible-downstairs speak different message versions",
                "(13 on ds0, 13 on ds1, 1 on ds2)",
                "no number was spent",
            )
    nothing_was_done(machine)


def test_fault_24_a_key_for_regions_that_are_not_encrypted_is_refused(machine: Machine) -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    played = machine.move(crucible_volumes={"vm0-boot": {**BOOT_VOLUME, "key": key}})
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


def test_after_a_reboot_of_hosts_their_services_return_the_ledger_is_right_and_the_machine_can_move_there(
    machine: Machine,
) -> None:
    for host in (machine.destination, "ds0"):
        machine.lab.kill(host)
    for host in (machine.destination, "ds0"):
        machine.lab.restart(host)
    machine.until_all_active()
    played = machine.move()
    assert played.status == 0, played.output
    machine.is_at(machine.destination, machine.spent + 1)
    assert len({tuple(numbers) for numbers in machine.lab.ledgers().values()}) == 1


def test_after_a_power_cut_of_all_hosts_the_machine_boots_with_a_number_that_was_never_used(machine: Machine) -> None:
    for host in ("alpha", "beta", "ds0", "ds1", "ds2"):
        machine.lab.kill(host)
    begin_anew(machine.lab, keep_history=True)
    assert machine.lab.state("alpha") == "Running"
    assert machine.newest_number() == machine.spent + 1
    machine.until_it_writes()
