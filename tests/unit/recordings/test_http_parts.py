# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the replay's parts that need no stand-in: pacing, log messages, console output, order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings.http_consoles import _follows
from recordings.http_events import (
    Answer,
    Event,
    Exchange,
    Frame,
    LogLines,
    Note,
    Opening,
    Polled,
    Publication,
    Published,
    Request,
    StateSeen,
)
from recordings.http_following import compare_order
from recordings.http_logs import compare_logs
from recordings.http_masks import Places
from recordings.http_observing import Publication as Ours
from recordings.http_observing import publications
from recordings.http_pacing import clock, polled_meanwhile, run_of_states, shows_output, tables

PLACES = Places({}, Path("/"))
ID = "652fa2d2-fcb0-4616-a326-49c7b2ef3206"


def test_a_wait_ends_at_the_last_state_that_its_client_saw() -> None:
    events: list[Event] = [
        StateSeen(1, 12400, "Starting"),
        Polled(2, 12401, None, None),
        StateSeen(3, 12400, "Running"),
        Polled(4, 12401, None, None),
        StateSeen(5, 12401, "Migrating"),
    ]
    assert run_of_states(events, 0) == (events[2], 3)
    assert run_of_states(events, 4) == (events[4], 1)


def test_the_table_of_a_server_is_the_one_behind_its_log() -> None:
    table = Published(2, (Publication(100.5, 2, "Starting", ()),))
    run = Request(12400, "PUT", "/instance/state", (), '"Run"')
    events: list[Event] = [
        Exchange(1, 0.5, run, Answer(424, "", (), ""), 0),
        Exchange(1, 0.8, run, Answer(204, "", (), ""), 0),
        LogLines(1, "srvB", "x", (), 0),
        table,
    ]
    assert tables(events) == {"srvB": table}
    assert clock(events, tables(events)) == pytest.approx(99.7)
    assert clock(events, {}) is None


def test_output_belongs_to_a_websocket_until_the_next_request() -> None:
    opening = Opening(1, 0.0, Request(1, "GET", "/", (), ""), Answer(101, "", (), ""))
    typed, shown = Frame(2, 0.0, True, 2, b"x"), Frame(3, 0.0, False, 2, b"y")
    assert shows_output([opening, typed, shown], 0)
    assert not shows_output([opening, typed, Note(4, 0.0, "later"), shown], 0)
    assert not shows_output([opening, Frame(3, 0.0, False, 8, b"")], 0)


