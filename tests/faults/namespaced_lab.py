# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab whose hosts have a network namespace each, so that the links between them can be cut."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from forked_plays import Networks
from namespaces import CONTROLLER, Network
from played_lab import HOSTS, Lab


@dataclass
class NamespacedLab(Lab):
    """A lab on ``wires``: the modules of each host, and so all that they start, run in that host's namespace."""

    wires: Network = field(default_factory=lambda: Network("", {}))

    def restart(self, host: str) -> None:
        with self.wires.inside(host):
            super().restart(host)


@contextlib.contextmanager
def namespaced_lab(directory: Path, network: str) -> Iterator[NamespacedLab]:
    """The network and, on it, a lab that is not yet in place. ``network`` are the first three numbers of a /24."""
    addresses = {host: f"{network}.{number}" for host, number in HOSTS.items()} | {CONTROLLER: f"{network}.254"}
    wires = Network(f"lab-{os.getpid()}", addresses)
    scripts = {host: str(directory / f"python-{host}") for host in HOSTS}
    for host, script in scripts.items():
        Path(script).write_text(wires.command(host, sys.executable))
        Path(script).chmod(0o755)
    hosts = {host: {"ansible_python_interpreter": script} for host, script in scripts.items()}
    inventory = directory / "namespaces.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
    with wires.up():
        inventories = ("inventories/lab", str(inventory))
        networks = Networks(wires.path(CONTROLLER), {scripts[host]: wires.path(host) for host in HOSTS})
        one = NamespacedLab(directory / "lab", network, inventories=inventories, networks=networks, wires=wires)
        one.get_ready()  # from outside: other labs have their plays forked by the same process
        yield one
