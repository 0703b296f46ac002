# SPDX-License-Identifier: GPL-3.0-or-later
"""The module crucible_downstairs against the lab's program of both ages, strangers, and programs that fail."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.supervisors.process import ProcessSupervisor
from ansible_collections.apiary.propolis.plugins.module_utils.waiting import wait_until
from ansible_collections.apiary.propolis.plugins.modules import crucible_downstairs
from lab_downstairs import ADDRESS, AGES, executable, free_port
from module_runner import run_module
from regions_on_disk import UUID, definition, extent_file, make_raw, make_sqlite
from shared import PYTHON


@pytest.fixture(params=AGES)
def age(request):
    return request.param


@pytest.fixture
def downstairs(tmp_path):
    port = free_port()

    def run(state="started", check=False, age="today", **options):
        given = {
            "name": "ds0", "path": str(tmp_path / "r"), "address": ADDRESS, "port": port, "uuid": UUID,
            "state": state, "run_dir": str(tmp_path / "run"), "executable": executable(tmp_path, age),
            "timeout": 20, **options,
        }  # fmt: skip
        return run_module(crucible_downstairs, check, **given)

    run.port = port
    yield run
    for state_file in (tmp_path / "run").glob("*.json"):
        ProcessSupervisor(tmp_path / "run").stop(state_file.stem, timeout=1)


def make(tmp_path, age="today"):
    return (make_raw if age == "today" else make_sqlite)(tmp_path / "r")


def script(tmp_path, text):
    path = tmp_path / "other-downstairs"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_downstairs_is_started_once_and_stopped_once(downstairs, tmp_path, age):
    make(tmp_path, age)
    first = downstairs(age=age)
    assert first["changed"]
    assert first["downstairs"]["state"] == "running"
    assert (first["downstairs"]["repair_port"], first["downstairs"]["uuid"]) == (downstairs.port + 4000, UUID)
    with socket.create_connection((ADDRESS, downstairs.port), 5):
        pass
    second = downstairs(age=age)
    assert not second["changed"]
    assert second["downstairs"] == first["downstairs"]
    assert downstairs("stopped")["changed"]
    assert not downstairs("stopped")["changed"]
    assert downstairs("absent")["changed"] is False


def test_check_mode_starts_stops_and_restarts_nothing(downstairs, tmp_path):
    make(tmp_path)
    told = downstairs(check=True)
    assert (told["changed"], told["downstairs"]["pid"]) == (True, None)
    assert not (tmp_path / "run").exists()
    pid = downstairs()["downstairs"]["pid"]
    assert not downstairs(check=True)["changed"]
    assert downstairs("restarted", check=True)["downstairs"]["pid"] == pid
    assert downstairs("stopped", check=True)["changed"]
    assert downstairs("absent", check=True)["changed"]
    assert downstairs()["downstairs"]["pid"] == pid


@pytest.mark.parametrize("begun", [False, True], ids=["no region", "half a region of a run that died"])
def test_check_mode_looks_at_program_and_ports_where_a_region_is_still_to_be_made(downstairs, tmp_path, begun):
    if begun:
        extent_file(make(tmp_path), 1).unlink()
        (tmp_path / "r.making").touch()
    told = downstairs(check=True)
    assert (told["changed"], told["downstairs"]["pid"]) == (True, None)
    assert downstairs(check=True, executable="/nowhere")["failure"]["code"] == "program_missing"
    with socket.create_server((ADDRESS, downstairs.port + 4000)):
        assert downstairs(check=True)["failure"]["code"] == "port_in_use"
    assert not (tmp_path / "run").exists()


def test_a_restart_is_a_new_process(downstairs, tmp_path, age):
    make(tmp_path, age)
    before = downstairs(age=age)["downstairs"]["pid"]
    told = downstairs("restarted", age=age)
    assert told["changed"]
    assert told["downstairs"]["pid"] not in (before, None)
    assert told["diff"] == {"before": {"state": "running"}, "after": {"state": "running"}}


def test_a_restart_that_cannot_work_leaves_the_old_process_alone(downstairs, tmp_path):
    make(tmp_path)
    before = downstairs()["downstairs"]["pid"]
    assert downstairs("restarted", executable="/nowhere")["failure"]["code"] == "program_missing"
    assert downstairs()["downstairs"]["pid"] == before


def test_a_restart_on_another_port_moves_it(downstairs, tmp_path):
    make(tmp_path)
    downstairs()
    other = free_port()
    assert downstairs("restarted", port=other)["downstairs"]["port"] == other
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((ADDRESS, downstairs.port), 1)


def test_a_running_one_with_another_command_line_is_not_touched(downstairs, tmp_path):
    make(tmp_path)
    before = downstairs()["downstairs"]["pid"]
    told = downstairs(mode="ro")
    assert told["failure"]["code"] == "runs_otherwise"
    assert "use state=restarted" in told["msg"]
    assert downstairs()["downstairs"]["pid"] == before


def test_one_that_was_killed_is_started_again(downstairs, tmp_path):
    make(tmp_path)
    pid = downstairs()["downstairs"]["pid"]
    os.kill(pid, signal.SIGKILL)
    supervisor = ProcessSupervisor(tmp_path / "run")
    assert wait_until(lambda: True if supervisor.status("ds0").state == "died" else None, 5)
    assert downstairs("absent", check=True)["changed"]
    told = downstairs()
    assert told["changed"]
    assert told["downstairs"]["pid"] != pid


def test_one_that_died_is_forgotten_by_absent(downstairs, tmp_path):
    make(tmp_path)
    pid = downstairs()["downstairs"]["pid"]
    os.kill(pid, signal.SIGKILL)
    supervisor = ProcessSupervisor(tmp_path / "run")
    assert wait_until(lambda: True if supervisor.status("ds0").state == "died" else None, 5)
    assert downstairs("absent")["changed"]
    assert not downstairs("absent")["changed"]


def test_another_region_than_expected_is_not_served(downstairs, tmp_path):
    make(tmp_path)
    told = downstairs(uuid=UUID.replace("1", "2"))
    assert told["failure"]["code"] == "foreign_region"
    assert downstairs(uuid="x")["msg"].startswith("uuid: found 'x'")


def test_an_incomplete_region_is_not_served(downstairs, tmp_path):
    make(tmp_path)
    extent_file(tmp_path / "r", 2).unlink()
    told = downstairs()
    assert told["failure"]["code"] == "region_incomplete"
    assert downstairs(path=str(tmp_path / "nowhere"))["failure"]["code"] == "no_region"


@pytest.mark.parametrize("offset", [0, 4000])
def test_a_port_in_use_by_a_stranger_is_named_with_its_owner(downstairs, tmp_path, offset):
    make(tmp_path)
    with socket.create_server((ADDRESS, downstairs.port + offset)):
        told = downstairs()
    assert told["failure"]["code"] == "port_in_use"
    assert f"process {os.getpid()} (" in told["msg"]
    assert told["failure"]["details"]["processes"][0]["pid"] == os.getpid()
    assert not (tmp_path / "run").exists()


def test_an_address_of_another_host_is_named(downstairs, tmp_path):
    make(tmp_path)
    told = downstairs(address="203.0.113.7")
    assert told["failure"]["code"] == "address_not_here"


@pytest.mark.parametrize(
    ("changed", "code"),
    [({"address": "0.0.0.0"}, "wildcard_address"), ({"address": "::"}, "wildcard_address"),
     ({"address": "localhost"}, "invalid_volume"), ({"port": 61536}, "invalid_volume"), ({"port": 0}, "invalid_volume"),
     ({"supervisor": "smf"}, "unknown_supervisor"), ({"name": "../x"}, "invalid_service")],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_anything_is_started(downstairs, tmp_path, changed, code):
    make(tmp_path)
    assert downstairs(**changed)["failure"]["code"] == code
    assert not (tmp_path / "run").exists()


def test_a_wildcard_is_allowed_when_asked_for(downstairs, tmp_path):
    make(tmp_path)
    assert downstairs(address="0.0.0.0", allow_wildcard=True)["downstairs"]["state"] == "running"


def test_a_region_that_another_process_has_open_is_not_served(downstairs, tmp_path):
    make(tmp_path)
    with extent_file(tmp_path / "r", 0).open():
        told = downstairs()
    assert told["failure"]["code"] == "region_in_use"
    assert told["failure"]["details"]["pid"] == os.getpid()


def test_two_of_ours_on_one_region_are_not_started(downstairs, tmp_path):
    make(tmp_path)
    downstairs()
    told = downstairs(name="ds1", port=free_port())
    assert told["failure"]["code"] == "region_in_use"


def test_one_that_ends_at_once_is_told_with_its_last_words(downstairs, tmp_path):
    make(tmp_path)
    told = downstairs(
        executable=script(
            tmp_path, 'echo "{\\"msg\\":\\"opening\\"}"; echo "Error: Address already in use (os error 98)" >&2; exit 1'
        )
    )
    assert told["failure"]["code"] == "port_in_use"
    assert "ended at once (exit status 1): Address already in use (os error 98)" in told["msg"]
    assert told["failure"]["details"]["log"] == ["opening", "Error: Address already in use (os error 98)"]


def test_one_that_ends_at_once_for_an_unknown_reason_is_told(downstairs, tmp_path):
    make(tmp_path)
    told = downstairs(executable=script(tmp_path, "kill -ABRT $$"))
    assert told["failure"]["code"] == "died"
    assert "signal SIGABRT" in told["msg"]


def test_one_that_does_not_get_ready_in_time_is_told_with_what_was_seen_last(downstairs, tmp_path):
    make(tmp_path)
    told = downstairs(executable=script(tmp_path, "exec sleep 600"), timeout=0.3)
    assert told["failure"]["code"] == "timed_out"
    assert f"http://{ADDRESS}:{downstairs.port + 4000} does not answer: Connection refused" in told["msg"]


ANSWERS = """
import http.server, json, sys
answers = json.loads(sys.argv[1])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = answers.get(self.path, [404, "{}"])
        self.send_response(status); self.end_headers(); self.wfile.write(body.encode())
    def log_message(self, *args): pass
