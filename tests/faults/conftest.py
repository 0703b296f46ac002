# SPDX-License-Identifier: GPL-3.0-or-later
"""A running machine for each test of a fault, and the invariants checked from outside when the test is over."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from by_hand import answers, cold_start
from machine import DOWNSTAIRS, SERVERS, VM, VOLUME, Machine, healthy
from namespaced_lab import NamespacedLab, namespaced_lab
from namespaces import CONTROLLER, lacking
from played_lab import PLAY_SECONDS, ROOT, Lab
from xdist.scheduler import LoadFileScheduling

__all__ = [
    "DOWNSTAIRS",
    "INSTANCE_ONLY",
    "SERVERS",
    "VM",
    "VOLUME",
    "Machine",
    "begin_anew",
    "healthy",
    "put_up",
    "take_down",
]

# Each test waits for several plays, one after the other; each of them has a time of its own.
_TEST_SECONDS = 4 * PLAY_SECONDS
INSTANCE_ONLY = str(ROOT / "tests" / "fixtures" / "instance_only.yml")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_TEST_SECONDS))


class _Scheduling(LoadFileScheduling):
    """A file of faults goes to one worker, whose lab its tests share; a storm to any that is free.

    The marks that xdist has for this, of ``--dist loadgroup``, do nothing with pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if "/test_storms.py::" in nodeid else str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return _Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def _network() -> str:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    return f"127.0.{80 + int(worker.removeprefix('gw'))}"


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab for all tests of one worker, in place but with nothing running."""
    one = Lab(tmp_path_factory.mktemp("faults") / "lab", _network())
    try:
        put_up(one)
        yield one
    finally:
        take_down(one)


@pytest.fixture(scope="session")
def namespaced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NamespacedLab]:
    """The same on a network whose links can be cut. What talks to it must be inside the controller's namespace."""
    if reason := lacking():
        sentence = f"packets can be lost only between network namespaces, and here are none: {reason}"
        pytest.fail(sentence) if os.environ.get("CI") == "true" else pytest.skip(sentence)
    with namespaced_lab(tmp_path_factory.mktemp("faults-namespaced"), "10.23.80") as one:
        try:
            with one.wires.inside(CONTROLLER):
                put_up(one)
            yield one
        finally:
            one.wires.mend()
            with one.wires.inside(CONTROLLER):
                take_down(one)


def put_up(lab: Lab) -> None:
    played = lab.play("lab_up")
    assert played.status == 0, played.output[-3000:]


def take_down(lab: Lab) -> None:
    played = lab.play("lab_down")
    assert played.status == 0, played.output[-3000:]


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
        _boot(lab)
    for host in SERVERS:  # one that was just started is asked by hand before any play would have waited for it
        lab.until(f"the server on {host} answers", lambda host=host: answers(lab, host))
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


def _boot(lab: Lab) -> None:
    """The machine runs, with an empty history: the first time by a play, then by hand, as no test is about it."""
    memory = lab.root / "described.json"
    if memory.exists():
        _put_history_away(lab)
        for host in SERVERS:
            lab.restart(host)
        cold_start(lab, "alpha", json.loads(memory.read_text()), VOLUME)
        return
    begin_anew(lab)
    memory.write_text(json.dumps(lab.ask("alpha", "/instance/spec")))


def _put_history_away(lab: Lab) -> None:
    for host in SERVERS:
        if lab.pid(host) is not None:
            lab.kill(host)
    history = lab.root / "history.jsonl"
    if history.exists():
        history.rename(Path(f"{history}.{len(list(lab.root.glob('history.jsonl.*')))}"))


def begin_anew(lab: Lab, *, keep_history: bool = False, **variables: Any) -> None:
    """The machine booted from the disks that are there; without its history, everything stopped and put away before."""
    if not keep_history:
        _put_history_away(lab)
    # Where there are disks already, the instance alone is started: that takes half the time.
    begun = all(lab.started(host) for host in (*SERVERS, *DOWNSTAIRS))
    for host in (*SERVERS, *DOWNSTAIRS) if begun else ():
        if lab.pid(host) is None:
            lab.restart(host)
    played = lab.play(INSTANCE_ONLY if begun else "boot", **variables)
    assert played.status == 0, played.output[-3000:]
