# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what makes answers comparable: only what must differ from run to run is hidden."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings.http_compare import Slice, compare_answers, explains, history_problem, without_repeats
from recordings.http_events import Answer, Cut, Headers, NoAnswer
from recordings.http_masks import Places, mask_body, mask_cpuid, mask_header

ID, OTHER = "420d13d9-3ef8-4a98-af54-35e4a978581c", "f7a0f0bf-58f7-4928-bbdf-531c71962b5b"
PLACES = Places({12400: 23456, 12401: 12400, 3810: 2222}, Path("/srv/here"))


def test_addresses_are_translated_both_ways_and_may_change_places() -> None:
    recorded = "127.0.0.1:12400 127.0.0.1:12401 127.0.0.1:3810 127.0.0.1:7810 [::1]:12400 STATE/x 127.0.0.1:9"
    here = PLACES.here(recorded)
    assert here == ("127.0.0.1:23456 127.0.0.1:12400 127.0.0.1:2222 127.0.0.1:6222 [::1]:23456 /srv/here/x 127.0.0.1:9")
    assert PLACES.recorded(here) == recorded


def test_a_port_with_another_number_of_digits_is_refused() -> None:
    with pytest.raises(ValueError, match="expected the same number of digits"):
        Places({3810: 12000}, Path("/"))


@given(st.lists(st.sampled_from([12400, 12401, 3810, 7810]), max_size=8))
def test_translating_there_and_back_changes_nothing(ports: list[int]) -> None:
    text = json.dumps({"target": [f"127.0.0.1:{port}" for port in ports]})
    assert PLACES.recorded(PLACES.here(text)) == text
    assert len(PLACES.here(text)) == len(text)


def test_ids_and_dates_of_the_right_form_are_hidden_and_others_are_not() -> None:
    assert mask_header("x-request-id", ID) == "<request id>"
    assert mask_header("X-Request-Id", "17") == "17"
    assert mask_header("date", "Mon, 23 Nov 2026 08:36:03 GMT") == "<date>"
    assert mask_header("date", "2026-11-23") == "2026-11-23"
    assert mask_header("content-type", "application/json") == "application/json"
    assert mask_body(f'{{"request_id": "{ID}", "id": "{ID}"}}') == f'{{"request_id": "<request id>", "id": "{ID}"}}'
    assert mask_body('{"request_id": "x"}') == '{"request_id": "x"}'


def test_cpuid_values_are_hidden_also_when_the_text_ends_within_them() -> None:
    whole = '{"a":1,"cpuid":{"entries":[{"leaf":0}],"vendor":"amd"},"b":2}'
    assert mask_cpuid(whole) == '{"a":1,"cpuid":<cpuid>,"b":2}'
    assert mask_cpuid(whole[:35]) == '{"a":1,"cpuid":<cpuid>'
    assert mask_cpuid('{"cpuid":null}') == '{"cpuid":null}'


def answer(body: str, status: int = 200, reason: str = "OK", headers: Headers = ()) -> Answer:
    return Answer(status, reason, headers, body)


def test_equal_answers_have_no_difference() -> None:
    error = '{\n  "request_id": "%s",\n  "message": "Not Found"\n}\n'
    headers = (("x-request-id", OTHER), ("date", "Tue, 24 Nov 2026 00:00:00 GMT"))
    ours = Answer(404, "Not Found", headers, error % OTHER)
    theirs = Answer(404, "Not Found", (("date", "Mon, 23 Nov 2026 08:36:03 GMT"), ("x-request-id", ID)), error % ID)
    assert compare_answers(theirs, ours, PLACES) == {}


