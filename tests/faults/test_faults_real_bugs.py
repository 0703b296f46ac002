# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults 28 to 30: bugs that the real programs have, and the lab's as well."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest
import requests
from by_hand import DISK, send, volume_request
from conftest import Machine, begin_anew

NVME: dict[str, Any] = {
    "id": "1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a01",
    "vcpus": 4,
    "memory_mib": 1024,
    "disks": [{"volume": "vm0-boot", "name": "helios-blockdev", "device": "nvme", "slot": 1}],
    "host": "alpha",
    "port": 8000,
    # What a guest can answer only when its disk does: its terminal goes on at once after a move.
    "console": {"wait_for": {"send": ["root", "sync"], "expect": "^synced", "timeout": 60}},
}
STALL = 2  # seconds that the guest's own timeout takes


def test_fault_28_a_source_that_will_refuse_every_further_move_is_named_and_no_number_is_spent_on_it(
    machine: Machine,
) -> None:
    lab = machine.lab
    # It is connected, and has not offered a version yet: a source that has read an offer ends in another way.
    lab.fault(steps=[{"side": "destination", "phase": "Negotiate", "action": "die", "times": 1}])
    first = machine.move()
    assert first.status != 0
    lab.fault()
    assert "failed_and_source_stuck" in first.words, first.output
    assert f"vm0 still runs on {machine.source} at generation {machine.generation}" in first.words
    assert f"stop and start the instance on {machine.source} to cure this" in first.words
    assert machine.newest_number() == machine.spent + 1

    lab.restart(machine.destination)
    second = machine.move()
    assert second.status != 0
    assert f"{machine.source} refuses to be a migration source since the failed migration" in second.words, (
        second.output
    )
    assert "vm0 runs there: stop and start it to cure this" in second.words
    assert "no number was spent" in second.words
    assert machine.newest_number() == machine.spent + 1
    assert lab.state(machine.source) == "Running"
    machine.until_it_writes()
    lab.kill(machine.source)  # the cure


def test_fault_29_a_source_that_somebody_made_deaf_during_the_move_is_named_and_the_move_succeeds(
    machine: Machine,
) -> None:
    lab = machine.lab
    playing = machine.begin_stalled_move()
    body = {"vcr_json": volume_request(lab, machine.source, machine.spent + 9)}
    with pytest.raises(requests.Timeout):
        send(lab, "PUT", machine.source, f"/instance/disk/{DISK}/vcr", body, timeout=0.5)
    lab.fault()
    played = playing.ended()
    assert played.status == 0, played.output
    assert f"vm0 runs on {machine.destination} at generation {machine.spent + 1}" in played.words, played.output
    assert f"{machine.source} has gone deaf" in played.words
    assert lab.state(machine.destination) == "Running"
    with contextlib.suppress(requests.Timeout):
        pytest.fail(f"answered {send(lab, 'GET', machine.source, '/instance', None, timeout=0.5).status_code}")
    machine.until_it_writes()
    lab.kill(machine.source)  # it would be deaf for ever


def test_fault_30_an_nvme_disk_is_warned_of_before_the_move_and_the_guests_own_pause_is_told_after_it(
    machine: Machine,
) -> None:
    lab = machine.lab
    begin_anew(lab, propolis_instances={"vm0": NVME})
    lab.fault(nvme_stall_seconds=STALL)
    spent = machine.newest_number()
    played = lab.play("../tests/fixtures/move_only", migration_destination="beta", propolis_instances={"vm0": NVME})
    assert played.status == 0, played.output
    assert "4. type 'root', 'sync' and wait until the console of vm0 on beta shows '^synced', for 60 s" in played.words
    told = re.search(
        r"The guest stood still for ([\d.]+) s, until its console showed 'synced'; "
        r"the API tells of a pause of ([\d.]+) s in the ([\d.]+) s that the move took",
        played.words,
    )
    assert told is not None, played.output
    guest, api, whole = (float(seconds) for seconds in told.groups())
    assert guest >= STALL
    assert guest > api
    assert whole >= api
    assert "warned  Disk helios-blockdev is nvme: after the move its I/O stands still" in played.output
    assert "virtio goes on at once" in played.words
    assert f"vm0 runs on beta at generation {spent + 1}" in played.words
    machine.until_it_writes()
    for host in ("alpha", "beta"):
        lab.kill(host)
