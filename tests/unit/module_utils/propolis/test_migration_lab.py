# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves and consoles against the lab's own programs, started as users start them."""

from __future__ import annotations

import threading
from pathlib import Path

import websocket
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.instance import MigrationStatus
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.migration import Mover
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.observation import ServerName
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.serial import Heard, Wish, listen
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.verdict import Code
from lab_processes import Lab, lab, wait_for

FAILED = "dfe1f080-94f4-4138-bcb1-6b3c853cef9d"
NOTHING = MigrationStatus()


def watch(made: Lab, server: str, expect: str, **more: object) -> Heard:
    names = tuple(ServerName(one.name, one.address) for one in made.servers.values())
    at = ServerName(server, made.servers[server].address)
    return listen(Wish(at, expect=expect, others=names, timeout=20, **more))  # type: ignore[arg-type]


def test_an_instance_moves_there_and_back_and_its_console_is_followed_without_a_gap(tmp_path: Path) -> None:
    with lab(tmp_path) as made:
        assert watch(made, "alpha", r"tick 2\b", from_start=0).match
        heard: list[Heard] = []
        watcher = threading.Thread(
            target=lambda: heard.append(watch(made, "alpha", r"(?s)tick 2\b.*tick 9\b", from_start=0))
        )
        watcher.start()
        there = Mover(made.move("alpha", "beta", 2)).run()
        assert there.verdict.code is Code.SUCCEEDED, there.verdict.sentence
        assert there.pause is not None
        assert there.pause < there.total
        again = Mover(made.move("alpha", "beta", 2)).run()
        assert again.verdict.code is Code.ALREADY_THERE
        watcher.join(25)
        assert heard[0].server.name == "beta"
        ticks = [int(line[5:]) for line in heard[0].output.splitlines() if line.startswith("tick ")]
        assert ticks == list(range(ticks[0], ticks[0] + len(ticks)))
        back = Mover(made.move("beta", "alpha", 3)).run()
        assert back.verdict.code is Code.SUCCEEDED, back.verdict.sentence
        assert "generation 3" in back.verdict.sentence


def test_a_missing_downstairs_is_refused_before_anything_is_asked_for(tmp_path: Path) -> None:
    with lab(tmp_path) as made:
        made.downstairs[2].kill()
        made.downstairs[2].wait()

        def noticed() -> bool:
            (disk,) = made.open("alpha").disk_sessions()
            return any(target.state != "active" for target in disk.targets)

        wait_for("the loss of a downstairs is noticed", noticed)
        refused = Mover(made.move("alpha", "beta", 2)).run()
        assert refused.verdict.failure_code == "replica_missing"
        assert str(made.ports[2]) in refused.verdict.sentence
        assert made.open("beta").instance() is None


def test_a_destination_that_dies_on_the_way_leaves_the_instance_where_it_was(tmp_path: Path) -> None:
    with lab(tmp_path) as made:
        made.servers["beta"].fault(steps=[{"side": "destination", "phase": "RamPush", "action": "die"}])
        failed = Mover(made.move("alpha", "beta", 2)).run()
        assert failed.verdict.code is Code.FAILED_ON_SOURCE, failed.verdict.sentence
        assert "vm0 still runs on alpha at generation 1" in failed.verdict.sentence
        made.start_server("gamma", "127.0.6.3")
        second = Mover(made.move("alpha", "gamma", 3)).run()
        assert second.verdict.code is Code.SUCCEEDED, second.verdict.sentence


def test_a_source_that_is_stuck_since_a_failed_try_is_named_as_such(tmp_path: Path) -> None:
    with lab(tmp_path) as made:
        # A destination that dies between the connection and the agreement on a version, seen from the source.
        url = f"ws://{made.servers['alpha'].address}/instance/migrate/{FAILED}/start"
        peer = websocket.create_connection(url, header=["api-version: 1.0.0"], timeout=5)
        peer.shutdown()
        server = made.open("alpha")
        wait_for(
            "the source remembers the failure", lambda: (server.migration_status() or NOTHING).outgoing is not None
        )
        stuck = Mover(made.move("alpha", "beta", 2)).run()
        assert stuck.verdict.code is Code.FAILED_AND_SOURCE_STUCK, stuck.verdict.sentence
        assert FAILED in stuck.verdict.sentence
        assert any(FAILED in warning for warning in stuck.warnings)
        assert stuck.verdict.runs_on is not None
        assert stuck.verdict.runs_on.name == "alpha"


def test_a_source_of_2023_cannot_be_asked_again_after_a_failure_and_each_run_says_what_cures_it(tmp_path: Path) -> None:
    cure = "stop and start the instance on alpha before the next try (instance_force stops one that says Migrating)"
    with lab(tmp_path, age="2023-01") as made:
        made.servers["beta"].fault(steps=[{"side": "destination", "phase": "RamPush", "action": "error"}])
        for began in (True, False):
            failed = Mover(made.move("alpha", "beta", 2)).run()
            assert failed.verdict.code is Code.FAILED_ON_SOURCE, failed.verdict.sentence
            assert failed.changed == began
            assert failed.verdict.next_steps == ("read the log of beta for the reason", cure)
            made.servers["beta"].fault()


def test_a_source_that_dies_on_the_way_leaves_nobody_and_says_so(tmp_path: Path) -> None:
    with lab(tmp_path) as made:
        made.servers["alpha"].fault(steps=[{"side": "source", "phase": "Device", "action": "die"}])
        lost = Mover(made.move("alpha", "beta", 2)).run()
        assert lost.verdict.code is Code.NOBODY_RUNS, lost.verdict.sentence
        assert "generation 3 or higher" in lost.verdict.sentence


def test_a_run_that_is_given_up_is_finished_by_the_next_one(tmp_path: Path) -> None:
    with lab(tmp_path) as made:
        made.servers["alpha"].fault(steps=[{"side": "source", "phase": "RamPush", "action": "stall"}])
        given_up = Mover(made.move("alpha", "beta", 2, timeout=1.5)).run()
        assert given_up.verdict.code is Code.TIMED_OUT, given_up.verdict.sentence
        other = Mover(made.move("alpha", "beta", 3)).run()
        assert other.verdict.code is Code.IN_PROGRESS_ELSEWHERE
        threading.Timer(1.0, made.servers["alpha"].fault).start()
        finished = Mover(made.move("alpha", "beta", 2)).run()
        assert finished.verdict.code is Code.ADOPTED, finished.verdict.sentence
        assert finished.changed


def test_2023_servers_move_and_the_destination_is_told_to_run(tmp_path: Path) -> None:
    with lab(tmp_path, age="2023-01") as made:
        outcome = Mover(made.move("alpha", "beta", 2, timeout=600)).run()
        assert outcome.verdict.code is Code.SUCCEEDED, outcome.verdict.sentence
        assert "vm0 runs on beta at generation 2" in outcome.verdict.sentence
        assert watch(made, "beta", r"tick \d+", from_start=0).match
