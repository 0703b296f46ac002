# SPDX-License-Identifier: GPL-3.0-or-later
"""The module propolis_server, run whole with a program that has a server's command line."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.supervisors import choose
from ansible_collections.apiary.propolis.plugins.modules import propolis_server
from module_running import run_module
from shared import python_program

PROGRAM = python_program("""import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
host, port = sys.argv[3].rsplit(":", 1)
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"request_id": "r", "error_code": "NoInstance", "message": "no instance"}'
        self.send_response(424)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
HTTPServer((host, int(port)), Handler).serve_forever()
""")


@pytest.fixture
def options(tmp_path: Path) -> Iterator[dict[str, Any]]:
    program = tmp_path / "propolis-server"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    (tmp_path / "rom.fd").write_bytes(bytes(4096))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    yield {
        "name": "vm0",
        "address": "127.0.0.1",
        "port": port,
        "executable": str(program),
        "bootrom": str(tmp_path / "rom.fd"),
        "run_dir": str(tmp_path / "run"),
        "timeout": 10,
    }
    choose("process", tmp_path / "run").stop("vm0", timeout=5)


def run(options: dict[str, Any], *, check: bool = False, **changes: Any) -> dict[str, Any]:
    return run_module(propolis_server.main, {**options, **changes}, check=check)


def test_check_mode_says_what_would_be_done_and_does_nothing(options: dict[str, Any]) -> None:
    result = run(options, check=True)
    assert (result["changed"], result["pending"]) == (True, True)
    assert result["diff"]["before"]["state"] == "stopped"
    assert result["diff"]["after"]["argv"][1:] == ["run", options["bootrom"], f"127.0.0.1:{options['port']}"]
    assert not Path(options["run_dir"]).exists()


def test_a_server_is_started_once_and_its_place_returned(options: dict[str, Any]) -> None:
    first = run(options)
    assert (first["changed"], first["pending"]) == (True, False), first
    server = first["server"]
    assert server["address"] == f"127.0.0.1:{options['port']}"
    assert (server["port"], server["state"]) == (options["port"], "running")
    assert Path(server["log"]).is_file()
    second = run(options)
    assert second["changed"] is False
    assert second["server"] == server
    assert run(options, check=True)["pending"] is False
    assert run(options, state="absent")["changed"] is True
    assert run(options, state="absent")["changed"] is False


def test_a_server_is_stopped_without_its_address(options: dict[str, Any]) -> None:
    run(options)
    result = run({key: options[key] for key in ("name", "run_dir")}, state="stopped")
    assert (result["changed"], result["server"]["address"], result["server"]["pid"]) == (True, None, None)
    assert result["diff"]["after"]["state"] == "stopped"


def test_the_form_of_2023_can_be_asked_for_without_a_config(options: dict[str, Any]) -> None:
    result = run(options, api="2023-01")
    assert result["server"]["argv"][2] == f"{options['run_dir']}/vm0.toml"
    assert result["diff"]["after"]["config"] == f'bootrom = "{options["bootrom"]}"\n'


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"port": 0}, "bad_address"),
        ({"timeout": 0}, "bad_description"),
        ({"supervisor": "runit"}, "unknown_supervisor"),
        ({"executable": "/nonexistent"}, "executable_missing"),
        ({"address": "[::]"}, "wildcard_address"),
    ],
)
def test_bad_input_fails_with_one_sentence_and_a_code(
    options: dict[str, Any], changes: dict[str, Any], code: str
) -> None:
    result = run(options, **changes)
    assert result["failed"] is True
    assert result["changed"] is False
    assert result["failure"]["code"] == code
    assert result["msg"] == result["failure"]["message"]


def test_an_address_is_needed_to_start(options: dict[str, Any]) -> None:
    result = run({key: value for key, value in options.items() if key != "address"})
    assert "address" in result["msg"]
    assert json.dumps(result)
