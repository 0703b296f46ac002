# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine that faults are done to: moved, watched, asked where it is, and what all of its history says."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from history import Line, Record, Violation, check, on_disk
from namespaced_lab import NamespacedLab
from namespaces import Network
from played_lab import PLAY_SECONDS, ROOT, Lab, Played, Playing

VM = "1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a01"
VOLUME = "0cedae45-3d6e-4d90-b2cb-56f1a1a42a89"
SERVERS = ("alpha", "beta")
DOWNSTAIRS = ("ds0", "ds1", "ds2")
_MOVE_ONLY = str(ROOT / "tests" / "fixtures" / "move_only.yml")
_RING = 64 * 1024
_HEARTBEAT = struct.Struct("<8sQQQQ16sQ")


@dataclass
class Machine:
    """The instance vm0, running on ``source`` with three healthy replicas, to be moved to ``destination``."""

    lab: Lab
    source: str
    destination: str
    generation: int
    """The number that its disk uses."""
    spent: int
    """The newest number in the ledgers, higher than ``generation`` after a move that failed."""
    expected: list[str] = field(default_factory=list)
    """Beginnings of violations that the test itself brings about, with a hand in the lab that no play has: of their
    sentences, or the names of their invariants."""
    _playing: list[Playing] = field(default_factory=list)
    _record: Record = field(init=False)

    def __post_init__(self) -> None:
        self._record = Record(self.lab.root / "history.jsonl")

    @property
    def wires(self) -> Network:
        """The links between the hosts, of a machine in namespaces."""
        assert isinstance(self.lab, NamespacedLab)
        return self.lab.wires

    def begin_move(self, *arguments: str, **variables: Any) -> Playing:
        """Start the move, by the role alone: nothing is repaired before it.

        No evidence of a failure is gathered, which would take as long as the move, unless ``migration_evidence`` asks
        for it: that has tests of its own.
        """
        asked = {"migration_destination": self.destination, "migration_evidence": "", **variables}
        playing = self.lab.begin(_MOVE_ONLY, *arguments, **asked)
        self._playing.append(playing)
        return playing

    def move(self, *arguments: str, **variables: Any) -> Played:
        """Move it, by the role alone, to the end of the play."""
        return self.begin_move(*arguments, **variables).ended()

    def begin_stalled_move(self, phase: str = "RamPush", **variables: Any) -> Playing:
        """Start the move and return when its source stands still in ``phase``; ``lab.fault()`` lets it go on."""
        self.lab.fault(steps=[{"side": "source", "phase": phase, "action": "stall"}])
        before = self.passed("source", phase)
        playing = self.begin_move(**variables)
        self.lab.until(
            f"the source is in {phase}, or the play has ended",
            lambda: self.passed("source", phase) > before or playing.process.poll() is not None,
            PLAY_SECONDS,
        )
        assert self.passed("source", phase) > before, playing.output[-4000:]
        return playing

    def end_plays(self) -> None:
        """No play goes on in the lab after a test that did not wait for its end."""
        for playing in self._playing:
            if playing.process.poll() is None:
                playing.kill()

    def history(self) -> list[Line]:
        return self._record.lines()

    def passed(self, role: str, phase: str, at: str = "begin") -> int:
        """How often ``role`` was at this place of a migration."""
        wanted = ("migration", role, phase, at)
        return sum(
            (line["event"], line.get("role"), line.get("phase"), line.get("at")) == wanted for line in self.history()
        )

    def boots(self) -> int:
        """How often a guest began, and did not only go on."""
        return sum(line["event"] == "guest" and line["what"] == "begin" for line in self.history())

    def until_state(self, host: str, *states: str) -> None:
        self.lab.until(f"{host} is {' or '.join(states)}", lambda: self.lab.state(host) in states)

    def until_all_active(self) -> None:
        """Wait until the machine, which runs, has all its three replicas."""
        self.lab.until("three replicas are active", lambda: healthy(self.lab), PLAY_SECONDS)

    def heartbeats(self) -> int:
        """The number of the last acknowledged heartbeat."""
        return max((int(line["number"]) for line in self.history() if line["event"] == "heartbeat"), default=0)

    def until_it_writes(self) -> None:
        """Wait until the guest has written something that it had not written before: it is alive."""
        before = self.heartbeats()
        self.lab.until("the guest writes", lambda: self.heartbeats() > before)

    def log(self, host: str) -> str:
        """Everything that the servers on ``host`` have logged."""
        logs = self.lab.root.glob(f"hosts/{host}/propolis/*/*.log")
        return "\n".join(path.read_text(errors="replace") for path in logs)

    def newest_number(self) -> int:
        """The newest number in any of the three ledgers."""
        return max(number for found in self.lab.ledgers().values() for number in found)

    def is_at(self, host: str, generation: int, newest: int | None = None) -> None:
        """It runs and writes on ``host``, at ``generation``, and nobody else has it.

        ``newest`` is the newest number of all, ``generation`` where it is not given.
        """
        other = next(name for name in SERVERS if name != host)
        assert self.lab.state(host) == "Running"
        assert self.lab.state(other) in (None, "Destroyed", "Failed")
        assert active_generation(self.lab, host) == generation
        assert self.newest_number() == (newest or generation)
        self.until_it_writes()

    def failed_on_the_source(self, played: Played, phase: str | None = None) -> None:
        """The play failed and said in one sentence: it still runs where it was, one number is spent, what to do next.

        All of that is true. ``phase`` is how far the play says that the move came.
        """
        assert played.status != 0
        played.says(
            "Verdict: failed_on_source",
            f"vm0 still runs on {self.source} at generation {self.generation}",
            f" in phase {phase}" if phase else "",
            f"generation {self.spent + 1} is spent",
            f"read the log of {self.destination} for the reason, then try again with new generations",
        )
        assert self.lab.state(self.source) == "Running"
        assert self.lab.state(self.destination) in (None, "Failed")
        assert self.newest_number() == self.spent + 1
        self.until_it_writes()

    def nobody_runs(self, played: Played) -> None:
        """The play failed loudly and said: it runs nowhere, its disks are intact, which number starts it again.

        All of that is true, and nothing was started by itself.
        """
        assert played.status != 0
        played.says(
            "Verdict: nobody_runs",
            "NOBODY RUNS vm0",
            "its disks are intact",
            f"generation {self.spent + 1} is spent",
            f"start it on any one server with generation {self.spent + 2} or higher",
        )
        assert [self.lab.state(host) for host in SERVERS].count("Running") == 0
        assert self.newest_number() == self.spent + 1

    def violations(self) -> list[Violation]:
        """What is wrong with all that has happened in this lab, less what the test brought about itself."""
        lines = self.history()
        alive = [pid for host in SERVERS if (pid := self.lab.pid(host)) is not None]
        found = check(lines, alive, self.lab.ledgers())
        found += on_disk(lines, VM, {host: self.ring(host) for host in DOWNSTAIRS}, slots=_RING // 512)
        return [
            one for one in found if not any(text.startswith(tuple(self.expected)) for text in (one.sentence, str(one)))
        ]

    def ring(self, host: str) -> set[int]:
        """The numbers of the heartbeats in the ring of the region on ``host``, read from its raw extent files."""
        extents = sorted(self.lab.root.glob(f"hosts/{host}/crucible/vm0-boot/*/00/000/[0-9A-F][0-9A-F][0-9A-F]"))
        data = extents[-1].read_bytes()[: 8192 * 512]  # the last extent; behind its blocks stand their contexts
        found = set()
        for offset in range(len(data) - _RING, len(data), 512):
            block = data[offset : offset + 512]
            magic, number, *_rest = _HEARTBEAT.unpack_from(block)
            (sum_,) = struct.unpack_from("<I", block, _HEARTBEAT.size)
            if magic == b"LABBEAT1" and sum_ == zlib.crc32(block[: _HEARTBEAT.size]):
                found.add(number)
        return found


def healthy(lab: Lab) -> tuple[str, int] | None:
    """Where the instance runs with all its replicas and at which generation, when all of the lab is as it should be."""
    if any(lab.pid(host) is None for host in (*SERVERS, *DOWNSTAIRS)):
        return None
    running = [host for host in SERVERS if lab.state(host) == "Running"]
    generation = active_generation(lab, running[0]) if len(running) == 1 else None
    return None if generation is None else (running[0], generation)


def active_generation(lab: Lab, host: str) -> int | None:
    """The generation that the disk of the instance on ``host`` uses, when it is active on three of three replicas."""
    status = lab.ask(host, "/instance/disk/helios-blockdev-backend/status")
    if not status:
        return None
    upstairs = status["volume_info"]["volume"]["sub_volumes"][0]["upstairs"]
    active = [target["state"]["type"] == "active" for target in upstairs["targets"]]
    return int(upstairs["generation"]) if upstairs["state"] == "active" and active == [True] * 3 else None
