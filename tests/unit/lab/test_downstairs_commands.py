# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of the stand-in for crucible-downstairs, beyond what was recorded of the real one."""

from __future__ import annotations

import os
import pty
import random
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from propolis_lab.downstairs.export import start_block
from propolis_lab.downstairs.importing import import_image
from propolis_lab.downstairs.main import main
from propolis_lab.downstairs.paint import letters_of
from propolis_lab.region import Age, Definition, Region, RegionError, files
from shared import PYTHON, ROOT

ID = "12345678-0000-4000-8000-000000000001"
LAB = ROOT / "roles" / "lab" / "files"
LIMIT = 30.0


def _program(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the stand-in as its users do."""
    return subprocess.run(
        [sys.executable, "-m", "propolis_lab.downstairs", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(LAB)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def _create(path: Path, *options: str, age: Age = Age.TODAY) -> int:
    return main(["--age", age.value, "create", "-d", str(path), "-u", ID, *options])


@pytest.mark.parametrize("age", Age)
@pytest.mark.parametrize(("block_size", "size"), [(512, 0), (512, 1), (512, 70_001), (4096, 300_000), (32768, 98_304)])
def test_an_exported_import_is_the_image_and_zeros(tmp_path: Path, age: Age, block_size: int, size: int) -> None:
    image, back = tmp_path / "image", tmp_path / "back"
    image.write_bytes(random.Random(size).randbytes(size))
    shape = ("--block-size", str(block_size), "--extent-size", "7", "--extent-count", "2")
    assert _create(tmp_path / "r", *shape, "-i", str(image), age=age) == 0
    assert main(["--age", age.value, "export", "-d", str(tmp_path / "r"), "-e", str(back)]) == 0
    extents = max(2, -(-size // (7 * block_size)))
    assert back.read_bytes() == image.read_bytes() + bytes(extents * 7 * block_size - size)
    region = Region.open(tmp_path / "r")
    touched = -(-size // (7 * block_size))
    assert [version.flush for version in region.versions()] == [1] * touched + [0] * (extents - touched)
    region.close()


def test_an_import_of_several_chunks_is_whole_and_verified(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(random.Random(1).randbytes(10_000_000))
    assert _create(tmp_path / "r", "--extent-size", "3000", "--extent-count", "1", "-i", str(image)) == 0
    assert main(["verify", "-d", str(tmp_path / "r")]) == 0
    region = Region.open(tmp_path / "r", read_only=True)
    assert region.read_data(0, region.definition.total_blocks)[:10_000_000] == image.read_bytes()
    region.close()


def test_an_import_whose_data_does_not_reach_the_disk_early_fails_late_but_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "image"
    image.write_bytes(random.Random(1).randbytes(10_000_000))
    region = Region.create(tmp_path / "r", Definition(512, 3000, 0, UUID(ID)))
    region.extend(7)

    def fail(self: Region, extent: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Region, "settle", fail)
    with pytest.raises(OSError, match="Input/output error"):
        import_image(region, image)
    region.close()
    assert [version.dirty for version in Region.open(tmp_path / "r").versions()] == [True] * 7


def test_an_image_that_holds_more_than_its_metadata_says_is_refused(tmp_path: Path) -> None:
    region = Region.create(tmp_path / "r", Definition(512, 10, 0, UUID(ID)))
    region.extend(1)
    with pytest.raises(RegionError, match="holds more than the 5120 bytes of the region"):
        import_image(region, Path("/dev/zero"))
    region.close()


@given(st.integers(1, 20), st.integers(1, 5), st.integers(0, 30_000))
def test_a_skip_leads_where_the_real_programs_loop_leads(per_extent: int, extents: int, skip: int) -> None:
    definition = Definition(512, per_extent, extents, UUID(ID))
    reached = (
        extent * per_extent + block
        for extent in range(extents)
        for block in range(per_extent)
        if extent * definition.extent_bytes + block >= skip
    )
    assert start_block(skip, definition) == next(reached, definition.total_blocks)


@pytest.mark.parametrize(
    ("values", "letters"), [("xx", "AA"), ("xy", "AB"), ("xxy", "AAC"), ("xyy", "ABB"), ("xyz", "ABC")]
)
def test_letters_tell_which_replicas_agree(values: str, letters: str) -> None:
    assert letters_of(values) == letters


def test_a_wrong_age_is_named(tmp_path: Path) -> None:
    done = _program("--age", "1999", "version", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "--age is '1999'; it must be 'today' or '2023'\n"


def test_tls_is_refused_and_not_ignored(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pems = ("--cert-pem", "c", "--key-pem", "k", "--root-cert-pem", "r")
    assert main(["run", "-d", str(tmp_path), *pems]) == 1
    assert "speaks no TLS" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["dynamometer", "repair-dynamometer", "serve"])
def test_a_command_that_is_left_out_says_so(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([command]) == 1
    assert f"this stand-in has no `{command}`" in capfd.readouterr().err


@pytest.mark.parametrize("age", Age)
def test_the_log_begins_with_the_word_that_this_is_a_stand_in(tmp_path: Path, age: Age) -> None:
    done = _program("--age", age.value, "create", "-d", "r", "-u", ID, folder=tmp_path)
    log = done.stdout if age is Age.TODAY else done.stderr
    assert "stand-in" in log.splitlines()[0]
    assert done.returncode == 0


@pytest.mark.parametrize(("age", "status"), [(Age.TODAY, -6), (Age.JANUARY_2023, 1)])
def test_a_port_without_room_for_the_repair_port_panics_as_recorded(tmp_path: Path, age: Age, status: int) -> None:
    _create(tmp_path / "r", "--extent-count", "1", age=age)
    done = _program("--age", age.value, "run", "-d", "r", "-a", "127.0.0.1", "-p", "62000", folder=tmp_path)
    assert done.returncode == status
    assert "attempt to add with overflow" in done.stderr


def test_on_a_terminal_the_log_is_text_on_stderr(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "propolis_lab.downstairs", "create", "-d", "r", "-u", ID],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(LAB)},
        stdout=theirs,
        stderr=subprocess.PIPE,
        timeout=LIMIT,
        check=True,
        text=True,
    )
    os.close(theirs)
    os.close(ours)
    assert 'INFO Created new region file "r/region.json"' in done.stderr


def test_a_reader_that_goes_away_gets_no_traceback(tmp_path: Path) -> None:
    _create(tmp_path / "r", "--extent-size", "1", "--extent-count", "3000")
    command = f"{PYTHON} -m propolis_lab.downstairs dump -d r | head -1"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(LAB)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )
    assert done.stderr == ""


def test_blocks_of_a_range_are_located_and_blocks_outside_an_extent_are_not(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _create(tmp_path / "r", "--extent-size", "16", "--extent-count", "1")
    assert main(["extent-info", "-d", str(tmp_path / "r"), "-b", "2-5"]) == 0
    assert "Block Data:           0x00000400 - 0x00000bff (2048 bytes, 4 blocks)" in capfd.readouterr().out
    assert main(["extent-info", "-d", str(tmp_path / "r"), "-b", "16"]) == 1
    assert "Block 16 is not below 16" in capfd.readouterr().err


class _Source(BaseHTTPRequestHandler):
    """A repair service that answers from a table, and with 404 for what is not in it."""

    def do_GET(self) -> None:
        answers: dict[str, bytes] = self.server.answers  # type: ignore[attr-defined]
        body = answers.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("content-length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test's output is read."""


REGION_INFO = (
    b'{"block_size":512,"extent_size":{"value":16,"shift":9},"extent_count":1,'
    b'"uuid":"12345678-0000-4000-8000-0000000000ff","encrypted":false}'
)


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        ({}, "Failed to get source region definition: Error Response: status: 404 Not Found"),
        ({"/region-info": b"<html>"}, "Failed to get source region definition: .* answered no JSON"),
        ({"/region-info": REGION_INFO, "/region-mode": b"false"}, "Source downstairs is not read only"),
        (
            {"/region-info": REGION_INFO.replace(b"00ff", b"0001"), "/region-mode": b"true"},
            "Incompatible region definitions: UUIDs are the same",
        ),
        (
            {"/region-info": REGION_INFO, "/region-mode": b"true", "/extent/0/files": b'["000","000.db"]'},
            "extent 0 of the source has the files",
        ),
        (
            {"/region-info": REGION_INFO, "/region-mode": b"true", "/extent/0/files": b'["000"]'},
            "Failed to get extent 0: Error Response: status: 404",
        ),
        (
            {
                "/region-info": REGION_INFO,
                "/region-mode": b"true",
                "/extent/0/files": b'["000"]',
                "/newextent/0/data": b"half",
                "/extent/0/repair-ready": b"false",
            },
            "extent 0 of the source is not ready for repair any more",
        ),
    ],
)
def test_a_clone_that_cannot_be_made_says_why_and_leaves_the_region_as_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], answers: dict[str, bytes], complaint: str
) -> None:
    _create(tmp_path / "r", "--extent-size", "16", "--extent-count", "1")
    extent = tmp_path / "r" / "00" / "000" / "000"
    before = extent.read_bytes()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Source) as server:
        server.answers = answers  # type: ignore[attr-defined]
        Thread(target=server.serve_forever, daemon=True).start()
        assert main(["clone", "-d", str(tmp_path / "r"), "-s", f"127.0.0.1:{server.server_port}"]) == 1
        server.shutdown()
    error = capfd.readouterr().err
    assert error.startswith("Error: ")
    assert re.search(complaint, error)
    assert extent.read_bytes() == before
    assert [path.name for path in extent.parent.iterdir()] == ["000"]


def test_verify_of_a_large_region_finds_the_damage_whoever_looks_at_the_extent(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _create(tmp_path / "r", "--block-size", "4096", "--extent-size", "4096", "--extent-count", "5")
    capfd.readouterr()
    for extent, block in ((1, 7), (4, 4095)):
        descriptor = os.open(tmp_path / "r" / "00" / "000" / f"00{extent}", os.O_RDWR)
        files.write_at(descriptor, b"x", block * 4096)
        os.close(descriptor)
    assert main(["verify", "-d", str(tmp_path / "r"), "--threads", "2"]) == 1
    text = 'GenericError("block {} has an empty active slot, but contains non-zero data")'
    out, err = capfd.readouterr()
    assert out.splitlines() == [
        f"validation failed for extent 1 (file 001): {text.format(7)}",
        f"validation failed for extent 4 (file 004): {text.format(4095)}",
    ]
    assert err == "Error: Region failed to verify\n"
