# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's crucible-downstairs of both ages as an executable file, and ports for it."""

from __future__ import annotations

import itertools
import os
import socket
from pathlib import Path

from shared import PYTHON, ROOT

AGES = ("today", "2023")
# An address of this process alone, and ports that the system gives to nobody by itself.
ADDRESS = f"127.77.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
_ports = itertools.count(8810, 2)


def executable(folder: Path, age: str) -> str:
    """A program with the command line of crucible-downstairs, of that age."""
    path = folder / f"crucible-downstairs-{age}"
    path.write_text(
        f"#!/bin/sh\nexport PYTHONPATH='{ROOT / 'roles/lab/files'}'\n"
        f'exec {PYTHON} -m propolis_lab.downstairs --age {age} "$@"\n'
    )
    path.chmod(0o755)
    return str(path)


def free_port() -> int:
    """A data port that is free together with its repair port. Each is given once."""
    while True:
        port = next(_ports)
        try:
            for one in (port, port + 4000):
                with socket.create_server((ADDRESS, one)):
                    pass
        except OSError:
            continue
        return port
