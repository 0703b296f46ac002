# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input gets one clear sentence, and nothing is changed by it."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Lab

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


def refused(lab: Lab, playbook: str, *words: str, **variables: Any) -> None:
    """The play fails with all of ``words`` in what it says, without a traceback, and leaves everything as it was."""
    before = lab.truth()
    played = lab.play(playbook, **variables)
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
def test_an_image_that_is_empty_or_larger_than_the_region_is_refused(
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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"targets": TARGETS[:2]}, ["crucible_volumes.other", "targets: found 2, expected exactly 3"]),
        (
            {"targets": [TARGETS[0], TARGETS[1], TARGETS[1]]},
            ["crucible_volumes.other", "expected three different ones"],
        ),
        ({"targets": [*TARGETS[:2], {**TARGETS[2], "address": "0.0.0.0"}]}, ["0.0.0.0:9910 (ds2)", "advertises"]),
        ({"targets": [*TARGETS[:2], {**TARGETS[2], "port": 62000}]}, ["targets[2].port", "62000", "1 to 61535"]),
        ({"key": "c2hvcnQ="}, ["key: found '5 bytes'", "base64 (with padding) of 32 bytes"]),
        ({"key": "A" * 43 + "=", "encrypted": False}, ["key: found 'a key', expected 'none'"]),
        ({"block_size": 1536}, ["block_size: found 1536", "a power of two from 512 to 32768"]),
    ],
)
def test_a_volume_that_cannot_be_is_refused_whole(lab: Lab, changes: dict[str, Any], words: list[str]) -> None:
    refused(lab, "seed", *[word.replace("'none'", "none") for word in words], crucible_volumes=other(**changes))


def test_a_volume_key_is_never_printed(lab: Lab) -> None:
    played = lab.play("seed", "-vvv", crucible_volumes=other(key="c2VjcmV0LXNlY3JldC1zZWNyZXQ="))
    assert played.status != 0
    assert "c2VjcmV0LXNlY3JldC1zZWNyZXQ" not in played.output.split("-e ")[0]


def test_a_volume_that_another_instance_uses_is_refused(lab: Lab) -> None:
    second = {**VM0, "id": "1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a02", "port": 8001}
    words = ("propolis_instances.vm1.disks[0].volume is 'vm0-boot'", "propolis_instances.vm0.disks[0] uses already")
    refused(lab, "migrate", *words, propolis_instances={"vm0": VM0, "vm1": second})


def test_a_volume_that_another_disk_of_the_instance_uses_is_refused(lab: Lab) -> None:
    disks = [*VM0["disks"], {**VM0["disks"][0], "name": "again", "slot": 2}]  # type: ignore[misc]
    words = ("propolis_instances.vm0.disks[1].volume is 'vm0-boot'", "disks[0] uses already")
    refused(lab, "migrate", *words, propolis_instances={"vm0": {**VM0, "disks": disks}})


@pytest.mark.parametrize("port", [9910, 13910])
def test_a_port_that_a_stranger_uses_is_named(lab: Lab, port: int) -> None:
    with closing(socket.create_server((f"{lab.network}.11", port))):
        played = lab.play("seed", crucible_volumes=other())
    assert played.status != 0
    assert f"{lab.network}.11:{port}" in played.words
    assert "Traceback" not in played.output
    gone = lab.play("teardown", crucible_volumes=other(), propolis_instances={}, remove_data=True)
    assert gone.status == 0, gone.output[-2000:]


@pytest.mark.parametrize(
    ("number", "word"),
    [(0, "generation"), (-3, "generation"), (2, "more than 2"), ("many", "generation")],
)
def test_a_generation_that_must_not_be_used_is_refused(lab: Lab, number: int | str, word: str) -> None:
    refused(lab, "migrate", word, migration_destination="alpha", migration_generations={"vm0-boot": number})


def test_a_region_whose_geometry_differs_is_named_with_its_siblings(lab: Lab) -> None:
    definition = next(lab.root.glob("hosts/ds1/crucible/vm0-boot/*/region.json"))
    original = definition.read_text()
    changed = json.loads(original)
    changed["extent_count"] -= 1
    definition.write_text(json.dumps(changed))
    try:
        before = lab.truth()
        played = lab.play("migrate", migration_destination="alpha", crucible_downstairs_volumes={})
        assert played.status != 0
        assert "ds1" in played.words
        assert "Traceback" not in played.output
        assert lab.truth() == before
    finally:
        definition.write_text(original)


def test_a_program_that_is_not_there_is_named(lab: Lab) -> None:
    refused(
        lab, "seed", "/nowhere/program", crucible_volumes=other(), crucible_downstairs_executable="/nowhere/program"
    )


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
