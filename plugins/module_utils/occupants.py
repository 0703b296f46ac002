# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is in the way: the processes that listen on a port or have files of a directory open."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .supervisors.identity import PROC, command_line

_LISTENING = "0A"


@dataclass(frozen=True)
class Occupant:
    """A process. ``command`` is empty when it cannot be seen."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command or 'unknown command'})"


def port_trouble(address: str, port: int) -> int | None:
    """Why nothing can listen there now: EADDRINUSE, EADDRNOTAVAIL, EACCES, ...; None when it can.

    Tried with SO_REUSEADDR, as servers do, so that connections that are about to end are no obstacle.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
            probe.listen(1)
    except OSError as error:
        return error.errno or errno.EIO
    return None


def listeners(address: str, port: int, proc: Path = PROC) -> list[Occupant]:
    """The processes that listen on the port, at this address or at all. Empty when they cannot be seen."""
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(address, port, proc)}
    return list(_processes_with(lambda target: target in inodes, proc)) if inodes else []


def users_of(directory: Path, proc: Path = PROC) -> list[Occupant]:
    """The processes that have a file below ``directory`` open. Empty when they cannot be seen."""
    prefix = f"{os.path.realpath(directory)}/"
    return list(_processes_with(lambda target: target.startswith(prefix), proc))


def _processes_with(wanted: Callable[[str], bool], proc: Path) -> Iterator[Occupant]:
    for entry in sorted(proc.iterdir(), key=lambda entry: entry.name) if proc.is_dir() else ():
        if entry.name.isdigit() and any(wanted(target) for target in _open_files(entry)):
            yield Occupant(int(entry.name), command_line(int(entry.name), proc))


def _open_files(process: Path) -> Iterator[str]:
    """What the descriptors of a process point at: ``fd`` on Linux, ``path`` on illumos."""
    for name in ("fd", "path"):
        try:
            links = list((process / name).iterdir())
        except OSError:
            continue
        for link in links:
            try:
                yield os.readlink(link)
            except OSError:
                continue


def _listening_inodes(address: str, port: int, proc: Path) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / name).read_text(errors="replace").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) < 10 or fields[3] != _LISTENING:
                continue
            host, _colon, number = fields[1].partition(":")
            try:
                meant = int(number, 16) == port and _meets(_address(host), address)
            except ValueError:
                continue
            if meant:
                yield fields[9]


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address of /proc/net/tcp: 32-bit words in the byte order of the machine. Raises ValueError."""
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    return ipaddress.ip_address(b"".join(words))


def _meets(found: ipaddress.IPv4Address | ipaddress.IPv6Address, address: str) -> bool:
    asked = ipaddress.ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None) or found
    return found.is_unspecified or asked.is_unspecified or asked in (found, mapped)
