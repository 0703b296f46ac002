# SPDX-License-Identifier: GPL-3.0-or-later
"""The process supervisor, against real processes."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.limits import OpenFileLimitError
from ansible_collections.apiary.propolis.plugins.module_utils.supervisors import choose, identity
from ansible_collections.apiary.propolis.plugins.module_utils.supervisors.process import ProcessSupervisor
from ansible_collections.apiary.propolis.plugins.module_utils.supervisors.service import (
    InvalidServiceError,
    NotStartableError,
    NotStoppableError,
    Service,
    SupervisorError,
    UnknownSupervisorError,
)
from ansible_collections.apiary.propolis.plugins.module_utils.waiting import wait_until

SLEEPER = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)")
STUBBORN = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
)


@pytest.fixture
def supervisor(tmp_path):
    supervisor = ProcessSupervisor(tmp_path / "run")
    yield supervisor
    for state in (tmp_path / "run").glob("*.json"):
        try:
            supervisor.stop(state.stem, timeout=0.1)
        except SupervisorError:
            continue


def ended(supervisor, name):
    return wait_until(lambda: status if (status := supervisor.status(name)).state == "died" else None, 10)


def up(supervisor, name):
    assert wait_until(lambda: True if supervisor.logs(name) == ["up"] else None, 10)


def test_a_service_that_was_never_started_is_stopped(supervisor):
    assert supervisor.status("ds0").state == "stopped"
    assert supervisor.stop("ds0", timeout=1) is False
    assert supervisor.logs("ds0") == []


def test_a_started_service_runs_in_a_session_of_its_own_and_is_found_again_by_another_run(supervisor):
    status = supervisor.start(Service("ds0", SLEEPER), timeout=1)
    assert status.running
    assert os.getsid(status.pid) == status.pid
    again = ProcessSupervisor(supervisor.run_dir).status("ds0")
    assert (again.state, again.pid, again.argv) == ("running", status.pid, SLEEPER)


def test_starting_twice_starts_once(supervisor):
    first = supervisor.start(Service("ds0", SLEEPER), timeout=1)
    assert supervisor.start(Service("ds0", SLEEPER), timeout=1).pid == first.pid


def test_its_files_can_be_read_by_nobody_else(supervisor):
    supervisor.start(Service("ds0", SLEEPER), timeout=1)
    assert stat.S_IMODE(supervisor.run_dir.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in supervisor.run_dir.iterdir()} == {0o600}


def test_a_stopped_service_is_gone_and_its_log_stays(supervisor):
    status = supervisor.start(Service("ds0", SLEEPER), timeout=1)
    up(supervisor, "ds0")
    assert supervisor.stop("ds0", timeout=5) is True
    assert identity.start_time(status.pid) is None
    assert supervisor.status("ds0").state == "stopped"
    assert status.log.read_text() == "up\n"


def test_a_service_that_ignores_sigterm_is_killed_when_the_time_is_over(supervisor):
    status = supervisor.start(Service("ds0", STUBBORN), timeout=1)
    up(supervisor, "ds0")
    assert supervisor.stop("ds0", timeout=0.1) is True
    assert identity.start_time(status.pid) is None


def test_a_service_started_by_an_earlier_run_is_stopped_too(supervisor, tmp_path):
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from ansible_collections.apiary.propolis.plugins.module_utils.supervisors import choose\n"
        "from ansible_collections.apiary.propolis.plugins.module_utils.supervisors.service import Service\n"
        "choose('process', sys.argv[1]).start(Service('ds0', [sys.executable, '-c', 'import time; time.sleep(600)']),"
        " timeout=1)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program, str(supervisor.run_dir)], check=True, env=environment)
    status = supervisor.status("ds0")
    assert status.running
    assert supervisor.stop("ds0", timeout=5) is True
    assert identity.start_time(status.pid) is None


def test_a_program_that_ends_at_once_is_reported_with_its_exit_status_and_its_last_lines(supervisor):
    supervisor.start(Service("ds0", ["sh", "-c", "echo one; echo two >&2; exit 3"]), timeout=1)
    assert ended(supervisor, "ds0").exit == "exit status 3"
    assert supervisor.logs("ds0") == ["one", "two"]


def test_a_program_that_is_killed_is_reported_with_the_signal(supervisor):
    status = supervisor.start(Service("ds0", SLEEPER), timeout=1)
    os.kill(status.pid, signal.SIGKILL)
    assert ended(supervisor, "ds0").exit == "signal SIGKILL"


def test_a_died_service_is_started_again_and_its_log_begins_anew_for_the_reader(supervisor):
    supervisor.start(Service("ds0", ["sh", "-c", "echo first"]), timeout=1)
    ended(supervisor, "ds0")
    supervisor.start(Service("ds0", SLEEPER), timeout=1)
    up(supervisor, "ds0")
    assert (supervisor.run_dir / "ds0.log").read_text() == "first\nup\n"


def test_a_recycled_process_id_is_not_mistaken_for_the_service(supervisor):
    status = supervisor.start(Service("ds0", SLEEPER), timeout=1)
    state = supervisor.run_dir / "ds0.json"
    found = json.loads(state.read_text())
    supervisor.stop("ds0", timeout=5)
    state.write_text(json.dumps(found | {"pid": os.getpid()}))
    assert supervisor.status("ds0").state == "died"
    assert supervisor.stop("ds0", timeout=1) is False
    assert identity.start_time(os.getpid()) is not None
    assert status.pid != os.getpid()


def test_a_missing_program_is_named_and_nothing_is_kept(supervisor):
    with pytest.raises(NotStartableError, match="/nowhere/crucible-downstairs cannot be run: No such file"):
        supervisor.start(Service("ds0", ["/nowhere/crucible-downstairs"]), timeout=1)
    assert supervisor.status("ds0").state == "stopped"


def test_a_program_that_is_not_executable_is_named(supervisor, tmp_path):
    (tmp_path / "program").write_text("no program")
    with pytest.raises(NotStartableError, match="program cannot be run: Permission denied"):
        supervisor.start(Service("ds0", [str(tmp_path / "program")]), timeout=1)


def test_a_missing_working_directory_is_named(supervisor, tmp_path):
    with pytest.raises(NotStartableError, match=r"working directory .*nowhere: No such file"):
        supervisor.start(Service("ds0", SLEEPER, cwd=tmp_path / "nowhere"), timeout=1)


def test_a_service_without_a_command_is_refused(supervisor):
    with pytest.raises(InvalidServiceError, match="no command"):
        supervisor.start(Service("ds0", []), timeout=1)


@pytest.mark.parametrize("name", ["", "../ds0", "a/b", ".hidden", "a b", "-x"])
def test_a_name_that_is_no_file_name_is_refused(supervisor, name):
    with pytest.raises(InvalidServiceError, match="cannot name a service"):
        supervisor.status(name)


def test_a_run_directory_that_others_can_write_is_refused(supervisor):
    supervisor.run_dir.mkdir()
    supervisor.run_dir.chmod(0o777)
    with pytest.raises(SupervisorError, match="can be written by others"):
        supervisor.start(Service("ds0", SLEEPER), timeout=1)


def test_a_run_directory_that_is_a_file_is_named(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(SupervisorError, match=r"run_dir: .*run cannot be made"):
        ProcessSupervisor(tmp_path / "run").start(Service("ds0", SLEEPER), timeout=1)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1}', "\ufffd"])
def test_a_damaged_state_file_is_named_and_nothing_is_started(supervisor, content):
    supervisor.run_dir.mkdir(mode=0o700)
    (supervisor.run_dir / "ds0.json").write_text(content)
    with pytest.raises(SupervisorError, match="not a state file of ours"):
        supervisor.start(Service("ds0", SLEEPER), timeout=1)
    (supervisor.run_dir / "ds0.json").unlink()


def test_the_open_file_limit_reaches_the_program_and_ours_is_as_before(supervisor):
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = before[1]
    supervisor.start(Service("ds0", ["sh", "-c", "ulimit -n"], open_files=wanted), timeout=1)
    ended(supervisor, "ds0")
    assert supervisor.logs("ds0") == [str(wanted)]
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_a_limit_that_the_host_does_not_allow_is_named_with_both_numbers(supervisor, monkeypatch):
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _unused: (256, 1024))
    with pytest.raises(OpenFileLimitError, match="ds0 needs 4013 open files, this host allows 1024") as caught:
        supervisor.start(Service("ds0", SLEEPER, open_files=4013), timeout=1)
    assert caught.value.code == "open_file_limit"


def test_the_environment_is_small_and_has_what_was_asked_for(supervisor, monkeypatch):
    monkeypatch.setenv("A_SECRET_OF_THE_CALLER", "x")
    supervisor.start(Service("ds0", ["env"], env={"RUST_BACKTRACE": "1"}), timeout=1)
    ended(supervisor, "ds0")
    lines = supervisor.logs("ds0", 100)
    assert "RUST_BACKTRACE=1" in lines
    assert not any("SECRET" in line for line in lines)


def test_a_second_starter_waits_and_then_says_who_is_in_the_way(supervisor):
    import fcntl

    supervisor.run_dir.mkdir(mode=0o700)
    with (supervisor.run_dir / "ds0.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SupervisorError, match="somebody else has been starting or stopping it"):
            supervisor.start(Service("ds0", SLEEPER), timeout=0.05)


def test_forgetting_removes_the_state_of_a_died_service_and_refuses_a_running_one(supervisor):
    supervisor.start(Service("ds0", SLEEPER), timeout=1)
    with pytest.raises(NotStoppableError, match="still runs"):
        supervisor.forget("ds0")
    supervisor.stop("ds0", timeout=5)
    assert supervisor.forget("ds0") is False
    supervisor.start(Service("ds0", ["true"]), timeout=1)
    ended(supervisor, "ds0")
    assert supervisor.forget("ds0") is True
    assert supervisor.status("ds0").state == "stopped"


def test_a_long_log_is_set_aside_at_the_next_start(supervisor, monkeypatch):
    monkeypatch.setattr("ansible_collections.apiary.propolis.plugins.module_utils.supervisors.process._LOG_KEPT", 2)
    supervisor.start(Service("ds0", ["sh", "-c", "echo first"]), timeout=1)
    ended(supervisor, "ds0")
    supervisor.start(Service("ds0", ["sh", "-c", "echo second"]), timeout=1)
    ended(supervisor, "ds0")
    assert supervisor.logs("ds0") == ["second"]
    assert (supervisor.run_dir / "ds0.log.1").read_text() == "first\n"


def test_a_process_of_another_user_is_named(supervisor, monkeypatch):
    status = supervisor.start(Service("ds0", SLEEPER), timeout=1)

    def refuse(*_unused: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "killpg", refuse)
        with pytest.raises(NotStoppableError, match=f"process {status.pid} belongs to another user"):
            supervisor.stop("ds0", timeout=1)


def test_the_registry_knows_process_and_names_what_it_knows(tmp_path):
    assert isinstance(choose("process", tmp_path), ProcessSupervisor)
    with pytest.raises(UnknownSupervisorError, match="'runit' is not known; use one of: process"):
        choose("runit", tmp_path)


def test_a_process_of_illumos_is_named_by_the_start_in_its_psinfo(tmp_path: Path):
    psinfo = bytearray(416)
    psinfo[4:8] = (3).to_bytes(4, sys.byteorder)
    psinfo[88:96] = (1700000000).to_bytes(8, sys.byteorder)
    psinfo[96:104] = (42).to_bytes(8, sys.byteorder)
    psinfo[152:168] = b"propolis-server\0"
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "psinfo").write_bytes(psinfo)
    assert identity.start_time(7, tmp_path) == "1700000000.000000042"
    assert identity.command_line(7, tmp_path) == "propolis-server"
    psinfo[4:8] = bytes(4)
    (tmp_path / "7" / "psinfo").write_bytes(psinfo)
    assert identity.start_time(7, tmp_path) is None


def test_a_process_name_with_parentheses_does_not_confuse_linux(tmp_path: Path):
    (tmp_path / "7").mkdir()
    rest = " ".join(["S", *map(str, range(4, 22)), "987654"])
    (tmp_path / "7" / "stat").write_text(f"7 (evil) name) {rest} 0 0")
    assert identity.start_time(7, tmp_path) == "unknown-boot/987654"
    (tmp_path / "7" / "stat").write_text("7 (x) Z 1")
    assert identity.start_time(7, tmp_path) is None
    assert identity.start_time(8, tmp_path) is None
    assert identity.command_line(8, tmp_path) == ""


def test_a_state_file_that_cannot_be_written_ends_what_was_started(supervisor, monkeypatch):
    from ansible_collections.apiary.propolis.plugins.module_utils.supervisors import process

    started = []
    real = process._spawn

    def spawn(*arguments):
        started.append(real(*arguments))
        return started[0]

    def full(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(process, "_spawn", spawn)
    monkeypatch.setattr(process, "write_atomically", full)
    with pytest.raises(SupervisorError, match=r"cannot be written \(No space left on device\), so it was ended again"):
        supervisor.start(Service("ds0", SLEEPER), timeout=1)
    assert started[0].poll() is not None


@pytest.mark.parametrize(
    ("name", "sentence"), [("ds0.log", "its log .* cannot be opened"), ("ds0.lock", "cannot be opened")]
)
def test_a_file_that_is_a_directory_is_named(supervisor, name, sentence):
    (supervisor.run_dir / name).mkdir(parents=True)
    supervisor.run_dir.chmod(0o700)
    with pytest.raises(SupervisorError, match=sentence):
        supervisor.start(Service("ds0", SLEEPER), timeout=1)


def test_a_state_file_that_is_a_directory_is_named(supervisor):
    (supervisor.run_dir / "ds0.json").mkdir(parents=True)
    with pytest.raises(SupervisorError, match=r"ds0\.json cannot be read: Is a directory"):
        supervisor.status("ds0")
    (supervisor.run_dir / "ds0.json").rmdir()


def test_a_process_that_survives_everything_is_told(supervisor, monkeypatch):
    from ansible_collections.apiary.propolis.plugins.module_utils.supervisors import process

    status = supervisor.start(Service("ds0", SLEEPER), timeout=1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "killpg", lambda *_unused: None)
        patch.setattr(process, "_AFTER_SIGKILL", 0.05)
        with pytest.raises(NotStoppableError, match=f"process {status.pid} is still there 0.05 s after SIGKILL"):
            supervisor.stop("ds0", timeout=0.05)
    assert supervisor.status("ds0").running


def test_a_process_that_ends_by_itself_while_it_is_stopped_is_no_trouble(supervisor, monkeypatch):
    status = supervisor.start(Service("ds0", SLEEPER), timeout=1)
    real = os.killpg

    def late(pid, number):
        real(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise ProcessLookupError

    monkeypatch.setattr(os, "killpg", late)
    assert supervisor.stop("ds0", timeout=1) is True
    assert identity.start_time(status.pid) is None


def test_an_end_is_waited_for_without_process_handles_too(supervisor, monkeypatch):
    monkeypatch.delattr(os, "pidfd_open")
    status = supervisor.start(Service("ds0", SLEEPER), timeout=1)
    assert supervisor.stop("ds0", timeout=5) is True
    assert identity.start_time(status.pid) is None
