# SPDX-License-Identifier: GPL-3.0-or-later
"""The module propolis_serial: options in, result out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.apiary.propolis.plugins.modules import propolis_serial
from fake_propolis import FakeServer
from module_running import run_module

VM = "0cc7d20f-ee8e-49ad-b89c-b58f3a4f76d6"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer("127.0.4.1")
    fake.holds(VM, "Running", {})
    fake.say(b"booting\r\nlab login: ")
    yield fake
    fake.kill()


def console(server: FakeServer, *, check: bool = False, **more: Any) -> dict[str, Any]:
    options = {"server": server.address, "timeout": 2, "ask_timeout": 0.5} | more
    return run_module(propolis_serial.main, options, check=check)


def test_a_pattern_that_is_there_is_returned_with_its_groups(server: FakeServer) -> None:
    result = console(server, expect=r"(?P<host>\w+) login:", from_start=0)
    assert not result["changed"]
    assert result["match"] == "lab login:"
    assert result["groups"] == ["lab"]
    assert result["named_groups"] == {"host": "lab"}
    assert result["offset"] == 20
    assert result["server"]["address"] == server.address
    assert (result["moves"], result["lost"]) == ([], 0)


def test_typing_is_a_change_and_watching_is_none(server: FakeServer) -> None:
    server.on_typed = lambda fake, _data: fake.say(b"Password: ")
    result = console(server, send=["root"], expect="Password: $")
    assert result["changed"]
    assert server.typed == b"root\r"


def test_a_pattern_that_does_not_come_fails_with_the_last_output(server: FakeServer) -> None:
    result = console(server, expect="nothing like it", from_start=0, timeout=0.5)
    assert result["failed"]
    assert result["failure"]["code"] == "timed_out"
    assert "lab login:" in result["msg"]
    assert result["failure"]["details"]["output"].startswith("booting")


def test_check_mode_asks_nobody_and_types_nothing(server: FakeServer, tmp_path: Path) -> None:
    result = console(server, check=True, send=["root"], expect="x", capture=str(tmp_path / "out"))
    assert result["changed"]
    assert not result.get("failed")
    assert server.requests == []
    assert not (tmp_path / "out").exists()
    assert not console(server, check=True, expect="x")["changed"]


def test_check_mode_refuses_a_pattern_that_is_none(server: FakeServer) -> None:
    assert "not a regular expression" in console(server, check=True, expect="(")["msg"]


def test_the_output_is_captured(server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "console"
    console(server, expect="login", from_start=0, capture=str(path))
    assert path.read_bytes() == b"booting\r\nlab login: "


def test_other_servers_may_be_named(server: FakeServer) -> None:
    result = console(server, expect="login", from_start=0, servers=[{"address": "127.0.4.2:1"}])
    assert result["match"] == "login"


def test_without_the_library_the_message_names_it(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propolis_serial, "HAS_WEBSOCKET", False)
    result = console(server, expect="x")
    assert result["failure"]["details"] == {"library": "websocket-client"}
