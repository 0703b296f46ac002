# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab of the tests' own, and playbooks run on it as a user runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Played:
    """How a playbook ended: exit status, everything it printed, and changes counted over all hosts."""

    status: int
    output: str

    @property
    def changed(self) -> int:
        return sum(int(number) for number in re.findall(r"\bchanged=(\d+)", self.output))

    @property
    def words(self) -> str:
        """The output with line breaks and indentation folded, as sentences are broken over lines."""
        return " ".join(self.output.replace("''", "'").split())


class Lab:
    """One lab: a directory and a network of loopback addresses."""

    def __init__(self, root: Path, network: str, **environment: str) -> None:
        self.root = root
        self.network = network
        self._environment = environment

    def play(self, name: str, *arguments: str, **variables: Any) -> Played:
        """Run a playbook of the collection with extra variables."""
        command = ["ansible-playbook", "-i", "inventories/lab", f"playbooks/{name}.yml", *arguments]
        if variables:
            command += ["-e", json.dumps(variables)]
        own = {"LAB_ROOT": str(self.root), "LAB_NETWORK": self.network, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        environment = {name: value for name, value in os.environ.items() if name != "ANSIBLE_COLLECTIONS_PATH"}
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment | self._environment | own,
            capture_output=True,
            text=True,
            check=False,
            timeout=170,
        )
        return Played(done.returncode, done.stdout + done.stderr)

    def truth(self) -> dict[str, Any]:
        """What a refused play must leave as it was: region files, ledgers, and which processes run."""
        files = sorted(self.root.glob("hosts/*/crucible/*/*"))
        processes = sorted(self.root.glob("hosts/*/*/**/*.json"))
        return {
            "regions": [str(path) for path in files if path.suffix not in (".lock",)],
            "ledgers": {str(path): path.read_text() for path in files if path.suffix == ".ledger"},
            "processes": {str(path): path.read_text() for path in processes if "pid" in path.read_text()},
        }


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab in which vm0 has been migrated to beta; each file has its own, as files are run side by side."""
    files = sorted(Path(__file__).parent.glob("test_*.py"))
    one = Lab(tmp_path_factory.mktemp("plays"), f"127.0.{60 + files.index(request.path)}")
    try:
        played = one.play("migrate")
        assert played.status == 0, played.output[-3000:]
        yield one
    finally:
        down = one.play("lab_down")
        assert down.status == 0, down.output[-3000:]
