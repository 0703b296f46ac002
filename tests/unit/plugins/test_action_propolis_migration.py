# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of propolis_migration: where it works, what it shows, and what it says when it is interrupted."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible import constants
from ansible_collections.apiary.propolis.plugins.action import propolis_migration as action
from fake_moves import Pair
from fake_propolis import FakeServer, request_for

VM = "0cc7d20f-ee8e-49ad-b89c-b58f3a4f76d6"
KEY = base64.b64encode(b"a secret of exactly 32 bytes ...").decode()


@pytest.fixture
def pair() -> Iterator[Pair]:
    source, destination = FakeServer("127.0.5.1"), FakeServer("127.0.5.2")
    source.holds(VM, "Running", {"boot": request_for(1)})
    yield Pair(source, destination)
    source.kill()
    destination.kill()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(action.display, "display", lambda line, *_rest, **_more: lines.append(line))
    return lines


def plugin(pair: Pair, *, check: bool = False, transport: str = "local", **more: Any) -> action.ActionModule:
    request = request_for(2)
    request["sub_volumes"][0]["opts"]["key"] = more.pop("key", None)
    arguments = {
        "instance": {"id": VM, "name": "vm0"},
        "source": {"name": "alpha", "address": pair.source.address},
        "destination": {"name": "beta", "address": pair.destination.address},
        "disks": [{"name": "boot", "volume_construction_request": request}],
        "timeout": 5,
        "ask_timeout": 0.5,
    } | more
    task = MagicMock(args=arguments, check_mode=check, async_val=0, action="apiary.propolis.propolis_migration")
    connection = SimpleNamespace(transport=transport, ansible_name=f"ansible.builtin.{transport}", _shell=MagicMock())
    return action.ActionModule(task, connection, MagicMock(), MagicMock(), MagicMock(), MagicMock())


def callback(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(constants.config, "get_config_value", lambda _key, **_more: name)


def test_on_the_controller_a_line_is_shown_for_each_phase(pair: Pair, shown: list[str], monkeypatch: Any) -> None:
    callback(monkeypatch, "default")
    result = plugin(pair).run(task_vars={})
    assert result["migration"]["verdict"] == "succeeded"
    assert result["changed"]
    assert len(shown) == len(result["migration"]["timeline"]) + 1
    assert any("alpha (source)" in line and line.endswith("RamPush") for line in shown)
    assert any("beta (destination)" in line and line.endswith("Running") for line in shown)


@pytest.mark.parametrize(
    ("name", "progress", "check", "expected"),
    [
        ("default", "auto", False, True),
        ("ansible.posix.json", "auto", False, False),
        ("ansible.builtin.default", "auto", True, False),
        ("ansible.posix.json", "always", False, True),
        ("default", "never", False, False),
    ],
)
def test_progress_is_shown_where_people_read_it(
    pair: Pair, shown: list[str], monkeypatch: Any, name: str, progress: str, check: bool, expected: bool
) -> None:
    callback(monkeypatch, name)
    result = plugin(pair, progress=progress, check=check).run(task_vars={})
    assert result["changed"]
    assert bool(shown) is expected
    assert bool(pair.puts) is not check


def test_elsewhere_the_module_does_the_work(pair: Pair, monkeypatch: Any) -> None:
    made = plugin(pair, transport="ssh")
    asked: list[dict[str, Any]] = []

    def module(**options: Any) -> dict[str, Any]:
        asked.append(options)
        return {"changed": True, "migration": {}}

    monkeypatch.setattr(made, "_execute_module", module)
    assert made.run(task_vars={"x": 1})["changed"]
    assert asked == [{"module_name": "apiary.propolis.propolis_migration", "task_vars": {"x": 1}}]
    assert pair.puts == []


def test_without_the_library_on_the_controller_the_module_is_tried(pair: Pair, monkeypatch: Any) -> None:
    monkeypatch.setattr(action, "HAS_REQUESTS", False)
    made = plugin(pair)
    monkeypatch.setattr(made, "_execute_module", lambda **_options: {"changed": False})
    assert made.run(task_vars={}) == {"changed": False}


def test_what_an_interruption_would_mean_is_said_once_and_in_time(
    pair: Pair, shown: list[str], monkeypatch: Any
) -> None:
    callback(monkeypatch, "default")
    plugin(pair).run(task_vars={})
    assert "not the migration" in shown[0]
    assert "apiary.propolis.status" in shown[0]
    assert not any("Ctrl-C" in line for line in shown[1:])
    shown.clear()
    plugin(pair).run(task_vars={})
    assert shown == []


def test_no_key_is_in_the_result_or_on_the_screen(pair: Pair, shown: list[str], monkeypatch: Any) -> None:
    callback(monkeypatch, "default")

    def quote(_server: FakeServer, body: dict[str, Any]) -> tuple[int, Any]:
        return 400, {"request_id": "x", "message": json.dumps(body), "error_code": KEY}

    old = request_for(1)
    old["sub_volumes"][0]["opts"]["key"] = KEY
    pair.source.holds(VM, "Running", {"boot": old})
    pair.destination.on_put = quote
    result = plugin(pair, key=KEY).run(task_vars={})
    assert result["failed"]
    assert KEY not in json.dumps(result)
    assert not any(KEY in line for line in shown)


def test_options_that_do_not_fit_are_refused_as_the_module_would(pair: Pair) -> None:
    from ansible.errors import AnsibleError

    with pytest.raises(AnsibleError, match="progress"):
        plugin(pair, progress="sometimes").run(task_vars={})
