# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults 20 and 21: a disk that fills up while an image is imported, and an image that is another one on one host."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.supervisors.process import ProcessSupervisor
from conftest import DOWNSTAIRS, Machine
from played_lab import Lab

NAME = "spare"
PORT = 9910
SERVICE = f"crucible-downstairs-{NAME}-{PORT}"


@pytest.fixture
def spare(lab: Lab, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A second volume for an image of its own, of which nothing is left after the test."""
    image = tmp_path / "image.raw"
    image.write_bytes(os.urandom(512 * 1024))
    yield {
        "id": "7f6f0f4e-0000-4000-8000-000000000001",
        "blocks_per_extent": 64,
        "targets": [{"host": host, "port": PORT} for host in DOWNSTAIRS],
        "image": {"src": str(image)},
    }
    for host in DOWNSTAIRS:
        downstairs(lab, host).stop(SERVICE, timeout=10)
        subprocess.run(["rm", "-rf", str(place(lab, host).parent)], check=True)


def place(lab: Lab, host: str) -> Path:
    """The directory of the spare volume's region on ``host``."""
    return lab.root / f"hosts/{host}/crucible/{NAME}/{PORT}"


def downstairs(lab: Lab, host: str) -> ProcessSupervisor:
    """What keeps the downstairs on ``host``."""
    return ProcessSupervisor(lab.root / f"hosts/{host}/crucible/run")


def changed_on(output: str) -> set[str]:
    """The hosts on which the play changed something, from its recap."""
    recap = output.split("PLAY RECAP")[1].splitlines()[1:]
    return {line.split()[0] for line in recap if line.strip() and "changed=0" not in line}


@contextmanager
def small_file_system(path: Path, options: str) -> Iterator[None]:
    """A file system in memory at ``path``."""
    path.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system that is too small is mounted, which only root may do")
def test_fault_20_a_disk_that_fills_up_during_an_import_costs_only_the_region_that_was_being_made(
    lab: Lab, spare: dict[str, Any]
) -> None:
    # Room enough by the numbers, so that the import begins; but no more than a few files can be made.
    with small_file_system(place(lab, "ds1").parent, "size=64m,nr_inodes=20"):
        played = lab.play("seed", crucible_volumes={NAME: spare})
        assert played.status != 0
        assert "No space left on device" in played.words, played.output
        assert f"the half-made region is now {place(lab, 'ds1')}.incomplete-" in played.words
        assert not place(lab, "ds1").exists()
        assert "failed=0" not in next(line for line in played.output.splitlines() if line.startswith("ds1  "))
        kept = {host: sorted(place(lab, host).rglob("*")) for host in ("ds0", "ds2")}
        assert all(kept.values())

    again = lab.play("seed", crucible_volumes={NAME: spare})
    assert again.status == 0, again.output
    assert changed_on(again.output) == {"ds1"}
    assert {host: sorted(place(lab, host).rglob("*")) for host in ("ds0", "ds2")} == kept


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system that is too small is mounted, which only root may do")
def test_fault_20_a_disk_without_room_for_an_image_and_its_metadata_is_refused_before_anything_is_made(
    lab: Lab, spare: dict[str, Any]
) -> None:
    with small_file_system(place(lab, "ds1").parent, "size=512k"):  # the image itself would fit
        played = lab.play("seed", "--limit", "ds1", crucible_volumes={NAME: spare})
        assert played.status != 0
        assert f"{place(lab, 'ds1').parent} has 524288 free; nothing was changed" in played.words, played.output
        assert list(place(lab, "ds1").parent.iterdir()) == []


def test_fault_21_an_image_that_is_truncated_on_one_host_is_refused_there_before_a_region_is_made(
    lab: Lab, spare: dict[str, Any]
) -> None:
    image = Path(spare["image"]["src"])
    for host in DOWNSTAIRS:
        data = image.read_bytes()
        image.with_suffix(f".{host}").write_bytes(data[:-512] if host == "ds1" else data)
    checksum = subprocess.run(["sha256sum", str(image)], check=True, capture_output=True, text=True).stdout.split()[0]
    src = f"{image.with_suffix('')}.{{{{ inventory_hostname }}}}"
    played = lab.play(
        "seed", crucible_volumes={NAME: {**spare, "image": {"src": src, "checksum": f"sha256:{checksum}"}}}
    )
    assert played.status != 0
    assert f"{image.with_suffix('.ds1')}" in played.words
    assert f"expected {checksum}" in played.words, played.output
    assert [host for host in DOWNSTAIRS if place(lab, host).exists()] == ["ds0", "ds2"]


def test_fault_21_regions_that_were_made_from_different_images_are_not_served(lab: Lab, spare: dict[str, Any]) -> None:
    image = Path(spare["image"]["src"])
    sums = {}
    for host in DOWNSTAIRS:
        data = image.read_bytes()
        copy = image.with_suffix(f".{host}")
        copy.write_bytes(b"x" + data[1:] if host == "ds1" else data)
        sums[host] = hashlib.sha256(copy.read_bytes()).hexdigest()
    src = f"{image.with_suffix('')}.{{{{ inventory_hostname }}}}"
    played = lab.play("seed", crucible_volumes={NAME: {**spare, "image": {"src": src}}})
    assert played.status != 0
    listed = ", ".join(f"{sums[host]} on {host}" for host in DOWNSTAIRS)
    played.says(f"The regions of {NAME} were made from different images: {listed}. Nothing was served of them.")
    assert not any(downstairs(lab, host).status(SERVICE).running for host in DOWNSTAIRS)


def test_fault_21_a_machine_is_not_moved_whose_regions_were_made_from_different_images(machine: Machine) -> None:
    record = next(machine.lab.root.glob("hosts/ds1/crucible/vm0-boot/*.image"))
    original = record.read_text()
    ours = json.loads(original)
    record.write_text(json.dumps({**ours, "sha256": "0" * 64}))
    try:
        played = machine.move()
    finally:
        record.write_text(original)
    assert played.status != 0
    assert "The regions of vm0-boot were made from different images:" in played.words, played.output
    assert f"{ours['sha256']} on ds0" in played.words
    assert f"{'0' * 64} on ds1" in played.words
    assert machine.lab.state(machine.source) == "Running"
    assert machine.newest_number() == machine.spent
