# SPDX-License-Identifier: GPL-3.0-or-later
"""A command that a user can paste: the playbook beside the one that runs, over the same inventory and environment."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_COLLECTION = "apiary.propolis"
_SETTINGS = "ANSIBLE_CONFIG"
_ALWAYS = ("ANSIBLE_COLLECTIONS_PATH",)


@dataclass(frozen=True)
class Typed:
    """What is known of the command that runs now.

    ``here`` is the directory it was typed in, ``program`` the ansible-playbook of its Python, ``playbooks`` the
    directory of its playbook, ``repeated`` the names of variables of ``environment`` that its inventory reads.
    """

    here: Path
    program: Path
    playbooks: Path
    inventories: Sequence[str]
    environment: Mapping[str, str]
    repeated: Sequence[str] = ()

    def command(self, playbook: str, variables: Mapping[str, str]) -> str:
        """The command line that runs another playbook of the collection, with extra variables."""
        words = [self._program()]
        for source in self.inventories:
            words += ["-i", self._short(source)]
        words.append(self._playbook(playbook))
        for name, value in variables.items():
            words += ["-e", f"{name}={value}"]
        return " ".join([*self._variables(), shlex.join(words)])

    def _variables(self) -> list[str]:
        names = [name for name in (*self.repeated, *_ALWAYS) if self.environment.get(name)]
        settings = self.environment.get(_SETTINGS)
        if settings and Path(settings) != self.here / "ansible.cfg":
            names.append(_SETTINGS)
        return [f"{name}={shlex.quote(self.environment[name])}" for name in names]

    def _program(self) -> str:
        """The program by path where it lies below this directory, as in a virtual environment that nobody entered."""
        return self._short(str(self.program)) if self.here in self.program.parents else self.program.name

    def _playbook(self, name: str) -> str:
        """By path from a checkout, by its full name from an installed collection or a playbook of somebody's own."""
        path = self.playbooks / f"{name}.yml"
        if "ansible_collections" in path.parts or not (self.playbooks / "migrate.yml").exists():
            return f"{_COLLECTION}.{name}"
        return self._short(str(path))

    def _short(self, text: str) -> str:
        path = Path(text)
        return str(path.relative_to(self.here)) if self.here in path.parents else text
