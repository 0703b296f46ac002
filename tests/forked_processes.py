# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that are forked from one that has loaded already what they need: the standard library's ``forkserver``.

The tests start hundreds of processes that would spend most of their time on loading the same files as the one before.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_chosen: list[str] = []
"""What the server of this process has loaded, or will have: there is one, and it is for programs of one kind."""


class ForkedProcess:
    """What the tests use of a ``subprocess.Popen``."""

    def __init__(self, do: Callable[..., Any], arguments: Sequence[Any], *, alone: bool) -> None:
        """``do`` is a function of a module. What it raises with SystemExit, or 0, is the status.

        If it is ``alone`` it may have no children, and ends with this process.
        """
        self._process = _CONTEXT.Process(target=do, args=tuple(arguments), daemon=alone)
        self._looking = threading.Lock()
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """As ``poll``."""
        return self.poll()

    def poll(self) -> int | None:
        """The exit status, that of a signal negative; None while it runs."""
        with self._looking:  # the status is read from a pipe, once
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status at its end; subprocess.TimeoutExpired when ``timeout`` seconds are over before."""
        if self.poll() is None:
            multiprocessing.connection.wait([self._process.sentinel], timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(str(self._process.name), timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        """Nothing when it has ended: its number may be that of another process by now."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it ended, and the server is just about to tell
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def begin_server(loaded: str, places: Sequence[Path], environment: Mapping[str, str]) -> bool:
    """The process that others are forked from, unless it is there: it has imported the module ``loaded``.

    ``places`` come first on its import path; the ``environment`` is that of the first who asks. False when there is
    one already that has loaded something else.
    """
    if _chosen:
        return _chosen == [loaded]
    _chosen.append(loaded)
    _CONTEXT.set_forkserver_preload([loaded])
    kept = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(environment)
        # The server loads before it knows the path of its maker.
        os.environ["PYTHONPATH"] = os.pathsep.join(map(str, places))
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(kept)
    return True


def become(environment: Mapping[str, str], directory: Path, output: Path, *, append: bool = False) -> None:
    """In a forked process: the environment, directory and files of a program, whose output goes to a file."""
    sink = os.open(output, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC))
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate((nothing, sink, sink)):
        os.dup2(file, number)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
