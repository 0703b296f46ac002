# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks without neighbours, so that recorded ports and addresses are free and nobody else's sockets are seen."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

import pytest
from namespaces import Network, lacking

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


@contextlib.contextmanager
def hosts(count: int, network: str) -> Iterator[dict[str, tuple[str, ...]]]:
    """Gives, by the number of a host, the words that run a command there: the first has the address ``network``.1.

    Where there can be no such network, the test is skipped, loudly, and fails in a gate.
    """
    if reason := lacking():
        sentence = f"hosts with addresses of their own need network namespaces: {reason}"
        pytest.fail(sentence) if os.environ.get("CI") == "true" else pytest.skip(f"SKIPPED LOUDLY: {sentence}")
    addresses = {f"host{number}": f"{network}.{number}" for number in range(1, count + 1)}
    wires = Network(f"recorded-{os.getpid()}", addresses)
    with wires.up():
        yield {name[-1]: ("nsenter", f"--net={wires.path(name)}") for name in addresses}
