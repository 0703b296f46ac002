# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the reader of recordings: nothing is overlooked, nothing is made up."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings.http_events import (
    Alive,
    Answer,
    Command,
    Cut,
    DiskWatched,
    Down,
    Exchange,
    Frame,
    LogLines,
    Monitored,
    NoAnswer,
    Note,
    Opening,
    Outcome,
    Polled,
    Published,
    StateMissed,
    StateSeen,
    Up,
    WebsocketEnd,
)
from recordings.http_transcript import TranscriptError, note, parse, read
from recordings.openapi import VERSIONS, document, find_operation, validate_answer
from shared import needs_shared, recordings

SAMPLE = """\
### [   0.000] scenario sample; wall clock UTC at start 08:36:02
### [   0.749] up: up: servers 12400 12401 downstairs 3810 3820 3830 state STATE
===== [   0.749] REQUEST to 127.0.0.1:12400
PUT /instance/state HTTP/1.1
Host: 127.0.0.1:12400
api-version: 5.0.0
content-type: application/json
content-length: 5

"Run"
----- ANSWER after 0.001s
HTTP/1.1 424 Failed Dependency
content-type: application/json
content-length: 35

{
  "message": "Server not init."
}

===== [   0.880] REQUEST to 127.0.0.1:12400
GET /instance/spec HTTP/1.1
Host: 127.0.0.1:12400


----- ANSWER after 3.002s
(no answer: TimeoutError: timed out)

===== [   0.900] REQUEST to 127.0.0.1:12400
GET /instance/spec HTTP/1.1
Host: 127.0.0.1:12400


----- ANSWER after 0.002s
HTTP/1.1 200 OK
content-length: 6282

{"properties":{"id":"25... (6282 characters)

===== [   1.000] REQUEST (websocket)
GET /instance/serial?from_start=0 HTTP/1.1
Host: 127.0.0.1:12401
Sec-WebSocket-Key: f8Kf2oRw5VqDGH6YUCIyPw==

----- ANSWER
HTTP/1.1 101 Switching Protocols
connection: Upgrade

   [   1.405] ws server->client opcode=2 len=8 payload=b'ick 17\\r\\n'
   [   1.810] ws client->server opcode=2 len=5 payload=b'info\\r'
   ws ended EOFError()
### raw log lines of srvA matching /level":50/:
{"msg":"a"}
thread 'x' panicked
... 778 more

### published (time, gen, state, migration):\x20
('08:36:03.453', 2, 'Starting', [])
('08:36:25.500', 12, 'Migrating', ['Finish', 'Sync'])
### [  29.257] down: all
"""


def test_a_sample_of_every_kind_of_event_is_read() -> None:
    events = parse(SAMPLE)
    assert [type(event) for event in events] == [
        Note,
        Up,
        Exchange,
        Exchange,
        Exchange,
        Opening,
        Frame,
        Frame,
        WebsocketEnd,
        LogLines,
        Published,
        Down,
    ]
    put, silent, long = events[2:5]
    assert isinstance(put, Exchange)
    assert isinstance(put.answer, Answer)
    assert (put.request.method, put.request.target, put.request.body) == ("PUT", "/instance/state", '"Run"')
    assert (put.answer.status, put.answer.reason) == (424, "Failed Dependency")
    assert json.loads(put.answer.body) == {"message": "Server not init."}
    assert isinstance(silent, Exchange)
    assert silent.answer == NoAnswer("TimeoutError: timed out")
    assert isinstance(long, Exchange)
    assert isinstance(long.answer, Answer)
    assert long.answer.cut == Cut(6282)
    assert long.answer.body == '{"properties":{"id":"25'


def test_websockets_logs_and_publications_are_read() -> None:
    opening, out, into, end, log, published, _down = parse(SAMPLE)[5:]
    assert isinstance(opening, Opening)
    assert opening.request.port == 12401
    assert opening.answer.status == 101
    assert isinstance(out, Frame)
    assert isinstance(into, Frame)
    assert (out.from_client, out.payload, into.from_client, into.payload) == (False, b"ick 17\r\n", True, b"info\r")
    assert isinstance(end, WebsocketEnd)
    assert isinstance(log, LogLines)
    assert (log.program, log.pattern, log.left_out) == ("srvA", 'level":50', 778)
    assert log.lines == ('{"msg":"a"}', "thread 'x' panicked")
    assert isinstance(published, Published)
    assert [(row.generation, row.state, row.migrations) for row in published.publications] == [
        (2, "Starting", ()),
        (12, "Migrating", ("Finish", "Sync")),
    ]
    assert published.publications[1].time - published.publications[0].time == pytest.approx(22.047)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("state of :12400 = Running", StateSeen(1, 12400, "Running")),
        (
            "state of :12401 did not become Destroyed within 30s, is Failed",
            StateMissed(1, 12401, "Destroyed", "Failed"),
        ),
        ("POLL :12401 state=(424, 'NoInstance') migration=424", Polled(1, 12401, None, None)),
        (
            'POLL :12400 state=Migrating migration={"migration_in": null, "migration_out": "Sync"}',
            Polled(1, 12400, "Migrating", {"migration_in": None, "migration_out": "Sync"}),
        ),
        ('MONITOR :12400 {"gen": 3}', Monitored(1, 12400, 200, {"gen": 3})),
        ('MONITOR :12400 gen>=19 -> 410 {"message": "x"}', Monitored(1, 12400, 410, {"message": "x"})),
        (
            '+0.51s B disk status {"state": "active", "generation": 2, "targets": []}',
            DiskWatched(1, 0.51, "active", 2),
        ),
        ("+10.47s B disk status 424", DiskWatched(1, 10.47, None, None)),
        ("outcome after 12.0s: A=Destroyed B=Failed", Outcome(1, "Destroyed", "Failed")),
        ("server alive: False", Alive(1, {"srvA": False})),
        ("alive: A True B False", Alive(1, {"srvA": True, "srvB": False})),
        ("down: srvA srvB", Down(1, ("srvA", "srvB"))),
        ("anything else", Note(1, 2.5, "anything else")),
    ],
)
def test_a_remark_is_read_as_the_event_that_it_tells(text: str, expected: object) -> None:
    assert note(1, 2.5, text) == expected


