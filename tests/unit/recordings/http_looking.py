# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the servers showed what a recorded client saw of a disk: states of its session and of the three targets.

Our servers write every state through which a disk goes into their histories. A look is explained by a moment not before
that of the look before it, so a recording is explained by the same states in the same order.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recordings.http_events import Look
from recordings.http_lab import Lab, wait_until
from recordings.http_observing import console

TICK = re.compile(rb"tick (\d+)")
PATIENCE = 30.0
"""Seconds to wait for something that the recording saw."""


@dataclass
class Story:
    """What one server process has written so far, and how far the looks have come in it."""

    path: Path
    states: list[str] = field(default_factory=list)
    disks: list[dict[str, Any]] = field(default_factory=list)
    repairs: int = 0
    """How often the disk said that a live repair was in progress."""
    heartbeats: int = 0
    beat_at: int = 0
    """The guest's tick at its last write that came to the regions."""
    seen_state: int = 0
    seen_disk: int = 0
    _read: int = 0

    def read(self) -> None:
        """Take in what was written since the last time."""
        with self.path.open("rb") as file:
            file.seek(self._read)
            whole, _unused, _half = file.read().rpartition(b"\n")
        self._read += len(whole) + 1 if whole else 0
        for line in whole.splitlines():
            record = json.loads(line)
            if record["event"] == "published":
                self.states.append(record["state"])
            elif record["event"] == "volume":
                self.disks.append(_shown(record["info"]))
                self.repairs += _repairs(record["info"])
            elif record["event"] == "heartbeat":
                self.heartbeats += 1
                self.beat_at = record["tick"]

    def explains(self, look: Look) -> bool:
        """Whether the look can be of this server, now or since the last look; the next one is not before it."""
        self.read()
        state, disk = self.seen_state, self.seen_disk
        if look.state is not None:
            state = next((at for at in range(state, len(self.states)) if self.states[at] == look.state), -1)
        if look.disk is not None:
            disk = next((at for at in range(disk, len(self.disks)) if _fits(look.disk, self.disks[at])), -1)
        if state < 0 or disk < 0:
            return False
        self.seen_state, self.seen_disk = state, disk
        return True


class Eyes:
    """All looks at the servers of one replay."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._stories: dict[int, Story] = {}
        """By the id of the process."""

    def story(self, name: str) -> Story:
        process = self._lab.processes[name].popen.pid
        return self._stories.setdefault(process, Story(self._lab.history_of(name)))

    def fresh_story(self, name: str) -> Story:
        """A story that begins with what the server writes from now on."""
        story = Story(self._lab.history_of(name))
        story.read()
        story.disks.clear()
        return story

    def explained(self, look: Look, names: list[str]) -> bool:
        """Whether one of these servers shows in time what was seen."""
        alive = [name for name in names if name in self._lab.processes]
        return wait_until(lambda: any(self.story(name).explains(look) for name in alive), PATIENCE)

    def has_flushed(self, name: str) -> bool:
        """Whether the guest of this server writes and flushes once more."""
        story = self.story(name)
        story.read()
        before = story.heartbeats

        def more() -> bool:
            story.read()
            return story.heartbeats > before

        return wait_until(more, PATIENCE)

    def is_stuck(self, name: str, port: int) -> bool:
        """Whether the guest of this server, on our port, goes on while what it has written does not come to the
        regions."""
        story = self.story(name)

        def stuck() -> bool:
            ticks = TICK.findall(console(port))
            story.read()
            return bool(ticks) and int(ticks[-1]) > story.beat_at + 1

        return wait_until(stuck, PATIENCE, 0.1)

    @property
    def repairs(self) -> int:
        """How many states of live repair all servers showed, as far as they were looked at."""
        return sum(story.repairs for story in self._stories.values())

    def shown(self, names: list[str]) -> str:
        """What could have been seen instead, for a complaint."""
        alive = [self.story(name) for name in names if name in self._lab.processes]
        return "; ".join(f"{story.states[story.seen_state :]} {story.disks[story.seen_disk :]}" for story in alive)


def _shown(info: dict[str, Any]) -> dict[str, Any]:
    """A `volume_info` of one region set in the words of the recorder."""
    upstairs = info["volume"]["sub_volumes"][0]["upstairs"]
    return {
        "state": upstairs["state"],
        "gen": upstairs["generation"],
        "ro": upstairs["read_only"],
        "enc": upstairs["encrypted"],
        "targets": [target["state"] for target in upstairs["targets"]],
    }


def _repairs(info: dict[str, Any]) -> bool:
    """Whether a live repair is said to be in progress, as must be so while a target is under repair, and only then."""
    upstairs = info["volume"]["sub_volumes"][0]["upstairs"]
    said: bool = upstairs["live_repair_in_progress"]
    assert said == any(target["state"]["type"] == "live_repair" for target in upstairs["targets"]), info
    return said


def _fits(seen: dict[str, Any], shown: dict[str, Any]) -> bool:
    """Whether this is what was seen. Which target is the first of an activation, or the first of those that return,
    depends on the moment at which each was lost or asked."""
    unordered = shown["state"] == "go_active" or "offline" in str(seen["targets"])
    if unordered and sorted(map(str, seen["targets"])) == sorted(map(str, shown["targets"])):
        seen = {**seen, "targets": shown["targets"]}
    return all(shown[key] == value for key, value in seen.items())
