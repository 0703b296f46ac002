# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input gets one clear sentence, and nothing is changed by it."""

from __future__ import annotations

import json
import os
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Lab
from strangers import answers, deaf, stranger

TARGETS = [{"host": f"ds{number}", "port": 9910} for number in range(3)]
OTHER = {"id": "7f6f0f4e-0000-4000-8000-000000000001", "blocks_per_extent": 64, "extent_count": 2, "targets": TARGETS}
BOOT = {
    "id": "0cedae45-3d6e-4d90-b2cb-56f1a1a42a89",
    "block_size": 512,
    "blocks_per_extent": 8192,
    "targets": [{"host": f"ds{number}", "port": 8810 + 10 * number} for number in range(3)],
}
VM0 = {
    "id": "1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a01",
    "vcpus": 4,
    "memory_mib": 1024,
    "disks": [{"volume": "vm0-boot", "name": "helios-blockdev", "device": "virtio", "slot": 1}],
    "host": "alpha",
    "port": 8000,
}


MOVE = "tests/fixtures/move_only.yml"


def refused(lab: Lab, playbook: str, *words: str, arguments: tuple[str, ...] = (), **variables: Any) -> None:
    """The play fails with all of ``words`` in what it says, without a traceback, and leaves everything as it was."""
    before = lab.truth()
    played = lab.play(playbook, *arguments, **variables)
    assert played.status != 0, played.output[-2000:]
    assert "Traceback" not in played.output
    missing = [word for word in words if word not in played.words]
    assert missing == [], played.output[-3000:]
    assert lab.truth() == before


def other(**changes: Any) -> dict[str, Any]:
    return {"other": {**OTHER, **changes}}


def test_an_unknown_instance_is_named_with_those_that_are_known(lab: Lab) -> None:
    refused(lab, "migrate", "'vm9', is not known", "propolis_instances has vm0", migration_instance="vm9")


def test_an_unknown_destination_is_named_with_those_that_are_known(lab: Lab) -> None:
    refused(lab, "migrate", "is 'zeta'", "expected one of alpha, beta", migration_destination="zeta")


def test_an_image_that_is_missing_is_named(lab: Lab) -> None:
    refused(lab, "seed", "/nowhere/image.raw", crucible_volumes=other(image={"src": "/nowhere/image.raw"}))


@pytest.mark.parametrize(("size", "word"), [(0, "empty"), (64 * 512 * 2 + 1, "65537")])
def test_fault_22_an_image_that_is_empty_or_larger_than_the_region_is_refused(
    lab: Lab, tmp_path: Path, size: int, word: str
) -> None:
    image = tmp_path / "image.raw"
    image.write_bytes(b"x" * size)
    refused(lab, "seed", str(image), word, crucible_volumes=other(image={"src": str(image)}))


def test_an_image_with_another_checksum_is_refused(lab: Lab, tmp_path: Path) -> None:
    image = tmp_path / "image.raw"
    image.write_bytes(b"x" * 512)
    wanted = "sha256:" + "0" * 64
    refused(lab, "seed", str(image), "0" * 64, crucible_volumes=other(image={"src": str(image), "checksum": wanted}))


IMPOSSIBLE: dict[str, tuple[dict[str, Any], list[str]]] = {
    "two_targets": ({"targets": TARGETS[:2]}, ["targets: found 2, expected exactly 3"]),
    "target_twice": ({"targets": [TARGETS[0], TARGETS[1], TARGETS[1]]}, ["expected three different ones"]),
    "wildcard": (
        {"targets": [*TARGETS[:2], {**TARGETS[2], "address": "0.0.0.0"}]},
        ["0.0.0.0:9910 (ds2)", "advertises"],
    ),
    "high_port": (
        {"targets": [*TARGETS[:2], {**TARGETS[2], "port": 62000}]},
        ["targets[2].port", "62000", "1 to 61535"],
    ),
    "short_key": ({"key": "c2hvcnQ="}, ["key: found '5 bytes'", "base64 (with padding) of 32 bytes"]),
    "needless_key": ({"key": "A" * 43 + "=", "encrypted": False}, ["key: found 'a key', expected none"]),
    "odd_block": ({"block_size": 1536}, ["block_size: found 1536", "a power of two from 512 to 32768"]),
    "no_number": ({"extent_count": "many"}, ["extent_count: found 'many'"]),
    "far_apart": (
        {"targets": [TARGETS[0], TARGETS[1], {"host": "ds2", "port": 13910}]},
        ["targets[2].port is 13910: its data port", "is the repair port of"],
    ),
}


