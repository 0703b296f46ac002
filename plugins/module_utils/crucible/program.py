# SPDX-License-Identifier: GPL-3.0-or-later
"""Running crucible-downstairs for one job: create, dump, version. (Serving a region is the supervisor's work.)"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..exits import describe_exit, why_not_run
from ..threads import start_deaf
from . import output
from .dump import Dump, parse_dump
from .errors import InvalidValueError, ProgramError
from .geometry import Geometry

_DIFFERENT = "Difference in extent metadata found!"
_LINES_KEPT = 12
_STDOUT = 1
_NOBODY_READS = select.POLLHUP | select.POLLERR


@dataclass(frozen=True)
class Outcome:
    """How a run of the program ended. A negative ``exit_status`` is the number of a signal."""

    command: tuple[str, ...]
    exit_status: int
    stdout: str
    stderr: str

    def failure(self, what: str) -> ProgramError:
        """The error that says what was tried, what the program said, and what to do."""
        meaning = output.complaint(self.stderr) or output.complaint(self.stdout)
        said = output.error_line(self.stderr or self.stdout)
        sentence = f"{what} failed ({describe_exit(self.exit_status)}): {said}"
        lines = output.log_messages([*self.stdout.splitlines(), *self.stderr.splitlines()])
        return ProgramError(
            f"{sentence} - {meaning.sentence}." if meaning else f"{sentence.rstrip('.')}.",
            code=meaning.code if meaning else None,
            details={"exit_status": self.exit_status, "command": list(self.command), "output": lines[-_LINES_KEPT:]},
        )


@contextmanager
def _ended_with_us() -> Iterator[Callable[[int], None]]:
    """A signal that ends this process, such as Ansible's after Ctrl-C, ends the processes of a session before.

    They would go on without us, perhaps for an hour, and whoever runs the play again would find the region in use.
    Yields a function that is to be told the session as soon as it is there.
    """
    sessions: list[int] = []
    ending: list[int] = []

    def end(number: int, _frame: object) -> None:
        ending.append(number)
        for session in sessions:
            with suppress(ProcessLookupError):
                os.killpg(session, signal.SIGKILL)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def begun(session: int) -> None:
        sessions.append(session)
        if ending:  # while the program was being started
            end(ending[0], None)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    try:
        yield begun
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if ending and not sessions:  # it could not be started
            os.kill(os.getpid(), ending[0])


@contextmanager
def _hung_up_when_nobody_reads() -> Iterator[None]:
    """When whoever should read our result has left, this process gets SIGHUP, as if its terminal had gone.

    Without a terminal, as Ansible mostly works over ssh, that is all that is seen of a connection that has ended.
    """
    ended, end = os.pipe()
    watched = select.poll()
    watched.register(_STDOUT, 0)
    watched.register(ended, select.POLLHUP)

    def watch() -> None:
        if any(descriptor == _STDOUT and event & _NOBODY_READS for descriptor, event in watched.poll()):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGHUP)

    watcher = start_deaf(watch)
    try:
        yield
    finally:
        os.close(end)
        watcher.join()
        os.close(ended)


class DownstairsProgram:
    """One executable, of either age. Every method raises ProgramError; nothing runs longer than ``timeout`` seconds."""

    def __init__(self, executable: str, timeout: float) -> None:
        self.executable = executable
        self.timeout = timeout

    def check_present(self) -> None:
        """Raise InvalidValueError when there is no such program, before anything is changed for its sake."""
        if shutil.which(self.executable) is None:
            there = Path(self.executable).exists()
            raise self._not_executable("no permission to run it") if there else self._missing()

    def version(self) -> output.Version:
        """What program it is. Those of January 2023 have no such subcommand, which tells their age."""
        outcome = self._run(["version"])
        if outcome.exit_status == 0:
            return output.parse_version(outcome.stdout)
        if output.knows_no_subcommand(outcome.stderr):
            return output.OF_2023
        raise outcome.failure(f"{self.executable} version")

    def create(
        self, path: Path, uuid: str, geometry: Geometry, *, image: Path | None = None, clone_source: str | None = None
    ) -> output.ImportReport | None:
        """Make a region. With ``image`` (a file that is known to be there) it is imported and reported."""
        arguments = ["create", "--data", str(path), "--uuid", uuid, "--block-size", str(geometry.block_size)]
        arguments += ["--extent-size", str(geometry.blocks_per_extent), "--extent-count", str(geometry.extent_count)]
        if geometry.encrypted:
            arguments.append("--encrypted")
        if image is not None:
            arguments += ["--import-path", str(image)]
        if clone_source is not None:
            arguments += ["--clone-source", clone_source]
        outcome = self._run(arguments)
        if outcome.exit_status != 0:
            raise outcome.failure(f"creating the region {path}")
        return output.parse_import(outcome.stdout) if image is not None else None

    def dump(self, paths: Sequence[Path]) -> Dump:
        """Stored generations of one to three regions. That they differ (exit status 1) is an answer, not an error."""
        arguments = ["dump", "--no-color"]
        for path in paths:
            arguments += ["--data", str(path)]
        outcome = self._run(arguments)
        if outcome.exit_status == 0 or (outcome.exit_status == 1 and _DIFFERENT in outcome.stderr):
            return parse_dump(outcome.stdout)
        raise outcome.failure(f"dump of {', '.join(map(str, paths))}")

    def _run(self, arguments: list[str]) -> Outcome:
        command = (self.executable, *arguments)
        with _ended_with_us() as begun, _hung_up_when_nobody_reads():
            child = self._start(command)
            begun(child.pid)
            try:
                stdout, stderr = child.communicate(timeout=self.timeout)
            except subprocess.TimeoutExpired as error:
                # All of its session: what a wrapper script started would keep the pipes, and us, waiting.
                os.killpg(child.pid, signal.SIGKILL)
                child.communicate()
                raise ProgramError(
                    f"{' '.join(command[:2])} did not end within {self.timeout:g} s and was killed; raise 'timeout'.",
                    code="timed_out",
                ) from error
        return Outcome(command, child.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace"))

    def _start(self, command: tuple[str, ...]) -> subprocess.Popen[bytes]:
        try:
            # Ansible's run_command is not known here: this is code without Ansible.
            return subprocess.Popen(  # pylint: disable=ansible-bad-function
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env={key: value for key, value in os.environ.items() if key != "RUST_BACKTRACE"},
                start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise self._missing() from error
        except OSError as error:
            raise self._not_executable(why_not_run(error)) from error

    def _missing(self) -> InvalidValueError:
        return InvalidValueError(
            "executable", self.executable, "a program that is there", code="program_missing",
            hint="give its full path or install it in a directory of PATH; nothing was changed",
        )  # fmt: skip

    def _not_executable(self, reason: str) -> InvalidValueError:
        return InvalidValueError(
            "executable", self.executable, f"a program that can be run ({reason})", code="program_not_executable",
            hint="nothing was changed",
        )  # fmt: skip
