# SPDX-License-Identifier: GPL-3.0-or-later
"""The replicas of a machine while it moves: its destination needs all three, and nothing stops the move any more."""

from __future__ import annotations

from collections.abc import Iterator

from .instance import DiskSession, State
from .observation import Sighting

_HAS_DISKS = frozenset({State.RUNNING, State.MIGRATING})


class ReplicaWatch:
    """Compares what the source says of its replicas with what it said before."""

    def __init__(self, instance: str, destination: str) -> None:
        self._instance = instance
        self._destination = destination
        self._away: dict[tuple[str, str], str] = {}
        self.warnings: list[str] = []
        """Each replica that was away at some time, once."""

    def look(self, source: Sighting) -> list[str]:
        """A sentence for each replica that went away, or came back, since the last look.

        A server below API 5.0.0 tells nothing of replicas; one that has let go of its disks, nothing that counts.
        """
        if source.state not in _HAS_DISKS:
            return []
        return [sentence for disk in source.disks if disk.state == "active" for sentence in self._changes(source, disk)]

    def _changes(self, source: Sighting, disk: DiskSession) -> Iterator[str]:
        for target in disk.targets:
            replica = (disk.name, target.address or "of unknown address")
            named = f"the downstairs {replica[1]} of disk {disk.name}"
            if target.is_away and replica not in self._away:
                self._away[replica] = target.words
                sentence = (
                    f"{named} is {target.words} for {source.server} while {self._instance} moves: {self._destination} "
                    "waits for all three before it runs the machine; bring it back now"
                )
                self.warnings.append(sentence)
                yield f"warning: {sentence}"
            elif not target.is_away and self._away.pop(replica, None) is not None:
                yield f"{named} is {target.words} again for {source.server}"