def test_each_volume_that_cannot_be_is_named_with_its_field_and_nothing_is_begun(lab: Lab) -> None:
    volumes = {
        name: {**OTHER, "id": f"7f6f0f4e-0000-4000-8000-0000000000{index:02}", **changes}
        for index, (name, (changes, _words)) in enumerate(IMPOSSIBLE.items())
    }
    words = [word for name, (_changes, said) in IMPOSSIBLE.items() for word in (f"crucible_volumes.{name}", *said)]
    refused(lab, "seed", *words, crucible_volumes=volumes)


def test_a_volume_key_is_never_printed(lab: Lab) -> None:
    played = lab.play("seed", "-vvv", crucible_volumes=other(key="c2VjcmV0LXNlY3JldC1zZWNyZXQ="))
    assert played.status != 0
    assert "c2VjcmV0LXNlY3JldC1zZWNyZXQ" not in played.output.split("-e ")[0]


def test_each_instance_that_cannot_be_is_named_with_its_field(lab: Lab) -> None:
    disk = VM0["disks"][0]  # type: ignore[index]
    same = {**VM0, "id": "1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a02", "port": 8001}
    odd = {**VM0, "id": "no uuid", "vcpus": "many", "host": "zeta", "disks": [{"volume": "root"}], "port": 8002}
    words = (
        "propolis_instances.vm0.disks[1].volume is 'vm0-boot', which propolis_instances.vm0.disks[0] uses already",
        "propolis_instances.vm1.disks[0].volume is 'vm0-boot', which propolis_instances.vm0.disks[0] uses already",
        "propolis_instances.vm2.id is 'no uuid'; expected a uuid.",
        "propolis_instances.vm2.host is 'zeta', which is not a host of the group propolis_servers",
        "propolis_instances.vm2.disks[0].volume is 'root'; crucible_volumes has vm0-boot.",
        "propolis_instances.vm2: spec.cpus",
    )
    twice = {**VM0, "disks": [disk, {**disk, "name": "again", "slot": 2}]}
    refused(lab, "migrate", *words, propolis_instances={"vm0": twice, "vm1": same, "vm2": odd})


def test_fault_23_a_port_that_a_stranger_uses_is_named_on_each_host_and_no_region_is_made_anywhere(lab: Lab) -> None:
    with (
        closing(socket.create_server((f"{lab.network}.11", 9910))),
        closing(socket.create_server((f"{lab.network}.12", 13910))),
    ):
        words = (
            f"{lab.network}.11:9910 (port of crucible-downstairs-other-9910) is in use by process {os.getpid()}",
            f"{lab.network}.12:13910 (its repair port of crucible-downstairs-other-9910) is in use by process",
        )
        refused(lab, "seed", *words, crucible_volumes=other())
    assert not list(lab.root.glob("hosts/*/crucible/other"))


def test_the_region_directory_of_another_volume_is_named_and_left_alone(lab: Lab) -> None:
    stolen = {**BOOT, "id": "7f6f0f4e-0000-4000-8000-000000000009"}
    words = ("hosts/ds1/crucible/vm0-boot/8820 holds the region", "expected", "nothing was started")
    refused(lab, "seed", *words, crucible_volumes={"vm0-boot": stolen})


def test_a_key_for_a_region_that_is_plain_is_refused(lab: Lab) -> None:
    keyed = {**BOOT, "key": "A" * 43 + "="}
    refused(lab, "seed", "encrypted is False, expected True", crucible_volumes={"vm0-boot": keyed})


def test_a_generation_that_is_too_low_is_refused_with_the_floor_and_where_it_is(lab: Lab) -> None:
    words = ("2 must not be used", "it has to be more than 2, which the", "ds0", "the next free one is 3")
    refused(lab, MOVE, *words, migration_destination="alpha", migration_generations={"vm0-boot": 2})


