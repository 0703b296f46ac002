# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts with a network namespace each on one bridge, for what loopback cannot do: packets that are lost without a word.

Made with ``ip`` (iproute2) and ``nsenter`` (util-linux); needs root. All addresses are inside the namespaces, none is
on the machine itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CONTROLLER = "controller"
_CLONE_NEWNET = 0x40000000
# How often TCP sends again what was lost, after 0.2 s, 0.4 s, 0.8 s and so on, before it gives a connection up: after
# 12.6 s with 5, where the kernel's own 15 take a quarter of an hour. The second one is for a connection whose process
# has closed it already.
_TRIES = 5
_PATIENCE = ("tcp_retries2", "tcp_orphan_retries")


def lacking() -> str | None:
    """Why there can be no such network here, or None."""
    if os.geteuid() != 0:
        return "network namespaces are for root"
    missing = [program for program in ("ip", "nsenter") if shutil.which(program) is None]
    if missing:
        return f"{' and '.join(missing)} not found"
    probe = f"probe-{os.getpid()}"
    try:
        _ip("netns", "add", probe)
        _ip("-n", probe, "link", "add", "lan", "type", "bridge")
    except subprocess.CalledProcessError as error:
        return f"ip cannot make one with a bridge: {error.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "del", probe], capture_output=True, check=False)
    return None


@dataclass(frozen=True)
class Network:
    """``addresses`` are those of the hosts by name, all in one /24; the tests themselves work in ``CONTROLLER``'s."""

    prefix: str
    addresses: Mapping[str, str]

    def namespace(self, host: str) -> str:
        """The name of the namespace of ``host``."""
        return f"{self.prefix}-{host}"

    def path(self, host: str) -> Path:
        """The file that stands for the namespace of ``host``."""
        return Path("/run/netns", self.namespace(host))

    @contextlib.contextmanager
    def up(self) -> Iterator[None]:
        """The network stands meanwhile."""
        try:
            _ip("netns", "add", self._fabric)
            _ip("-n", self._fabric, "link", "add", "lan", "type", "bridge")
            _ip("-n", self._fabric, "link", "set", "lan", "up")
            for host, address in self.addresses.items():
                self._attach(host, address)
            self.try_again()
            yield
        finally:
            for name in (*map(self.namespace, self.addresses), self._fabric):
                subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    @property
    def _fabric(self) -> str:
        return f"{self.prefix}-fabric"

    def _attach(self, host: str, address: str) -> None:
        name = self.namespace(host)
        _ip("netns", "add", name)
        _ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", host, "netns", self._fabric)
        _ip("-n", self._fabric, "link", "set", host, "master", "lan", "up")
        _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            _ip("-n", name, "link", "set", link, "up")

    def try_again(self, times: int = _TRIES) -> None:
        """How often each host sends again what was lost, before it gives a connection up."""
        for host in self.addresses:
            with self.inside(host):
                for setting in _PATIENCE:
                    Path("/proc/sys/net/ipv4", setting).write_text(str(times))

    def cut(self, *hosts: str) -> None:
        """From now on nothing arrives that one of these sends to another of them; all else does."""
        for host in hosts:
            _ip("-n", self._fabric, "link", "set", host, "type", "bridge_slave", "isolated", "on")

    def mend(self) -> None:
        """Everything arrives again."""
        for host in self.addresses:
            _ip("-n", self._fabric, "link", "set", host, "type", "bridge_slave", "isolated", "off")

    @contextlib.contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """What this thread opens or starts meanwhile is on ``host``."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter(self.path(host))
            try:
                yield
            finally:
                _enter(before)
        finally:
            os.close(before)

    def command(self, host: str, program: str) -> str:
        """A shell script that runs ``program`` on ``host``, with its own arguments."""
        return f'#!/bin/sh\nexec nsenter --net={self.path(host)} {shlex.quote(program)} "$@"\n'


def enter(namespace: Path) -> None:
    """From now on what this thread opens or starts is in the network namespace of this file. Raises OSError."""
    there = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(there)
    finally:
        os.close(there)


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns is there from Python 3.12 on
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