port = int(sys.argv[sys.argv.index("--port") + 1]) + 4000
http.server.HTTPServer((sys.argv[sys.argv.index('--address') + 1], port), Handler).serve_forever()
"""


@pytest.mark.parametrize(
    ("answers", "code", "sentence"),
    [
        ({"/region-info": [200, json.dumps(definition(uuid=UUID.replace("1", "2")))]}, "foreign_region", "answers for"),
        ({"/region-info": [200, "<html></html>"]}, "repair_api", "is another program listening there"),
        ({"/extent/0/files": [200, '["001"]']}, "repair_api", "expected the files of extent 000"),
        ({"/extent/0/files": [200, "<html></html>"]}, "repair_api", "an HTML page"),
    ],
)
def test_one_that_answers_as_somebody_else_is_not_ready(downstairs, tmp_path, answers, code, sentence):
    make(tmp_path)
    (tmp_path / "answers.py").write_text(ANSWERS)
    quoted = json.dumps(answers).replace("'", "'\\''")
    told = downstairs(executable=script(tmp_path, f"exec {PYTHON} {tmp_path}/answers.py '{quoted}' \"$@\""))
    assert told["failure"]["code"] == code
    assert sentence in told["msg"]


def test_one_started_by_another_run_is_known(downstairs, tmp_path):
    make(tmp_path)
    downstairs()
    listed = subprocess.run(["ls", str(tmp_path / "run")], capture_output=True, text=True, check=True).stdout.split()
    assert listed == ["ds0.json", "ds0.lock", "ds0.log"]
    assert not downstairs()["changed"]
