# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays of the tests, each in a process forked from one that has loaded ansible-core and what tasks need already.

The tests run hundreds of plays, and half of a play's processor time would be the loading. Playbooks, roles, modules and
what ansible-core does with them are the same as in a play of the command ``ansible-playbook``, which the gates
``installed`` and ``molecule`` run, and some tests here too.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import forked_processes
from forked_processes import ForkedProcess

_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Networks:
    """Network namespaces, as files: of a play and, by their interpreter, of modules that have another one."""

    play: Path | None = None
    modules: Mapping[str, Path] = field(default_factory=dict)


def fork(
    command: list[str], environment: Mapping[str, str], directory: Path, log: Path, networks: Networks
) -> ForkedProcess:
    """What ``ansible-playbook`` does with this command line, environment and directory; its output goes to ``log``."""
    log.touch()
    return ForkedProcess(_play, (command, dict(environment), directory, log, networks), alone=False)


def can_be_forked(environment: Mapping[str, str], usual: Mapping[str, str]) -> bool:
    """Whether a play with this environment is as one forked from a process with the ``usual`` one.

    That process has read from its own what ansible-core and Python want to know.
    """
    return _read_at_the_start(environment) == _read_at_the_start(usual)


def _read_at_the_start(environment: Mapping[str, str]) -> dict[str, str]:
    beginnings = ("ANSIBLE_", "HOME", "LANG", "LC_", "PYTHON", "TMPDIR")
    return {name: value for name, value in environment.items() if name.startswith(beginnings)}


def begin_server(environment: Mapping[str, str]) -> bool:
    """See ``forked_processes``; False when plays cannot be forked here."""
    places = (_ROOT / "tests", _ROOT / ".ansible" / "collections")
    return forked_processes.begin_server("preloaded", places, environment)


def _play(command: list[str], environment: dict[str, str], directory: Path, log: Path, networks: Networks) -> None:
    if "preloaded" not in sys.modules:  # the server is silent about what it could not load
        raise RuntimeError("the process that plays are forked from has not loaded ansible-core")
    import preloaded

    preloaded.play(command, environment, directory, log, networks)