@pytest.mark.parametrize("number", [0, -3, "many"])
def test_a_generation_that_no_upstairs_may_use_is_refused_at_once(lab: Lab, number: int | str) -> None:
    words = (
        f"generation for vm0-boot: found {number!r}, expected a whole number from 1 to",
        "'root', which is no volume",
    )
    refused(lab, MOVE, *words, migration_generations={"vm0-boot": number, "root": 3})


@pytest.mark.parametrize(
    ("field", "found", "words"),
    [
        ("extent_count", 2, "lies beyond the last extent: extent_count was lowered or belongs to another region"),
        (
            "encrypted",
            True,
            "regions of vm0-boot differ: encrypted is False at ds0:8810, ds2:8830 but True at ds1:8820",
        ),
    ],
)
def test_fault_22_a_region_whose_geometry_differs_is_named_with_its_siblings(
    lab: Lab, field: str, found: Any, words: str
) -> None:
    definition = next(lab.root.glob("hosts/ds1/crucible/vm0-boot/*/region.json"))
    original = definition.read_text()
    definition.write_text(json.dumps({**json.loads(original), field: found}))
    try:
        refused(lab, MOVE, "ds1", words, migration_destination="alpha")
    finally:
        definition.write_text(original)


def test_fault_22_geometry_of_the_inventory_that_the_regions_do_not_have_is_refused(lab: Lab) -> None:
    volumes = {"vm0-boot": {**BOOT, "blocks_per_extent": 4096}}
    words = (
        "crucible_volumes.vm0-boot.blocks_per_extent is 4096; its three regions have 8192",
        "correct the inventory",
    )
    refused(lab, MOVE, *words, migration_destination="alpha", crucible_volumes=volumes)


def inventory(tmp_path: Path, **hosts: dict[str, Any]) -> tuple[str, ...]:
    """Arguments that add variables to hosts of the lab's inventory."""
    path = tmp_path / "more.yml"
    path.write_text(json.dumps({"all": {"hosts": hosts}}))
    return ("-i", str(path))


def test_a_volume_that_is_described_otherwise_than_its_machine_has_it_is_refused_before_a_number_is_spent(
    lab: Lab,
) -> None:
    words = (
        "Disk helios-blockdev: sub_volumes[0].opts.flush_timeout is none on beta and 2 as described",
        "A migration may change the generation only",
    )
    volumes = {"vm0-boot": {**BOOT, "flush_timeout": 2}}
    refused(lab, MOVE, *words, migration_destination="alpha", crucible_volumes=volumes)


def test_a_program_that_is_missing_or_cannot_be_run_is_named_on_each_host(lab: Lab, tmp_path: Path) -> None:
    text, plain = tmp_path / "text", tmp_path / "plain"
    text.write_text("no program")
    text.chmod(0o755)
    plain.write_text("#!/bin/sh")
    words = (
        "executable: found '/nowhere/program', expected a program that is there",
        f"executable: found '{plain}', expected a program that can be run (no permission to run it)",
        "executable: there is no /nowhere/server here",
        f"{text} cannot be run: it is no program for this host",
    )
    more = inventory(
        tmp_path,
        ds0={"crucible_downstairs_executable": "/nowhere/program"},
        ds1={"crucible_downstairs_executable": str(plain)},
    )
    refused(lab, "seed", *words[:2], arguments=more, crucible_volumes=other())
    more = inventory(
        tmp_path,
        alpha={"propolis_server_executable": "/nowhere/server"},
        beta={"propolis_server_executable": str(text)},
    )
    diskless = {**VM0, "id": "1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a0c", "disks": [], "port": 8011}
    each_alone = {"propolis_server_all_or_none": False, "propolis_instances": {"vm7": diskless}}
    refused(lab, "boot", *words[2:], arguments=more, **each_alone)


def test_a_host_that_cannot_be_reached_is_named_and_no_number_is_spent(lab: Lab, tmp_path: Path) -> None:
    away = {
        "ansible_connection": "ssh",
        "ansible_host": f"{lab.network}.99",
        "ansible_timeout": 5,
        "ansible_pipelining": True,
    }
    words = ("UNREACHABLE", f"{lab.network}.99", "Make sure this host can be reached")
    refused(lab, "migrate", *words, arguments=inventory(tmp_path, ds2=away), migration_destination="alpha")


