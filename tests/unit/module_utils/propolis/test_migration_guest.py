# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of a move hears beside the phases: the guest on its console afterwards, and replicas on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_migration import perform
from ansible_collections.apiary.propolis.plugins.module_utils.propolis import serial_socket
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.migration_ending import closing, of_move
from fake_moves import STEP, SUCCESS, Pair
from fake_propolis import TARGETS, FakeServer, request_for

VM = "0cc7d20f-ee8e-49ad-b89c-b58f3a4f76d6"
PAUSED = SUCCESS.index(("s", {"out": "Pause"}))
SLOW = 0.6  # seconds that the guest's disk lets it wait after the move


@pytest.fixture
def pair() -> Iterator[Pair]:
    source, destination = FakeServer("127.0.8.1"), FakeServer("127.0.8.2")
    source.holds(VM, "Running", {"boot": request_for(1)})
    yield Pair(source, destination)
    source.kill()
    destination.kill()


def move(pair: Pair, told: list[str] | None = None, **more: Any) -> dict[str, Any]:
    params: dict[str, Any] = {
        "instance": {"id": VM, "name": "vm0"},
        "source": {"name": "alpha", "address": pair.source.address},
        "destination": {"name": "beta", "address": pair.destination.address},
        "disks": [{"name": "boot", "generation": None, "volume_construction_request": request_for(2)}],
        "servers": [],
        "migration_id": None,
        "timeout": 5.0,
        "ask_timeout": 0.5,
        "api": "auto",
        "evidence": None,
        "wait_for": {"expect": r"^SYNCED (\d+)", "send": ["sync"], "timeout": 5.0},
    }
    return perform(params | more, check_mode=False, tell=None if told is None else told.append)


def answers(server: FakeServer, seconds: float) -> None:
    """The guest answers to what is typed only after so many seconds."""

    def answer(fake: FakeServer, _data: bytes) -> None:
        timer = threading.Timer(seconds, fake.say, (b"SYNCED 7\r\n",))
        timer.daemon = True
        timer.start()

    server.on_typed = answer


def test_the_guests_own_pause_is_told_beside_that_of_the_api(pair: Pair) -> None:
    answers(pair.destination, SLOW)
    pair.destination.say(b"SYNCED 6\r\n")  # what was shown before the move counts for nothing
    told: list[str] = []
    result = move(pair, told)
    migration = result["migration"]
    assert "failed" not in result
    assert migration["verdict"] == "succeeded"
    assert migration["guest"]["match"] == "SYNCED 7"
    assert migration["guest"]["pause_seconds"] >= migration["pause_seconds"] + SLOW
    assert migration["total_seconds"] < migration["guest"]["pause_seconds"] + PAUSED * STEP
    assert bytes(pair.destination.typed) == b"sync\r"
    assert bytes(pair.source.typed) == b""
    assert any("types 'sync' and waits for" in line for line in told)
    assert "the console shows 'SYNCED 7'" in told[-1]
    lines = closing(of_move("vm0", result, "leave"), {})
    (line,) = (line for line in lines if "stood still" in line)
    assert line.startswith(
        f"The guest stood still for {migration['guest']['pause_seconds']} s, until its console showed"
    )
    assert f"the API tells of a pause of {migration['pause_seconds']} s" in line


def test_a_guest_that_is_not_heard_fails_a_move_that_succeeded_and_says_where_it_runs(pair: Pair) -> None:
    result = move(pair, wait_for={"expect": "SYNCED", "send": [], "timeout": 0.3})
    assert result["failed"]
    assert result["changed"]
    assert result["failure"]["code"] == "guest_silent"
    assert result["migration"]["verdict"] == "succeeded"
    assert result["migration"]["runs_on"] == "beta"
    assert result["migration"]["guest"] == {"expect": "SYNCED", "match": None, "pause_seconds": None}
    assert "vm0 runs on beta at generation 2" in result["msg"]
    assert "its guest was not heard there: The console of beta did not show 'SYNCED' within 0.3 s" in result["msg"]
    lines = closing(of_move("vm0", result, "restart_on_source"), {})
    assert "Verdict:   succeeded (guest_silent)" in lines
    assert of_move("vm0", result, "restart_on_source").restart_on is None


def test_nobody_listens_to_a_guest_that_was_there_already_or_whose_move_failed(pair: Pair) -> None:
    pair.script = (*SUCCESS[:6], ("s", {"state": "Running", "out": "Error"}))
    pair.before_step[6] = pair.destination.kill
    failed = move(pair)
    assert failed["failure"]["code"] == "failed_on_source"
    assert failed["migration"]["guest"] is None
    there = FakeServer("127.0.8.3")
    there.holds(VM, "Running", {"boot": request_for(2)})
    pair.source.publish("Destroyed", out="Finish")
    again = move(pair, destination={"name": "beta", "address": there.address})
    there.kill()
    assert again["migration"]["verdict"] == "already_there"
    assert again["migration"]["guest"] is None


def test_without_the_library_for_consoles_nothing_is_moved(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_socket, "HAS_WEBSOCKET", False)
    result = move(pair)
    assert result["failure"]["code"] == "missing_library"
    assert pair.puts == []


def test_a_replica_that_goes_away_while_the_machine_moves_is_a_warning_once_and_its_return_is_told(pair: Pair) -> None:
    gone = {"type": "connecting", "state": "wait_connect", "mode": "offline"}

    def away() -> None:
        pair.source.targets_state[TARGETS[1]] = gone

    dirty, pause = ("s", {"out": "RamPushDirty"}), ("s", {"out": "Pause"})
    pair.script = (*SUCCESS[: PAUSED + 1], dirty, pause, dirty, pause, *SUCCESS[PAUSED + 1 :])
    pair.before_step[PAUSED] = away
    pair.before_step[PAUSED + 4] = pair.source.targets_state.clear
    told: list[str] = []
    result = move(pair, told, wait_for=None)
    assert result["migration"]["verdict"] == "succeeded"
    (warning,) = result["warnings"]
    assert warning.startswith(f"the downstairs {TARGETS[1]} of disk boot is connecting")
    assert "for alpha while vm0 moves: beta waits for all three" in warning
    assert sum("warning: the downstairs" in line for line in told) == 1
    assert sum(f"{TARGETS[1]} of disk boot is active again for alpha" in line for line in told) == 1
