# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at servers: every kind of silence has its name, and nothing takes longer than it may."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.errors import Unreachable
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.instance import NIL_UUID, Phase, Side, State
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.observation import (
    Place,
    Reach,
    ServerName,
    place,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.observe import Look, Observer
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.server import Server
from fake_propolis import FakeServer, request_for

VM = "0cc7d20f-ee8e-49ad-b89c-b58f3a4f76d6"
OURS = "652fa2d2-fcb0-4616-a326-49c7b2ef3206"
FOREIGN = "3a1f7a52-0d0f-4f8e-9b7b-5d4f4a0c1c03"


@contextmanager
def serving(dialect: str = "5.0.0") -> Iterator[FakeServer]:
    server = FakeServer("127.0.2.1", dialect=dialect)
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def answering(words: bytes) -> Iterator[str]:
    """Something on a port that answers every connection with the same bytes."""
    listener = socket.create_server(("127.0.2.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _peer = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(words)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"127.0.2.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


def look(address: str, **more: Any) -> Any:
    return Observer(timeout=0.4).look(Look(ServerName("alpha", address), **more))


def test_a_running_instance_is_seen_with_its_disks_and_migrations() -> None:
    with serving() as server:
        server.holds(VM, "Running", {"boot": request_for(3)})
        server.publish(into="Finish", id=OURS)
        seen = look(server.address)
    assert (seen.reach, seen.state, seen.instance_id, seen.instance_name) == (Reach.ANSWERS, State.RUNNING, VM, "vm0")
    assert seen.dialect == "5.0.0"
    assert seen.incoming is not None
    assert (seen.incoming.id, seen.incoming.phase) == (OURS, Phase.FINISH)
    assert seen.outgoing is None
    (disk,) = seen.disks
    assert (disk.name, disk.backend, disk.generation, disk.active) == ("boot", "boot-backend", 3, True)


def test_an_empty_server_answers_and_holds_nothing() -> None:
    with serving() as server:
        seen = look(server.address)
    assert seen.state is None
    assert place(seen, VM) is Place.EMPTY


def test_a_destination_in_the_middle_of_the_request_is_seen_to_move() -> None:
    with serving() as server:
        server.migration_in = {"id": OURS, "state": "Sync"}
        assert place(look(server.address), VM) is Place.MOVING


def test_a_refused_connection_means_that_the_process_is_gone() -> None:
    with serving() as server:
        server.kill()
        seen = look(server.address)
    assert seen.reach is Reach.GONE
    assert "alpha" in seen.error


def test_a_server_that_does_not_answer_hangs_and_costs_one_time_and_not_more() -> None:
    with serving() as server:
        server.holds(VM, "Running", {})
        server.hangs = True
        seen = look(server.address)
    assert seen.reach is Reach.HANGS
    assert server.unanswered.qsize() == 1


def test_a_server_that_hangs_after_its_first_answer_hangs_too() -> None:
    with serving() as server:
        server.holds(VM, "Running", {})
        server._monitor = lambda _body: (time.sleep(2), (200, {}))[1]  # type: ignore[method-assign]
        assert look(server.address).reach is Reach.HANGS


@pytest.mark.parametrize(
    "words",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\ncontent-type: text/html\r\n\r\n<html></html>",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    ],
)
def test_another_program_is_strange_and_nobody_can_say_what_runs_there(words: bytes) -> None:
    with answering(words) as address:
        seen = look(address)
    assert seen.reach is Reach.STRANGE
    assert place(seen, VM) is Place.UNREACHABLE


def test_a_connection_that_is_dropped_without_a_word_is_no_refusal() -> None:
    with answering(b"") as address:
        assert look(address).reach in (Reach.UNREACHABLE, Reach.STRANGE)


def test_a_host_without_a_route_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_route(*_arguments: Any, **_options: Any) -> Server:
        raise Unreachable("no way there", details={"reason": "No route to host"})

    monkeypatch.setattr(Server, "open", no_route)
    seen = look("127.0.2.1:1")
    assert seen.reach is Reach.UNREACHABLE
    assert place(seen, VM) is Place.UNREACHABLE


def test_a_server_that_was_replaced_by_one_of_another_age_is_understood_again() -> None:
    with serving() as server:
        observer = Observer(timeout=0.4)
        wanted = Look(ServerName("alpha", server.address))
        assert observer.look(wanted).dialect == "5.0.0"
        server.dialect = "1.0.0"
        assert observer.look(wanted).dialect == "1.0.0"


def test_disks_that_cannot_be_read_spoil_nothing_else() -> None:
    with serving() as server:
        server.holds(VM, "Running", {"boot": request_for(3)})
        server.disk_status_answer = (500, {"request_id": "x", "message": "Internal Server Error"})
        seen = look(server.address)
    assert seen.state is State.RUNNING
    assert seen.disks == ()
    assert "HTTP 500" in seen.disks_problem


def test_many_servers_are_asked_and_the_answers_keep_their_order() -> None:
    with serving() as one, serving() as two, serving() as three:
        two.hangs = three.hangs = True
        one.holds(VM, "Running", {})
        names = [ServerName(name, server.address) for name, server in (("b", two), ("a", one), ("c", three))]
        seen = Observer(timeout=0.4).look_at_all([Look(name) for name in names])
    assert [sighting.server.name for sighting in seen] == ["b", "a", "c"]
    assert [sighting.reach for sighting in seen] == [Reach.HANGS, Reach.ANSWERS, Reach.HANGS]


def test_servers_that_answer_only_when_all_are_asked_are_asked_at_once() -> None:
    with serving() as one, serving() as two:
        one.hangs = two.hangs = True

        def let_go_once_both_are_asked() -> None:
            one.unanswered.get()
            two.unanswered.get()
            one.hangs = two.hangs = False

        threading.Thread(target=let_go_once_both_are_asked, daemon=True).start()
        names = [ServerName("a", one.address), ServerName("b", two.address)]
        seen = Observer(timeout=600).look_at_all([Look(name) for name in names])
    assert [sighting.reach for sighting in seen] == [Reach.ANSWERS] * 2


def test_2023_a_migration_is_seen_by_those_who_know_its_id() -> None:
    with serving("2023-01") as server:
        server.holds(VM, "Migrating", {"boot": request_for(2)})
        server.publish(into="RamPush", id=OURS)
        seen = look(server.address, side=Side.IN, migration_id=OURS)
        assert (seen.incoming.id, seen.incoming.phase) == (OURS, Phase.RAM_PUSH)
        assert seen.disks[0].generation == 2
        assert seen.disks[0].active is None
        other = look(server.address, side=Side.IN, migration_id=FOREIGN)
        assert other.incoming.id == NIL_UUID
        assert look(server.address).incoming is None


def test_2023_a_foreign_migration_away_is_seen_as_one_too() -> None:
    with serving("2023-01") as server:
        server.holds(VM, "Migrating", {})
        server.publish(out="Pause", id=FOREIGN)
        assert look(server.address, side=Side.OUT, migration_id=OURS).outgoing.id == NIL_UUID


def test_2023_a_source_that_has_dropped_its_machine_is_empty() -> None:
    with serving("2023-01") as server:
        seen = look(server.address, side=Side.OUT, migration_id=OURS)
        assert (seen.reach, seen.state) == (Reach.ANSWERS, None)


def test_a_server_that_refuses_the_migration_status_is_strange_and_one_without_it_is_not() -> None:
    with serving() as server:
        server._status = lambda _body: (404, {"request_id": "x", "message": "Not Found"})  # type: ignore[method-assign]
        assert look(server.address).reach is Reach.ANSWERS
        server._status = lambda _body: (500, {"request_id": "x", "message": "?"})  # type: ignore[method-assign]
        assert look(server.address).reach is Reach.STRANGE


def test_an_instance_that_goes_between_two_questions_is_not_taken_for_running() -> None:
    with serving() as server:
        server.holds(VM, "Running", {})
        server._monitor = lambda _body: server._none()  # type: ignore[method-assign]
        assert look(server.address).reach is not Reach.ANSWERS
