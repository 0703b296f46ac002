# SPDX-License-Identifier: GPL-3.0-or-later
"""A network without neighbours, so that recorded ports are free and nobody else's sockets are seen."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

import pytest

_HOLD = "ip link set lo up && echo ready && exec cat"


@contextlib.contextmanager
def own_network() -> Iterator[tuple[str, ...]]:
    """Gives the words that run a command in the network; skips the test, loudly, where none may be made."""
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", _HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        if holder.stdout.readline() != b"ready\n":
            _unused, complaint = holder.communicate()
            pytest.skip(f"SKIPPED LOUDLY: no network namespace may be made here: {complaint.decode().strip()}")
        yield ("nsenter", "--target", str(holder.pid), "--net")
        holder.stdin.close()
