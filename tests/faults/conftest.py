# SPDX-License-Identifier: GPL-3.0-or-later
"""A running machine for each test of a fault, and the invariants checked from outside when the test is over."""

from __future__ import annotations

import os
import signal
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from history import Line, Violation, check, on_disk, read_history
from namespaced_lab import NamespacedLab, namespaced_lab
from namespaces import CONTROLLER, Network, lacking
from played_lab import PLAY_SECONDS, ROOT, Lab, Played, Playing

# Each test waits for several plays, one after the other; each of them has a time of its own.
_TEST_SECONDS = 4 * PLAY_SECONDS
VM = "1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a01"
MOVE_ONLY = str(ROOT / "tests" / "fixtures" / "move_only.yml")
INSTANCE_ONLY = str(ROOT / "tests" / "fixtures" / "instance_only.yml")
_RING = 64 * 1024
_HEARTBEAT = struct.Struct("<8sQQQQ16sQ")
SERVERS = ("alpha", "beta")
DOWNSTAIRS = ("ds0", "ds1", "ds2")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_TEST_SECONDS))


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

    @property
    def wires(self) -> Network:
        """The links between the hosts, of a machine in namespaces."""
        assert isinstance(self.lab, NamespacedLab)
        return self.lab.wires

    def begin_move(self, *arguments: str, **variables: Any) -> Playing:
        """Start the move, by the role alone: nothing is repaired before it."""
        playing = self.lab.begin(MOVE_ONLY, *arguments, migration_destination=self.destination, **variables)
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
        return read_history(self.lab.root / "history.jsonl")

    def until_phase(self, role: str, phase: str, at: str = "begin") -> None:
        """Wait until ``role`` (source, destination) is at this place of a migration that is under way now."""
        before = self.passed(role, phase, at)
        self.lab.until(f"{role} {phase} {at}", lambda: self.passed(role, phase, at) > before, PLAY_SECONDS)

    def passed(self, role: str, phase: str, at: str = "begin") -> int:
        """How often ``role`` was at this place of a migration."""
        wanted = ("migration", role, phase, at)
        return sum(
            (line["event"], line.get("role"), line.get("phase"), line.get("at")) == wanted for line in self.history()
        )

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


def _network() -> str:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    return f"127.0.{80 + int(worker.removeprefix('gw'))}"


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab for all tests of one worker, in place but with nothing running."""
    one = Lab(tmp_path_factory.mktemp("faults") / "lab", _network())
    try:
        _put_up(one)
        yield one
    finally:
        _take_down(one)


@pytest.fixture(scope="session")
def namespaced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NamespacedLab]:
    """The same on a network whose links can be cut. What talks to it must be inside the controller's namespace."""
    if reason := lacking():
        sentence = f"packets can be lost only between network namespaces, and here are none: {reason}"
        pytest.fail(sentence) if os.environ.get("CI") == "true" else pytest.skip(sentence)
    with namespaced_lab(tmp_path_factory.mktemp("faults-namespaced"), "10.23.80") as one:
        try:
            with one.wires.inside(CONTROLLER):
                _put_up(one)
            yield one
        finally:
            one.wires.mend()
            with one.wires.inside(CONTROLLER):
                _take_down(one)


def _put_up(lab: Lab) -> None:
    played = lab.play("lab_up")
    assert played.status == 0, played.output[-3000:]


def _take_down(lab: Lab) -> None:
    played = lab.play("lab_down")
    assert played.status == 0, played.output[-3000:]


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


@pytest.fixture
def machine(lab: Lab) -> Iterator[Machine]:
    """A machine that runs, and afterwards the judgement on what the test has seen happen."""
    yield from _judged(lab)


@pytest.fixture
def wired_machine(namespaced: NamespacedLab) -> Iterator[Machine]:
    """The same on hosts whose links can be cut: see ``machine.wires``. The test works on the controller's host."""
    with namespaced.wires.inside(CONTROLLER):
        try:
            yield from _judged(namespaced)
        finally:
            namespaced.wires.mend()
            namespaced.wires.try_again()


def _judged(lab: Lab) -> Iterator[Machine]:
    lab.fault()
    lab.fault_on_the_wire()
    states = {host: lab.state(host) for host in SERVERS}
    if "Running" in states.values():
        for host in (host for host, state in states.items() if state == "Migrating"):
            lab.kill(host)  # what a test that failed half-way has left
    for host in (*SERVERS, *DOWNSTAIRS):
        if lab.started(host) and lab.pid(host) is None:
            lab.restart(host)
    if all(lab.state(host) != "Running" for host in SERVERS):
        begin_anew(lab)
    at, generation = lab.until("the machine runs with three replicas", lambda: healthy(lab))
    spent = max(number for found in lab.ledgers().values() for number in found)
    one = Machine(lab, at, "beta" if at == "alpha" else "alpha", generation, spent)
    yield one
    one.end_plays()
    lab.fault()
    for host in (*SERVERS, *DOWNSTAIRS):
        if (pid := lab.pid(host)) is not None:
            os.kill(pid, signal.SIGCONT)
    violations = one.violations()
    assert violations == [], "\n".join(str(violation) for violation in violations)


def begin_anew(lab: Lab, *, keep_history: bool = False, **variables: Any) -> None:
    """The machine booted from the disks that are there; without its history, everything stopped and put away before."""
    if not keep_history:
        for host in SERVERS:
            if lab.pid(host) is not None:
                lab.kill(host)
        history = lab.root / "history.jsonl"
        if history.exists():
            history.rename(Path(f"{history}.{len(list(lab.root.glob('history.jsonl.*')))}"))
    # Where there are disks already, the instance alone is started: that takes half the time.
    begun = all(lab.started(host) for host in (*SERVERS, *DOWNSTAIRS))
    for host in (*SERVERS, *DOWNSTAIRS) if begun else ():
        if lab.pid(host) is None:
            lab.restart(host)
    played = lab.play(INSTANCE_ONLY if begun else "boot", **variables)
    assert played.status == 0, played.output[-3000:]
