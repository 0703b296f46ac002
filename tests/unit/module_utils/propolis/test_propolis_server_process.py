# SPDX-License-Identifier: GPL-3.0-or-later
"""A server as a process: what is refused before it starts, when it is ready, and when it may be stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import propolis_samples as samples
import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError
from ansible_collections.apiary.propolis.plugins.module_utils.propolis import server_process
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.address import Address
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.errors import BadAddress
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.server_process import (
    Definition,
    ServerProcessError,
    ServerService,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.server_states import (
    ServerGoal,
    carry_out_server,
    plan_server,
)
from ansible_collections.apiary.propolis.plugins.module_utils.supervisors import choose
from client_fakes import FakePropolis
from shared import python_program

# A program that has the command line of a propolis-server and answers like one that holds what the file says.
PROGRAM = python_program("""import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
host, port = sys.argv[3].rsplit(":", 1)
if os.path.exists("die"):
    print("Error: API version checks")
    sys.exit(1)
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        held = open("held").read() if os.path.exists("held") else None
        body = held or json.dumps({"request_id": "r", "error_code": "NoInstance", "message": "no instance"})
        self.send_response(200 if held else 424)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
HTTPServer((host, int(port)), Handler).serve_forever()
""")


class Place:
    """A directory with a program, a bootrom, and a free port."""

    def __init__(self, path: Path) -> None:
        self.run_dir = path / "run"
        self.program = path / "propolis-server"
        self.program.write_text(PROGRAM)
        self.program.chmod(0o755)
        self.bootrom = path / "rom.fd"
        self.bootrom.write_bytes(bytes(8192))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def service(self, *, timeout: float = 10, force: bool = False, **changes: Any) -> ServerService:
        parts: dict[str, Any] = {
            "name": "vm0",
            "address": Address("127.0.0.1", self.port),
            "executable": str(self.program),
            "bootrom": str(self.bootrom),
            "run_dir": self.run_dir,
        }
        definition = Definition(**{**parts, **changes})
        return ServerService(definition, choose("process", self.run_dir), timeout=timeout, force=force)

    def bring(self, goal: ServerGoal, **changes: Any) -> tuple[bool, str]:
        service = self.service(**changes)
        plan = plan_server(goal, service)
        return plan.changed, carry_out_server(plan, service).state

    def hold(self, state: str) -> None:
        fake = FakePropolis()
        fake.hold(samples.INSTANCE_ID, "vm0", state)
        (self.run_dir / "held").write_text(json.dumps(fake._get(None).body))  # type: ignore[arg-type]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    choose("process", place.run_dir).stop("vm0", timeout=5)


class TestProcesses:
    def test_a_server_is_started_kept_restarted_stopped_and_forgotten(self, place: Place) -> None:
        assert place.bring(ServerGoal.STARTED) == (True, "running")
        first = place.service().status().pid
        assert place.bring(ServerGoal.STARTED) == (False, "running")
        assert place.service().status().pid == first
        assert place.bring(ServerGoal.RESTARTED) == (True, "running")
        assert place.service().status().pid != first
        assert place.bring(ServerGoal.STOPPED) == (True, "stopped")
        assert place.bring(ServerGoal.STOPPED) == (False, "stopped")
        assert place.bring(ServerGoal.ABSENT) == (False, "stopped")

    def test_the_form_of_2023_is_started_with_a_configuration_file_that_only_its_owner_reads(
        self, place: Place
    ) -> None:
        assert place.bring(ServerGoal.STARTED, config={"chipset": {"enable-pcie": True}}) == (True, "running")
        file = place.run_dir / "vm0.toml"
        assert tomllib.loads(file.read_text()) == {"bootrom": str(place.bootrom), "chipset": {"enable-pcie": True}}
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert place.service().status().argv[2] == str(file)
        assert place.bring(ServerGoal.STARTED, config={"chipset": {"enable-pcie": True}}) == (False, "running")
        assert place.bring(ServerGoal.STARTED, config={"chipset": {"enable-pcie": False}}) == (True, "running")
        assert place.bring(ServerGoal.ABSENT) == (True, "stopped")
        assert not file.exists()

    def test_a_server_that_is_described_otherwise_is_restarted(self, place: Place) -> None:
        place.bring(ServerGoal.STARTED)
        assert place.bring(ServerGoal.STARTED, vnc_address="127.0.0.1:5901") == (True, "running")
        assert place.service().status().argv[-1] == "127.0.0.1:5901"

    @pytest.mark.parametrize("goal", [ServerGoal.RESTARTED, ServerGoal.STOPPED, ServerGoal.ABSENT])
    def test_a_server_that_holds_a_live_instance_is_never_ended_unless_forced(
        self, place: Place, goal: ServerGoal
    ) -> None:
        place.bring(ServerGoal.STARTED)
        place.hold("Running")
        pid = place.service().status().pid
        with pytest.raises(ServerProcessError) as caught:
            place.bring(goal)
        assert caught.value.code == "holds_instance"
        assert samples.INSTANCE_ID in caught.value.message
        assert place.service().status().pid == pid
        assert place.bring(goal, force=True)[0]

    def test_a_changed_option_does_not_end_a_live_instance_even_when_the_address_changed(self, place: Place) -> None:
        place.bring(ServerGoal.STARTED)
        place.hold("Migrating")
        with pytest.raises(ServerProcessError, match="Migrating"):
            place.bring(ServerGoal.STARTED, address=Address("127.0.0.1", place.port - 1))

    def test_a_server_whose_instance_is_over_may_be_ended(self, place: Place) -> None:
        place.bring(ServerGoal.STARTED)
        place.hold("Destroyed")
        assert place.bring(ServerGoal.STOPPED) == (True, "stopped")

    def test_a_deaf_server_is_not_ended_because_nobody_can_tell(self, place: Place) -> None:
        place.bring(ServerGoal.STARTED)
        (place.run_dir / "held").write_text("<html>")
        with pytest.raises(ServerProcessError) as caught:
            place.bring(ServerGoal.STOPPED)
        assert caught.value.code == "server_deaf"
        assert caught.value.details["log"]

    def test_a_server_that_ran_and_is_frozen_is_told_long_before_the_time_is_over(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server_process, "_PROBE_TIMEOUT", 0.05)
        place.bring(ServerGoal.STARTED)
        pid = place.service().status().pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(ServerProcessError, match=f"process {pid}.* does not answer, asked 3 times") as caught:
                place.bring(ServerGoal.STARTED, timeout=3600)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert caught.value.code == "server_deaf"
        assert place.service().status().pid == pid

    def test_a_port_in_use_by_a_stranger_is_refused_with_the_stranger_named(self, place: Place) -> None:
        with socket.create_server(("127.0.0.1", place.port)), pytest.raises(ServerProcessError) as caught:
            place.bring(ServerGoal.STARTED)
        assert caught.value.code == "port_in_use"
        assert str(os.getpid()) in caught.value.message
        assert not place.run_dir.exists()

    def test_an_address_of_another_host_is_refused_before_anything_is_started(self, place: Place) -> None:
        with pytest.raises(ServerProcessError) as caught:
            place.bring(ServerGoal.STARTED, address=Address("192.0.2.1", place.port))
        assert caught.value.code == "port_unusable"

    def test_a_server_that_ends_at_once_is_reported_with_its_last_words(self, place: Place) -> None:
        place.run_dir.mkdir(mode=0o700)
        (place.run_dir / "die").touch()
        with pytest.raises(ServerProcessError, match="API version checks") as caught:
            place.bring(ServerGoal.STARTED)
        assert caught.value.code == "ended_at_once"
        assert place.service().status().state == "stopped"

    def test_a_server_that_does_not_become_ready_is_ended_again(self, place: Place) -> None:
        place.program.write_text(python_program("import time\ntime.sleep(60)\n"))
        with pytest.raises(ServerProcessError, match="nothing listens") as caught:
            place.bring(ServerGoal.STARTED, timeout=0.5)
        assert caught.value.code == "not_ready"
        assert not place.service().status().running

    def test_a_configuration_file_that_cannot_be_written_or_read_is_named(self, place: Place) -> None:
        place.run_dir.write_text("in the way")
        with pytest.raises(ServerProcessError, match="cannot be written"):
            place.service(config={}).start()
        place.run_dir.unlink()
        (place.run_dir / "vm0.toml").mkdir(parents=True)
        with pytest.raises(ServerProcessError, match="cannot be read"):
            place.service(config={}).written_config()


def break_bootrom(how: Callable[[Path], None]) -> Callable[[Place], dict[str, Any]]:
    def apply(place: Place) -> dict[str, Any]:
        how(place.bootrom)
        return {}

    return apply


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "code"),
        [
            (lambda place: {"executable": "/nonexistent/propolis-server"}, "executable_missing"),
            (lambda place: {"executable": "no-such-propolis-server"}, "executable_missing"),
            (lambda place: {"executable": str(place.bootrom)}, "executable_not_executable"),
            (lambda place: {"bootrom": None}, "bad_description"),
            (break_bootrom(lambda path: path.unlink()), "bootrom_unusable"),
            (break_bootrom(lambda path: path.write_bytes(b"")), "bootrom_unusable"),
            (break_bootrom(lambda path: path.write_bytes(bytes(4097))), "bootrom_unusable"),
            (break_bootrom(lambda path: path.write_bytes(bytes(2 * 1024 * 1024 + 4096))), "bootrom_unusable"),
            (lambda place: {"bootrom": str(place.run_dir.parent)}, "bootrom_unusable"),
            (lambda place: {"address": Address("alpha", 8000)}, "bad_address"),
            (lambda place: {"address": Address("0.0.0.0", 8000)}, "wildcard_address"),
            (lambda place: {"vnc_address": "alpha:5900"}, "bad_address"),
            (lambda place: {"config": {"bootrom": "/nonexistent"}}, "bootrom_unusable"),
        ],
    )
    def test_what_would_fail_later_is_refused_before_anything_is_started(
        self, place: Place, change: Callable[[Place], dict[str, Any]], code: str
    ) -> None:
        with pytest.raises(CollectionError) as caught:
            place.bring(ServerGoal.STARTED, **change(place))
        assert caught.value.code == code
        assert not place.run_dir.exists()

    def test_a_wildcard_can_be_insisted_on(self, place: Place) -> None:
        definition = place.service(address=Address("0.0.0.0", 8000), allow_wildcard=True).definition
        definition.check_addresses()
        with pytest.raises(BadAddress):
            place.service(address=Address("::", 8000)).definition.check_addresses()

    def test_a_bootrom_that_this_user_cannot_read_is_refused(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Root, whom some of these tests run as, may read everything: so the system's answer is what is replaced.
        monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(place.bootrom))
        with pytest.raises(ServerProcessError, match="cannot be read"):
            place.service().definition.check_startable()
