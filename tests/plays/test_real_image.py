# SPDX-License-Identifier: GPL-3.0-or-later
"""A real bootable image through the whole job, and back out of each of the three regions bit-identical."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import requests
from conftest import Lab

IMAGE = Path(os.environ.get("REAL_IMAGE", "/usr/lib/grub-rescue/grub-rescue-cdrom.iso"))
RING = 64 * 1024  # the guest's heartbeats, at the end of the disk

absent = pytest.mark.skipif(
    not IMAGE.exists() and os.environ.get("CI") != "true",
    reason=f"SKIPPED LOUDLY: no bootable image at {IMAGE}; install grub-rescue-pc or set REAL_IMAGE",
)


@absent
def test_a_real_image_is_imported_booted_migrated_and_exported_unharmed(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab", "127.0.52", {"IMAGE": str(IMAGE)})
    lab.root.mkdir()
    original = IMAGE.read_bytes()
    try:
        played = lab.play("migrate")
        assert played.status == 0, played.output[-3000:]
        assert "vm0 runs on beta at generation 2" in played.words
        history = requests.get(
            f"http://{lab.network}.2:8000/instance/serial/history",
            params={"from_start": 0, "max_bytes": 4096},
            headers={"api-version": "5.0.0"},
            timeout=10,
        ).json()
        assert "signature 55aa" in bytes(history["data"]).decode()
        assert lab.play("teardown").status == 0
        for region in sorted(lab.root.glob("hosts/*/crucible/vm0-boot/*/region.json")):
            exported = tmp_path / "exported"
            program = str(lab.root / "bin" / "crucible-downstairs")
            command = [program, "export", "--data", str(region.parent), "--export-path", str(exported)]
            subprocess.run(command, check=True, capture_output=True)
            found = exported.read_bytes()
            assert len(found) >= len(original) + RING
            assert found[: len(original)] == original, f"{region.parent} does not hold the image any more"
            assert found[len(original) : -RING].strip(b"\0") == b""
            assert b"LABBEAT1" in found[-RING:]
    finally:
        assert lab.play("lab_down").status == 0
