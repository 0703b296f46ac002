# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays of the tests, each in a process forked from one that has loaded ansible-core and what tasks need already.

The tests run hundreds of plays, and half of a play's processor time is spent on loading the same files as the one
before it. The process that they are forked from is the standard library's ``forkserver``, one for each that tests.
Playbooks, roles, modules and what ansible-core does with them are the same as in a play of the command
``ansible-playbook``, which the gates ``installed`` and ``molecule`` run, and some tests here too.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["preloaded"])


@dataclass(frozen=True)
class Networks:
    """Network namespaces, as files: of a play and, by their interpreter, of modules that have another one."""

    play: Path | None = None
    modules: Mapping[str, Path] = field(default_factory=dict)


class ForkedPlay:
    """What the tests use of a ``subprocess.Popen``."""

    def __init__(
        self, command: list[str], environment: Mapping[str, str], directory: Path, log: Path, networks: Networks
    ) -> None:
        log.touch()
        about = (command, dict(environment), str(directory), str(log), networks)
        self._process = _CONTEXT.Process(target=_play, args=about)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """The exit status, that of a signal negative; None while the play goes on."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status at its end; subprocess.TimeoutExpired when ``timeout`` seconds are over before."""
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            raise subprocess.TimeoutExpired("ansible-playbook", timeout or 0)
        return status


def can_be_forked(environment: Mapping[str, str], usual: Mapping[str, str]) -> bool:
    """Whether a play with this environment is as one forked from a process with the ``usual`` one.

    That process has read from its own what ansible-core and Python want to know.
    """
    return _read_at_the_start(environment) == _read_at_the_start(usual)


def _read_at_the_start(environment: Mapping[str, str]) -> dict[str, str]:
    beginnings = ("ANSIBLE_", "HOME", "LANG", "LC_", "PYTHON", "TMPDIR")
    return {name: value for name, value in environment.items() if name.startswith(beginnings)}


def begin_server(environment: Mapping[str, str]) -> None:
    """The process that plays are forked from, unless it is there; with the environment of the first who asks."""
    kept = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(environment)
        # The server loads before it knows the path of its maker.
        os.environ["PYTHONPATH"] = os.pathsep.join((str(_ROOT / "tests"), str(_ROOT / ".ansible" / "collections")))
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(kept)


def _play(command: list[str], environment: dict[str, str], directory: str, log: str, networks: Networks) -> None:
    if "preloaded" not in sys.modules:  # the server is silent about what it could not load
        raise RuntimeError("the process that plays are forked from has not loaded ansible-core")
    import preloaded

    preloaded.play(command, environment, directory, log, networks)