@pytest.mark.parametrize(
    ("theirs", "ours", "aspects"),
    [
        (answer("{}"), answer("{}", 201, "Created"), {"status"}),
        (answer("{}"), answer("{}", 200, "Fine"), {"status"}),
        (answer("{}"), answer("{ }"), {"body"}),
        (answer('{"a":1,"b":2}'), answer('{"b":2,"a":1}'), {"body"}),
        (answer("{}", headers=(("a", "1"),)), answer("{}"), {"headers"}),
        (answer("{}", headers=(("a", "1"),)), answer("{}", headers=(("a", "2"),)), {"headers"}),
        (answer("{}"), NoAnswer("TimeoutError: timed out"), {"answer"}),
        (NoAnswer("ConnectionRefusedError: x"), NoAnswer("TimeoutError: x"), {"answer"}),
        (Answer(200, "OK", (), '{"ab', Cut(9)), answer('{"ab":123}'), {"length"}),
        (Answer(200, "OK", (), '{"ab', Cut(10)), answer('{"ac":123}'), {"body"}),
        (
            answer("{}"),
            answer(f'{{"request_id":"{ID}"}}', headers=(("x-request-id", OTHER),)),
            {"body", "headers", "request id"},
        ),
    ],
)
def test_each_difference_is_named(theirs: Answer | NoAnswer, ours: Answer | NoAnswer, aspects: set[str]) -> None:
    assert set(compare_answers(theirs, ours, PLACES)) == aspects


def test_a_cut_answer_is_compared_as_far_as_it_goes() -> None:
    theirs = Answer(200, "OK", (("content-length", "40"),), '{"a":1,"cpuid":{"entr', Cut(40))
    ours = answer('{"a":1,"cpuid":{"entries":[]},"b":3}', headers=(("content-length", "36"),))
    assert compare_answers(theirs, ours, PLACES) == {}
    assert set(compare_answers(theirs, answer('{"a":2,"cpuid":{}}', headers=(("content-length", "18"),)), PLACES)) == {
        "body"
    }


@pytest.mark.parametrize(
    ("query", "total", "expected"),
    [
        # all seen on the real program, which had shown 154 bytes
        ("from_start=0", 154, (0, 154)),
        ("from_start=0&max_bytes=20", 154, (0, 20)),
        ("from_start=17&max_bytes=10", 154, (17, 27)),
        ("most_recent=10", 154, (144, 154)),
        ("most_recent=30&max_bytes=5", 154, (124, 129)),
        ("from_start=100000", 154, (154, 154)),
        ("from_start=0&max_bytes=0", 154, (0, 0)),
    ],
)
def test_the_asked_for_part_of_the_console_is_the_one_that_the_real_server_gave(
    query: str, total: int, expected: tuple[int, int]
) -> None:
    assert Slice.of(f"/instance/serial/history?{query}").within(total) == expected


@given(st.binary(max_size=60), st.integers(0, 70), st.integers(0, 70), st.sampled_from(["from_start", "most_recent"]))
def test_a_right_history_answer_is_accepted_and_a_shifted_one_is_not(
    shown: bytes, number: int, limit: int, way: str
) -> None:
    target = f"/x?{way}={number}&max_bytes={limit}"
    start, end = Slice.of(target).within(len(shown))
    right = json.dumps({"data": list(shown[start:end]), "last_byte_offset": end})
    assert history_problem(target, right, shown, [len(shown)]) is None
    wrong = json.dumps({"data": list(shown[start:end]), "last_byte_offset": end + 1})
    assert history_problem(target, wrong, shown, [len(shown)]) is not None
    swapped = json.dumps({"last_byte_offset": end, "data": list(shown[start:end])})
    assert history_problem(target, swapped, shown, [len(shown)]) is not None


@given(st.lists(st.sampled_from("abc")), st.data())
def test_whoever_looks_now_and_then_sees_a_part_of_the_order(order: list[str], data: st.DataObject) -> None:
    kept = data.draw(st.lists(st.booleans(), min_size=len(order), max_size=len(order)))
    seen = [item for item, keep in zip(order, kept, strict=True) if keep]
    assert explains(order, seen)
    assert explains(order, [item for item in seen for _unused in range(2)])
    assert not explains(order, [*order, "z"])


def test_another_order_is_not_explained() -> None:
    assert not explains(["Sync", "RamPush", "Finish"], ["RamPush", "Sync"])
    assert explains(["Pause", "RamPushDirty", "Pause"], ["Pause", "Pause"])
    assert without_repeats([1, 1, 2, 2, 1]) == [1, 2, 1]
