# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that puts a lab in place."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from propolis_lab import setup


def run(capsys: pytest.CaptureFixture[str], command: str, root: Path, *options: str) -> dict[str, Any]:
    place = ["--faults", str(root / "faults"), "--image-mib", "1"] if command == "put" else []
    assert setup.main([command, str(root), *place, *options]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def everything_below(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(root)): (path.stat().st_mode & 0o777, path.read_bytes() if path.is_file() else b"")
        for path in root.rglob("*")
    }


def test_a_lab_is_put_in_place_once_and_then_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "far" / "lab"
    first = run(capsys, "put", root)
    there = everything_below(root)
    assert first["changed"]
    assert {name for name, (mode, _data) in there.items() if mode == 0o755} == {
        "bin",
        "bin/crucible-downstairs",
        "bin/crucible-volume",
        "bin/propolis-server",
        "faults",
        "share",
    }
    assert there["faults/wire.json"] == (0o644, b"[]\n")
    assert there["share/lab.raw"][1][510:512] == b"\x55\xaa"
    assert len(there["share/lab.raw"][1]) == 1 << 20
    assert run(capsys, "put", root) == {"changed": False, "changes": [], "diff": ""}
    assert everything_below(root) == there


def test_check_mode_says_what_would_be_changed_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foretold = run(capsys, "put", tmp_path / "lab", "--check")
    assert not (tmp_path / "lab").exists()
    assert run(capsys, "put", tmp_path / "lab") == foretold
    there = everything_below(tmp_path)
    assert run(capsys, "put", tmp_path / "lab", "--check", "--no-history")["changes"] == [
        f"{tmp_path}/lab/bin/propolis-server written"
    ]
    assert run(capsys, "remove", tmp_path / "lab", "--check")["changes"] == [f"{tmp_path}/lab removed"]
    assert everything_below(tmp_path) == there


def test_a_lab_of_another_age_shows_what_differs_in_the_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "put", tmp_path)
    told = run(capsys, "put", tmp_path, "--api", "2023-01")
    assert told["changes"] == [f"{tmp_path}/bin/{name} written" for name in ("crucible-downstairs", "propolis-server")]
    assert "+# The lab's stand-in for crucible-downstairs of January 2023." in told["diff"].splitlines()


def test_modes_are_mended_and_what_people_wrote_into_the_fault_files_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "put", tmp_path)
    (tmp_path / "faults" / "server.json").write_text('{"switches": []}')
    (tmp_path / "bin" / "propolis-server").chmod(0o600)
    (tmp_path / "share").chmod(0o700)
    assert run(capsys, "put", tmp_path)["changes"] == [
        f"{tmp_path}/share has mode 0755",
        f"{tmp_path}/bin/propolis-server has mode 0755",
    ]
    assert (tmp_path / "faults" / "server.json").read_text() == '{"switches": []}'


def test_the_programs_run_by_path_also_where_names_have_spaces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "a lab's place"
    run(capsys, "put", root)
    done = subprocess.run([root / "bin" / "crucible-downstairs", "version"], capture_output=True, text=True, check=True)
    assert "Crucible" in done.stdout


def test_a_python_that_lacks_a_package_is_one_sentence_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "IMPORTED", ("json", "no_such_package"))
    assert setup.main(["put", str(tmp_path / "lab"), "--faults", str(tmp_path / "lab" / "faults")]) == 1
    said = capsys.readouterr().err
    assert "lacks no_such_package, which the stand-ins import" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "lab").exists()


def test_a_place_that_cannot_be_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lab").write_text("a file")
    assert setup.main(["put", str(tmp_path / "lab"), "--faults", str(tmp_path / "faults")]) == 1
    assert capsys.readouterr().err == f"Error: {tmp_path}/lab is no directory.\n"


def test_a_directory_that_holds_no_lab_is_never_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert not run(capsys, "remove", tmp_path)["changed"]
    assert (tmp_path / "thesis.txt").exists()
    run(capsys, "put", tmp_path / "lab")
    assert run(capsys, "remove", tmp_path / "lab")["changed"]
    assert not (tmp_path / "lab").exists()
    assert not run(capsys, "remove", tmp_path / "lab")["changed"]
