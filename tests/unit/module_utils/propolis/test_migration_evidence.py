# SPDX-License-Identifier: GPL-3.0-or-later
"""The evidence of a failed move: complete, private, without keys, and never in the way of the failure itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_migration import perform
from fake_moves import FAILS_AFTER_FINISH, Pair
from fake_propolis import FakeServer, request_for

VM = "0cc7d20f-ee8e-49ad-b89c-b58f3a4f76d6"
KEY = base64.b64encode(b"a secret of exactly 32 bytes ...").decode()


@pytest.fixture
def pair() -> Iterator[Pair]:
    source, destination = FakeServer("127.0.7.1"), FakeServer("127.0.7.2")
    source.holds(VM, "Running", {"boot": encrypted(1)})
    source.say(b"a secret in the console: " + KEY.encode() + b"\r\n", frame=False)
    yield Pair(source, destination)
    source.kill()
    destination.kill()


def encrypted(generation: int) -> dict[str, Any]:
    request = request_for(generation)
    request["sub_volumes"][0]["opts"]["key"] = KEY
    return request


def move(pair: Pair, evidence: Path | None, *, generation: int = 2, check: bool = False) -> dict[str, Any]:
    params = {
        "instance": {"id": VM, "name": "vm 0/../x"},
        "source": {"name": "alpha", "address": pair.source.address},
        "destination": {"name": "beta", "address": pair.destination.address},
        "disks": [{"name": "boot", "generation": None, "volume_construction_request": encrypted(generation)}],
        "servers": [],
        "migration_id": None,
        "timeout": 5.0,
        "ask_timeout": 0.5,
        "api": "auto",
        "wait_for": None,
        "evidence": str(evidence) if evidence is not None else None,
    }
    return perform(params, check_mode=check)


def test_a_failed_move_leaves_one_private_directory_that_holds_all_and_no_key(pair: Pair, tmp_path: Path) -> None:
    pair.script = (*FAILS_AFTER_FINISH[:6], ("s", {"state": "Running", "out": "Error"}))
    pair.before_step[6] = pair.destination.kill
    result = move(pair, tmp_path / "evidence")
    assert result["failure"]["code"] == "failed_on_source"
    folder = Path(result["failure"]["details"]["evidence"])
    assert folder.parent == tmp_path / "evidence"
    assert folder.stat().st_mode & 0o777 == 0o700
    names = {path.name for path in folder.iterdir()}
    assert {"migration.json", "alpha-instance.json", "alpha-spec.json", "alpha-console.txt", "problems.txt"} <= names
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert KEY not in path.read_text()
    assert "beta-instance.json" in (folder / "problems.txt").read_text()
    assert "a secret in the console" in (folder / "alpha-console.txt").read_text()
    written = json.loads((folder / "migration.json").read_text())
    assert written["migration"]["timeline"]
    assert json.loads((folder / "alpha-migrations.json").read_text())["out"]["phase"] == "Error"
    assert "boot" in (folder / "alpha-disks.txt").read_text()


def test_two_failures_of_one_second_have_directories_of_their_own(pair: Pair, tmp_path: Path) -> None:
    found = {move(pair, tmp_path, generation=1)["failure"]["details"]["evidence"] for _turn in range(3)}
    assert len(found) == 3


def test_a_move_that_does_not_fail_and_a_plan_leave_nothing(pair: Pair, tmp_path: Path) -> None:
    move(pair, tmp_path, generation=1, check=True)
    assert not move(pair, tmp_path).get("failed")
    assert list(tmp_path.iterdir()) == []


def test_evidence_that_cannot_be_written_is_a_warning_beside_the_failure(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = move(pair, tmp_path / "file", generation=1)
    assert result["failure"]["code"] == "generation_too_low"
    assert any("cannot be written" in warning for warning in result["warnings"])
    assert "evidence" not in result["failure"]["details"]


def test_a_console_that_does_not_go_on_is_kept_as_far_as_it_goes(pair: Pair, tmp_path: Path) -> None:
    answers = [{"data": [65], "last_byte_offset": 10}, {"data": [66], "last_byte_offset": 0}]
    pair.source._history = lambda _body: (200, answers.pop(0))  # type: ignore[method-assign]
    result = move(pair, tmp_path, generation=1)
    folder = Path(result["failure"]["details"]["evidence"])
    assert (folder / "alpha-console.txt").read_text() == ""
