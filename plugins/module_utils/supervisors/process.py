# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor without a service manager: a detached process, a state file that names it, a log file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ..exits import describe_exit, why_not_run
from ..failures import shown
from ..files import write_atomically
from ..limits import open_files
from ..waiting import wait_until
from .identity import start_time
from .service import InvalidServiceError, NotStartableError, NotStoppableError, Service, Status, SupervisorError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_KEPT_ENVIRONMENT = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR")
_LOG_KEPT = 16 * 1024 * 1024
_TAIL = 64 * 1024
_AFTER_SIGKILL = 5.0


@dataclass(frozen=True)
class _Started:
    """The state file ``<name>.json``: which process was started, when, and where its part of the log begins."""

    pid: int
    start_time: str
    argv: tuple[str, ...]
    log: str
    log_offset: int


class ProcessSupervisor:
    """Services as plain processes in a session of their own, so that they outlive the task that started them.

    Everything is kept in ``run_dir``: ``<name>.json`` (state), ``<name>.log``, ``<name>.lock``.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def status(self, name: str) -> Status:
        _check_name(name)
        started = self._read(name)
        if started is None:
            return Status("stopped", log=self._existing_log(name))
        log = Path(started.log)
        if start_time(started.pid) == started.start_time:
            return Status("running", started.pid, started.argv, log)
        return Status("died", started.pid, started.argv, log, self._exit_of(name))

    def start(self, service: Service, *, timeout: float) -> Status:
        _check_name(service.name)
        self._make_run_dir()
        with self._locked(service.name, timeout):
            status = self.status(service.name)
            return status if status.running else self._launch(service)

    def stop(self, name: str, *, timeout: float) -> bool:
        _check_name(name)
        if not self.run_dir.is_dir():
            return False
        with self._locked(name, timeout):
            status = self.status(name)
            if status.running and status.pid is not None:
                started = self._read(name)
                self._end(name, status.pid, started.start_time if started else "", timeout)
            self._state_file(name).unlink(missing_ok=True)
            return status.running

    def forget(self, name: str) -> bool:
        status = self.status(name)
        if status.running:
            raise NotStoppableError(f"{name}: still runs as process {status.pid}; stop it before it is forgotten.")
        known = self._state_file(name).exists()
        self._state_file(name).unlink(missing_ok=True)
        return known

    def logs(self, name: str, lines: int = 20) -> list[str]:
        _check_name(name)
        started = self._read(name)
        path = Path(started.log) if started else self._log_file(name)
        offset = started.log_offset if started else 0
        try:
            with path.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(offset if offset <= end else 0, end - _TAIL))
                return file.read().decode(errors="replace").splitlines()[-lines:]
        except FileNotFoundError:
            return []

    # -- files ---------------------------------------------------------------------------------------------------------

    def _state_file(self, name: str) -> Path:
        return self.run_dir / f"{name}.json"

    def _log_file(self, name: str) -> Path:
        return self.run_dir / f"{name}.log"

    def _existing_log(self, name: str) -> Path | None:
        return self._log_file(name) if self._log_file(name).exists() else None

    def _make_run_dir(self) -> None:
        try:
            self.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.run_dir.stat()
        except OSError as error:
            raise SupervisorError(f"run_dir: {self.run_dir} cannot be made: {error.strerror}.") from error
        if found.st_mode & 0o022 and not found.st_mode & 0o1000:
            raise SupervisorError(
                f"run_dir: {self.run_dir} can be written by others (mode {found.st_mode & 0o7777:04o}), so anybody "
                "could make us signal a process of their choice; use a directory with mode 0700."
            )

    @contextlib.contextmanager
    def _locked(self, name: str, timeout: float) -> Iterator[None]:
        path = self.run_dir / f"{name}.lock"
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SupervisorError(f"run_dir: {path} cannot be opened: {error.strerror}.") from error
        try:
            if wait_until(lambda: _try_lock(handle), timeout) is None:
                raise SupervisorError(
                    f"{name}: somebody else has been starting or stopping it for more than {timeout:g} s "
                    f"(lock {path}); try again when that is over.",
                    code="locked",
                )
            yield
        finally:
            os.close(handle)

    def _read(self, name: str) -> _Started | None:
        path = self._state_file(name)
        try:
            found = json.loads(path.read_bytes())
            return _Started(
                int(found["pid"]), str(found["start_time"]), tuple(map(str, found["argv"])), str(found["log"]),
                int(found["log_offset"]),
            )  # fmt: skip
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SupervisorError(f"{name}: {path} cannot be read: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise SupervisorError(
                f"{name}: {path} is not a state file of ours ({shown(error)}); "
                "look whether the service runs, then remove the file."
            ) from error

    # -- processes -----------------------------------------------------------------------------------------------------

    def _launch(self, service: Service) -> Status:
        log = self._log_file(service.name)
        environment = {key: os.environ[key] for key in _KEPT_ENVIRONMENT if key in os.environ} | dict(service.env)
        try:
            if log.exists() and log.stat().st_size > _LOG_KEPT:
                log.replace(log.with_suffix(".log.1"))
            output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SupervisorError(f"{service.name}: its log {log} cannot be opened: {error.strerror}.") from error
        try:
            offset = os.fstat(output).st_size
            with open_files(service.name, service.open_files):
                child = _spawn(service, environment, output)
        finally:
            os.close(output)
        self._children[service.name] = child
        argv = tuple(service.argv)
        born = start_time(child.pid)
        started = _Started(child.pid, born or "gone", argv, str(log), offset)
        try:
            write_atomically(self._state_file(service.name), json.dumps(asdict(started)).encode())
        except OSError as error:
            child.kill()
            child.wait()
            raise SupervisorError(
                f"{service.name}: its state file in {self.run_dir} cannot be written ({error.strerror}), "
                "so it was ended again at once."
            ) from error
        return self.status(service.name)

    def _exit_of(self, name: str) -> str | None:
        child = self._children.get(name)
        code = child.poll() if child else None
        return None if code is None else describe_exit(code)

    def _end(self, name: str, pid: int, born: str, timeout: float) -> None:
        for number, patience in ((signal.SIGTERM, timeout), (signal.SIGKILL, _AFTER_SIGKILL)):
            if start_time(pid) != born:
                break
            try:
                # The process leads its own group: what it may have started ends with it.
                os.killpg(pid, number)
            except ProcessLookupError:
                break
            except PermissionError as error:
                raise NotStoppableError(
                    f"{name}: process {pid} belongs to another user; stop it as that user (become_user)."
                ) from error
            if self._wait_for_end(name, pid, born, patience):
                break
        else:
            raise NotStoppableError(f"{name}: process {pid} is still there {_AFTER_SIGKILL:g} s after SIGKILL.")
        if name in self._children:
            self._children.pop(name).wait()

    def _wait_for_end(self, name: str, pid: int, born: str, patience: float) -> bool:
        deadline = time.monotonic() + patience
        if hasattr(os, "pidfd_open"):
            try:
                handle = os.pidfd_open(pid)
            except OSError as error:
                if error.errno == errno.ESRCH:
                    return True
            else:
                try:
                    poller = select.poll()
                    poller.register(handle, select.POLLIN)
                    poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
                finally:
                    os.close(handle)
        left = max(0.0, deadline - time.monotonic())
        return wait_until(lambda: True if start_time(pid) != born else None, left) is True


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidServiceError(
            f"name: '{name}' cannot name a service; use letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit."
        )


def _try_lock(handle: int) -> bool | None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    return True


def _spawn(service: Service, environment: dict[str, str], output: int) -> subprocess.Popen[bytes]:
    """A child in a session of its own. It is re-parented to init when the task that started it ends."""
    program = service.argv[0] if service.argv else ""
    try:
        # Ansible's run_command is not known here: this is code without Ansible, and the process outlives a module.
        return subprocess.Popen(  # pylint: disable=ansible-bad-function
            list(service.argv), stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=service.cwd,
            env=environment, start_new_session=True, close_fds=True,
        )  # fmt: skip
    except IndexError:
        raise InvalidServiceError(f"{service.name}: there is no command to run.") from None
    except OSError as error:
        if service.cwd is not None and str(error.filename) == str(service.cwd):
            raise NotStartableError(f"{service.name}: working directory {service.cwd}: {error.strerror}.") from error
        raise NotStartableError(f"{service.name}: {program} cannot be run: {why_not_run(error)}.") from error
