# SPDX-License-Identifier: GPL-3.0-or-later
"""Free ports that stand for recorded ones, held so that no other test takes them before a stand-in listens.

A port is held by a socket that is bound with SO_REUSEADDR and never listens: servers, which set that option too, can
still listen there, and others who look for a free port find it taken.
"""

from __future__ import annotations

import contextlib
import random
import socket
from dataclasses import dataclass, field

from recordings.http_masks import REPAIR_DISTANCE

ADDRESS = "127.0.0.1"


class NoPortError(Exception):
    """No free port of the wanted length was found."""


@dataclass
class Ports:
    """Recorded port to port here, with the same number of digits, until `release`."""

    table: dict[int, int] = field(default_factory=dict)
    held: list[socket.socket] = field(default_factory=list)

    @classmethod
    def choose(cls, servers: set[int], downstairs: set[int]) -> Ports:
        """A port for each recorded one; those of downstairs with their repair port, 4000 above."""
        chosen = cls()
        for port in sorted(servers):
            chosen.table[port] = chosen._take(len(str(port)), (0,))
        for port in sorted(downstairs):
            chosen.table[port] = chosen._take(len(str(port)), (0, REPAIR_DISTANCE))
        return chosen

    def _take(self, digits: int, distances: tuple[int, ...]) -> int:
        """Below the ports that the kernel gives to clients, so that none of them takes it meanwhile."""
        low, high = (1100, 9999 - REPAIR_DISTANCE) if digits == 4 else (10000, 32000)
        for _unused in range(2000):
            port = random.randint(low, high)
            found = [hold(port + distance) for distance in distances]
            taken = [one for one in found if one is not None]
            if len(taken) == len(found):
                self.held.extend(taken)
                return port
            for one in taken:
                one.close()
        raise NoPortError(f"no free port with {digits} digits on {ADDRESS}")

    def release(self) -> None:
        for one in self.held:
            one.close()
        self.held.clear()


def hold(port: int) -> socket.socket | None:
    """A socket that holds the port, None when somebody has it."""
    with contextlib.suppress(OSError):
        with socket.socket() as probe:
            probe.bind((ADDRESS, port))
        held = socket.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((ADDRESS, port))
        return held
    return None