def log(*records: Mapping[str, object]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def test_publications_are_read_from_a_log() -> None:
    migration = f"migration_in: None, migration_out: Some(InstanceMigrationStatus {{ id: {ID}, state: Sync }})"
    output = "a panic\n" + log(
        {"msg": "listening"},
        {"msg": "publishing new instance state", "gen": 4, "state": "Migrating", "migration": migration},
    )
    found = publications(output + '{"msg":"publishing new inst')
    assert found == [Ours(4, "Migrating", None, (ID, "Sync"))]
    assert found[0].body() == {
        "gen": 4,
        "state": "Migrating",
        "migration": {"migration_in": None, "migration_out": {"id": ID, "state": "Sync"}},
    }


def differences(recorded: str, ours: str, pattern: str = ".", left_out: int = 0) -> list[str]:
    found: list[str] = []
    event = LogLines(7, "srvA", pattern, tuple(recorded.splitlines()), left_out)
    compare_logs(event, ours, PLACES, lambda _line, _label, aspect, _recorded, mine: found.append(f"{aspect} {mine}"))
    return found


def test_messages_of_the_request_queue_are_compared_and_others_are_not() -> None:
    asked = {"msg": "requested state via API", "state": "Run"}
    queued = {"msg": "enqueued external request", "request": "State(Start)"}
    other = {"msg": "something that a library says"}
    assert differences(log(asked, other, queued), log(other, asked, queued)) == []
    assert differences(log(asked, queued), log(queued, asked)) != []
    assert differences(log(asked, queued), log(asked)) == ["messages []"]
    assert differences(log(asked), log({**asked, "state": "Stop"})) != []
    assert differences(log(asked), log(asked, queued), left_out=3) == []
    assert differences(log(asked, queued), log(asked), pattern="requested") == []


def test_the_course_of_an_instance_is_compared_where_the_recorded_log_shows_it() -> None:
    def published(state: str, number: int) -> dict[str, object]:
        return {"msg": "publishing new instance state", "migration": "None", "state": state, "gen": number}

    ours = log(published("Starting", 2), {"msg": "a library's own"}, published("Running", 3), published("Stopping", 4))
    assert differences(log(published("Running", 3), published("Stopping", 4)), ours) == []
    assert differences(log(published("Starting", 2), published("Running", 3)), ours) == []
    assert differences(log(published("Starting", 2), published("Stopping", 4)), ours) != []
    assert len(differences(log(published("Running", 3), published("Stopping", 5)), ours)) == 1
    assert differences(log(published("Destroyed", 5)), log({"msg": "nothing"})) == ["course nothing more"]


def test_a_poll_is_under_way_before_the_change_that_it_was_answered_with() -> None:
    change = Exchange(1, 1.0, Request(1, "PUT", "/instance/state", (), '"Reboot"'), Answer(204, "", (), ""), 0.0)
    poll = Request(1, "GET", "/instance/state-monitor", (), '{"gen": 4}')
    prompt = Exchange(2, 1.01, poll, Answer(200, "", (), '{"gen":4,"state":"Rebooting"}'), 0.0)
    assert polled_meanwhile([change, prompt], 0) == [change, prompt]
    assert polled_meanwhile([change, replace(prompt, at=3.0)], 0) == []
    assert polled_meanwhile([change, replace(prompt, answer=Answer(200, "", (), '{"gen":5}'))], 0) == []
    assert polled_meanwhile([replace(change, answer=Answer(403, "", (), "")), prompt], 0) == []
    assert polled_meanwhile([prompt, change], 0) == []


def test_ids_of_sessions_and_tasks_are_not_compared() -> None:
    def session(identity: str) -> str:
        text = f"UpstairsConnection {{ session_id: {identity}, generation: 1 }} is now active (read-write)"
        return log({"msg": text})

    assert differences(session(ID), session(ID.replace("6", "7"))) == []
    assert differences(session(ID), session(ID).replace("generation: 1", "generation: 2")) != []

    def failure(number: int, words: str) -> str:
        return log({"msg": "failed to activate new VM", "error": f"task {number} panicked with {words}"})

    assert differences(failure(1, "a"), failure(12, "a")) == []
    assert differences(failure(1, "a"), failure(1, "b")) != []


@given(st.binary(min_size=1, max_size=200), st.data())
def test_live_output_goes_on_where_history_ended_or_repeats_its_end(whole: bytes, data: st.DataObject) -> None:
    total = data.draw(st.integers(0, len(whole)))
    repeated = data.draw(st.integers(0, min(total, 64)))
    assert _follows(whole, total, whole[total - repeated :])
    assert _follows(whole, total, b"")


def test_a_gap_in_live_output_is_noticed() -> None:
    whole = b"boot\r\ntick 1\r\ntick 2\r\ntick 3\r\n"
    assert not _follows(whole, 6, b"tick 2\r\n")
    assert not _follows(whole, 6, b"tick 1\r\ntick 3\r\n")
    assert not _follows(whole, 6, b"never shown")


def test_the_first_other_publication_is_shown() -> None:
    recorded = [Publication(0.0, 2, "Starting", ()), Publication(1.0, 3, "Running", ("Finish",))]
    same = [Ours(2, "Starting", None, None), Ours(3, "Running", (ID, "Finish"), None)]
    assert compare_order(recorded, same) is None
    assert compare_order(recorded, same[:1]) is not None
    assert compare_order(recorded[:1], same) is not None
    assert compare_order(recorded, list(reversed(same))) is not None