def test_fault_23_a_stranger_on_the_port_of_a_server_is_named_with_its_process_and_no_server_is_started_anywhere(
    lab: Lab,
) -> None:
    diskless = {**VM0, "id": "1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a0c", "disks": [], "port": 8011}
    with closing(socket.create_server((f"{lab.network}.1", 8011))):
        words = (f"propolis-server-vm7 cannot listen on {lab.network}.1:8011: process {os.getpid()}",)
        refused(lab, "boot", *words, propolis_instances={"vm7": diskless})


def test_servers_that_are_none_are_named_with_what_they_answered_and_nothing_is_started(
    lab: Lab, tmp_path: Path
) -> None:
    """Four strange places where the instance might be: HTML, broken JSON, one who is silent, one who drops all."""
    names = ("html", "json", "silent", "dropped")
    places = {name: (f"{lab.network}.{number}", 8021) for number, name in enumerate(names, start=21)}
    hosts = {host: {"propolis_server_address": address} for host, (address, _port) in places.items()}
    diskless = {**VM0, "id": "1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a0c", "disks": [], "port": 8021}
    task = {"hosts": "html", "gather_facts": False, "roles": ["apiary.propolis.instance"]}
    (tmp_path / "play.yml").write_text(json.dumps([task]))
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"children": {"propolis_servers": {"hosts": hosts}}}}))
    with (
        stranger(places["html"], answers("text/html", b"<html>It works!</html>")),
        stranger(places["json"], answers("application/json", b'{"instance":')),
        closing(socket.create_server(places["silent"])),
        deaf(places["dropped"]),
    ):
        before = lab.truth()
        instances = {"vm7": {**diskless, "host": "html", "hosts": list(places)}}
        arguments = ("-i", str(tmp_path / "hosts.yml"))
        played = lab.play(str(tmp_path / "play.yml"), *arguments, propolis_instances=instances)
    assert played.status != 0
    assert "Traceback" not in played.output
    for words in (
        "vm7 may run on html, json, silent, dropped: server html",
        "answered GET /instance with HTTP 200 and text/html that is not JSON",
        f"server json ({lab.network}.22:8021) answered GET /instance with HTTP 200 and application/json that is not",
        f"server silent ({lab.network}.23:8021) did not answer GET /instance within 10.0 s",
        f"server dropped ({lab.network}.24:8021) cannot be reached for GET /instance: no connection within 10.0 s",
        "No copy is started or moved while that is unknown.",
    ):
        assert words in played.words, played.output[-3000:]
    assert lab.truth() == before


def test_a_server_that_holds_another_machine_is_refused_before_a_number_is_spent(lab: Lab) -> None:
    stranger = {**VM0, "id": "1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0aff", "host": "beta"}
    refused(lab, "boot", "already holds", VM0["id"], propolis_instances={"vm0": stranger})  # type: ignore[arg-type]


def test_an_instance_that_is_there_already_is_left_alone(lab: Lab) -> None:
    before = lab.truth()
    played = lab.play("migrate")
    assert (played.status, played.changed) == (0, 0), played.output[-2000:]
    assert lab.truth() == before


def test_check_mode_says_the_plan_and_spends_nothing(lab: Lab) -> None:
    before = lab.truth()
    played = lab.play("migrate", "--check", migration_destination="alpha")
    assert played.status == 0, played.output[-3000:]
    assert "Plan: move vm0 from beta to alpha" in played.words
    assert "generation 2 before, 3 then" in played.words
    assert lab.truth() == before


def test_check_mode_of_a_volume_that_is_not_there_yet_says_what_would_be_made_and_makes_nothing(lab: Lab) -> None:
    before = lab.truth()
    played = lab.play("seed", "--check", "--diff", crucible_volumes=other())
    assert played.status == 0, played.output[-3000:]
    assert played.changed == 6  # a region and a downstairs on each of three hosts
    assert lab.truth() == before


def test_nothing_is_taken_away_from_under_a_server_that_cannot_be_asked_any_more(lab: Lab) -> None:
    with lab.frozen("beta"):
        refused(lab, "lab_down", "vm0 may run on beta: server beta", "did not answer GET /instance")
    assert lab.state("beta") == "Running"