@pytest.mark.parametrize("text", ["what is this", "===== [ 0.1] REQUEST of somebody", "HTTP/1.1 200 OK"])
def test_a_line_that_is_not_understood_is_an_error_with_its_number(text: str) -> None:
    with pytest.raises(TranscriptError, match="sample:3: not understood"):
        parse(f"### [ 0.0] a\n\n{text}\n", "sample")


@given(
    body=st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=80).filter(
        lambda text: not re.search(r"^(### |===== \[|----- ANSWER|   \[|   ws ended|#{16})", text, re.MULTILINE)
    ),
    status=st.integers(100, 599),
)
def test_every_body_comes_back_as_it_was_recorded(body: str, status: int) -> None:
    if re.search(r"\.\.\. \(\d+ characters\)$", body.rstrip("\n")):
        return
    length = len(body.encode())
    text = (
        "===== [   1.000] REQUEST to 127.0.0.1:12400\nPUT /x HTTP/1.1\nHost: 127.0.0.1:12400\n"
        f"content-length: {length}\n\n{body}\n----- ANSWER after 0.001s\n"
        f"HTTP/1.1 {status} Reason Words\ncontent-length: {length}\n\n{body}\n\n### [ 2.0] end\n"
    )
    exchange, end = parse(text)
    assert isinstance(exchange, Exchange)
    assert isinstance(exchange.answer, Answer)
    assert exchange.request.body == body
    assert (exchange.answer.status, exchange.answer.body) == (status, body)
    assert isinstance(end, Note)


HTTP_RECORDINGS = ("b-http-api", "b2-ensure-failures", "c1-migration-success", "c2-migration-generation")


@needs_shared
@pytest.mark.parametrize("name", [*HTTP_RECORDINGS, "f-api-versions"])
def test_every_request_of_a_recording_becomes_an_exchange_and_is_whole_or_known_to_be_cut(name: str) -> None:
    path = recordings / "transcripts" / "propolis" / f"{name}.txt"
    text = path.read_text(encoding="utf-8")
    events = read(path)
    kinds = Counter(type(event) for event in events)
    assert kinds[Exchange] + kinds[Opening] == len(re.findall(r"^===== \[.*REQUEST", text, re.MULTILINE))
    assert kinds[Frame] == len(re.findall(r"^   \[.*\] ws ", text, re.MULTILINE))
    for event in events:
        if isinstance(event, Exchange):
            for message in (event.request, event.answer):
                if not isinstance(message, NoAnswer):
                    length = int(dict(message.headers).get("content-length", "0"))
                    assert length == (message.cut.length if message.cut else len(message.body.encode())), event.line


@needs_shared
@pytest.mark.parametrize("name", [*HTTP_RECORDINGS, "f-api-versions"])
def test_what_the_real_server_answered_is_allowed_by_its_own_api_document(name: str) -> None:
    checked = 0
    for event in read(recordings / "transcripts" / "propolis" / f"{name}.txt"):
        if not isinstance(event, Exchange) or not isinstance(event.answer, Answer) or event.answer.cut:
            continue
        version = dict(event.request.headers).get("api-version", "")
        if version not in VERSIONS or (event.request.method, event.request.target) == ("GET", "/nope"):
            continue
        if event.answer.status == 405:
            continue
        found = document(version)
        find_operation(found, event.request.method, event.request.target)
        body = event.answer.body.encode()
        validate_answer(found, event.request.method, event.request.target, event.answer.status, body)
        checked += 1
    assert checked > 15


@needs_shared
def test_every_start_of_a_server_is_read_with_its_end_and_output() -> None:
    path = recordings / "transcripts" / "propolis" / "d-server-start.txt"
    commands = [event for event in read(path) if isinstance(event, Command)]
    assert len(commands) == len(re.findall(r"^#{16} ", path.read_text(encoding="utf-8"), re.MULTILINE)) == 23
    by_title = {command.title: command for command in commands}
    assert by_title["--version"].stdout == "propolis-server 0.1.0"
    assert by_title["port in use"].exit_text == "1"
    assert by_title["port in use"].stderr == "Error: Failed to start server: failed to bind to 127.0.0.1:12400"


def test_a_recording_that_ends_within_a_request_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text(SAMPLE[: SAMPLE.index("----- ANSWER")] + "### [ 1.0] end\n", encoding="utf-8")
    with pytest.raises(TranscriptError, match="short"):
        read(path)
