# SPDX-License-Identifier: GPL-3.0-or-later
"""Serial consoles: patterns, typing, capturing, and following an instance to another server."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis import serial_output, serial_socket
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.address import Address
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.errors import (
    ApiError,
    BadDescription,
    MissingLibrary,
    NotPropolis,
    PropolisError,
    Unreachable,
    WaitTimeout,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.observation import ServerName
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.serial import (
    ConsoleEnded,
    Wish,
    listen,
    read_history,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.serial_output import (
    CaptureFailed,
    Output,
    compile_pattern,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.serial_socket import News, Socket, read_move
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.server import Server
from fake_propolis import FakeServer
from hypothesis import given, settings
from hypothesis import strategies as st

VM = "0cc7d20f-ee8e-49ad-b89c-b58f3a4f76d6"


@pytest.fixture
def alpha() -> Iterator[FakeServer]:
    server = FakeServer("127.0.2.1")
    server.holds(VM, "Running", {})
    yield server
    server.kill()


@pytest.fixture
def beta() -> Iterator[FakeServer]:
    server = FakeServer("127.0.2.2")
    yield server
    server.kill()


def wish(server: FakeServer, **more: Any) -> Wish:
    values: dict[str, Any] = {"timeout": 3.0, "ask_timeout": 0.5}
    return Wish(ServerName("alpha", server.address), **(values | more))


def later(seconds: float, what: Any, *arguments: Any) -> None:
    timer = threading.Timer(seconds, what, arguments)
    timer.daemon = True
    timer.start()


def test_a_pattern_in_the_history_is_found_at_once(alpha: FakeServer) -> None:
    alpha.say(b"boot 1\r\nlab login: ")
    heard = listen(wish(alpha, expect=r"(?P<host>\w+) login: $", from_start=0))
    assert heard.match == "lab login: "
    assert heard.groups == ("lab",)
    assert heard.named_groups == {"host": "lab"}
    assert heard.offset == 19
    assert heard.sent == 0


def test_only_what_is_new_counts_unless_history_is_asked_for(alpha: FakeServer) -> None:
    alpha.say(b"login: old\r\n")
    later(0.2, alpha.say, b"login: new\r\n")
    assert listen(wish(alpha, expect=r"login: (\w+)")).groups == ("new",)
    assert listen(wish(alpha, expect=r"login: (\w+)", most_recent=12)).groups == ("new",)
    assert listen(wish(alpha, expect=r"login: (\w+)", most_recent=1000)).groups == ("old",)


def test_a_pattern_may_come_in_pieces(alpha: FakeServer) -> None:
    for number, piece in enumerate((b"lo", b"gin", b": ")):
        later(0.1 * (number + 1), alpha.say, piece)
    assert listen(wish(alpha, expect="^login: $")).match == "login: "


def test_output_that_no_frame_announces_is_found_all_the_same(alpha: FakeServer) -> None:
    later(0.1, lambda: alpha.say(b"quiet\r\n", frame=False))
    assert listen(wish(alpha, expect="quiet")).match == "quiet"


def test_lines_are_typed_with_a_carriage_return_and_the_answer_is_found(alpha: FakeServer) -> None:
    alpha.on_typed = lambda server, data: server.say(data + b"\nup 3 days\r\n")
    heard = listen(wish(alpha, send=("uptime",), expect=r"up (\d+)"))
    assert alpha.typed == b"uptime\r"
    assert heard.groups == ("3",)
    assert heard.sent == 1


def test_typing_alone_does_not_wait(alpha: FakeServer) -> None:
    heard = listen(wish(alpha, send=("one", "two"), timeout=600))
    assert heard.match is None
    assert heard.sent == 2
    until = time.monotonic() + 2
    while alpha.typed != b"one\rtwo\r" and time.monotonic() < until:
        time.sleep(0.01)
    assert alpha.typed == b"one\rtwo\r"


def test_the_time_is_bounded_and_the_last_output_is_told(alpha: FakeServer) -> None:
    alpha.say(b"kernel panic\r\n")
    with pytest.raises(WaitTimeout, match="'kernel panic'") as caught:
        listen(wish(alpha, expect="login", from_start=0, timeout=0.6))
    assert caught.value.code == "timed_out"
    assert caught.value.details["output"] == "kernel panic\r\n"
    assert caught.value.details["received"] == 14


def test_a_guest_that_never_stops_talking_does_not_keep_us(alpha: FakeServer) -> None:
    stop = threading.Event()

    def chatter() -> None:
        while not stop.is_set():
            alpha.say(b"x" * 100)

    guest = threading.Thread(target=chatter, daemon=True)
    guest.start()
    with pytest.raises(WaitTimeout):
        listen(wish(alpha, expect="login", timeout=1.0))
    assert guest.is_alive(), "it was still talking"
    stop.set()


def test_the_output_is_kept_in_a_file_that_only_its_owner_reads(alpha: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "console"
    path.write_text("old")
    path.chmod(0o644)
    alpha.say(b"\xff\x00one\r\n")
    later(0.2, alpha.say, b"two\r\n")
    listen(wish(alpha, capture=path, from_start=0, timeout=0.8))
    assert path.read_bytes() == b"\xff\x00one\r\ntwo\r\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_capture_through_a_symbolic_link_is_refused(alpha: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CaptureFailed, match="link"):
        listen(wish(alpha, capture=tmp_path / "link", from_start=0))


def test_a_disk_that_is_full_is_said(alpha: FakeServer) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("SKIPPED LOUDLY: no /dev/full here")
    with Output(None) as output:
        output._file = os.open("/dev/full", os.O_WRONLY)
        with pytest.raises(CaptureFailed, match="No space left"):
            output.add(b"x")


# --- moves ---------------------------------------------------------------------------------------------------------


def move(alpha: FakeServer, beta: FakeServer, announced: str | None) -> None:
    """The instance moves with its history, as the recorded migration did."""
    beta.history = alpha.history
    beta.holds(VM, "Migrating", {})
    if announced is not None:
        alpha.announce_move(announced, len(alpha.history))
    beta.publish("Running")
    alpha.publish("Destroyed", out="Finish", id=VM)
    alpha.drop_consoles()
    later(0.2, beta.say, b"tick 2\r\n")


def test_an_instance_that_moves_is_followed_by_the_address_in_the_frame(alpha: FakeServer, beta: FakeServer) -> None:
    alpha.say(b"tick 1\r\n")
    later(0.2, move, alpha, beta, beta.address)
    heard = listen(wish(alpha, expect=r"tick 1\s+tick 2", from_start=0))
    assert heard.server.address == beta.address
    assert heard.moves == (beta.address,)
    assert heard.offset == 16


@pytest.mark.parametrize("announced", ["0.0.0.0:8000", "not an address", None])
def test_an_instance_that_moves_is_found_at_the_servers_that_were_named(
    alpha: FakeServer, beta: FakeServer, announced: str | None
) -> None:
    alpha.say(b"tick 1\r\n")
    later(0.2, move, alpha, beta, announced)
    others = (ServerName("beta", beta.address), ServerName("gamma", "127.0.2.9:1"))
    heard = listen(wish(alpha, expect=r"tick 1\s+tick 2", from_start=0, others=others))
    assert heard.moves == ("beta",)


def test_an_instance_that_moves_to_nobody_knows_where_is_said_to_move(alpha: FakeServer, beta: FakeServer) -> None:
    later(0.2, move, alpha, beta, "[::]:8000")
    with pytest.raises(ConsoleEnded, match="nobody said where to") as caught:
        listen(wish(alpha, expect="tick 2"))
    assert caught.value.code == "moved_away"


def test_a_move_that_fails_leads_back_to_the_source(alpha: FakeServer, beta: FakeServer) -> None:
    def fail() -> None:
        beta.holds(VM, "Migrating", {})
        alpha.announce_move(beta.address, 0)

    later(0.2, fail)
    later(0.6, lambda: (beta.publish("Failed"), beta.drop_consoles(), alpha.say(b"still here\r\n", frame=False)))
    assert listen(wish(alpha, expect="still here")).server.address == alpha.address


def test_2023_the_destination_is_read_from_its_beginning() -> None:
    source, destination = (FakeServer(f"127.0.2.{n}", dialect="2023-01") for n in (1, 2))
    source.holds(VM, "Running", {})
    source.say(b"a long history before the move\r\n")

    def go() -> None:
        destination.holds(VM, "Running", {})
        destination.history = b"new\r\n"
        source.state = None
        source.drop_consoles()

    later(0.2, go)
    try:
        heard = listen(wish(source, expect="new", others=(ServerName("beta", destination.address),)))
        assert heard.offset == 5
    finally:
        source.kill()
        destination.kill()


# --- ends ----------------------------------------------------------------------------------------------------------


def test_an_instance_that_stops_ends_the_wait(alpha: FakeServer) -> None:
    alpha.say(b"halting\r\n")
    later(0.2, lambda: (alpha.publish("Destroyed"), alpha.drop_consoles()))
    with pytest.raises(ConsoleEnded, match="Destroyed") as caught:
        listen(wish(alpha, expect="login", from_start=0))
    assert caught.value.code == "console_ended"
    assert "halting" in caught.value.details["output"]


def test_a_server_that_holds_nothing_has_no_console(beta: FakeServer) -> None:
    with pytest.raises(ConsoleEnded, match="it holds none") as caught:
        listen(wish(beta, expect="x"))
    assert caught.value.code == "no_instance"


def test_an_instance_that_vanishes_is_said_to_have_gone(alpha: FakeServer) -> None:
    later(0.2, lambda: (setattr(alpha, "state", None), alpha.drop_consoles()))
    with pytest.raises(ConsoleEnded, match="holds no instance any more"):
        listen(wish(alpha, expect="x"))


def test_a_server_that_dies_is_waited_for_until_the_time_is_over(alpha: FakeServer) -> None:
    later(0.2, alpha.kill)
    with pytest.raises(WaitTimeout, match=r"The last try to read it failed: .* cannot be reached"):
        listen(wish(alpha, expect="x", timeout=1.2))


def test_a_server_without_a_console_is_read_by_its_history_and_cannot_be_typed_into(alpha: FakeServer) -> None:
    alpha.console_refuses = True
    later(0.3, alpha.say, b"slow\r\n")
    assert listen(wish(alpha, expect="slow")).match == "slow"
    with pytest.raises(Unreachable, match="nothing can be typed"):
        listen(wish(alpha, send=("x",)))


def test_a_console_that_breaks_while_lines_are_typed_is_told_and_can_be_closed_twice(alpha: FakeServer) -> None:
    console = Socket(Server.open(alpha.address, timeout=1), 1)
    alpha.kill()
    alpha.drop_consoles()

    def type_on() -> None:
        for _turn in range(100):
            console.type(b"x" * 1000)
            time.sleep(0.01)

    with pytest.raises(Unreachable, match="while lines were typed"):
        type_on()
    console.close()
    console.close()


def test_a_close_frame_and_a_text_that_is_no_move_are_told_apart(alpha: FakeServer) -> None:
    alpha.raw_console = b"\x81\x02hi\x82\x01x\x88\x02\x03\xe9"
    console = Socket(Server.open(alpha.address, timeout=1), 1)
    assert [console.listen(1).news for _turn in range(3)] == [News.OUTPUT, News.OUTPUT, News.CLOSED]


def test_bytes_that_are_no_longer_kept_are_skipped_and_counted(alpha: FakeServer) -> None:
    alpha.history = b"x" * 100_000 + b"end\r\n"
    alpha.history_starts = 1000
    heard = listen(wish(alpha, expect="end", from_start=0))
    assert heard.lost == 100_005 - 64 * 1024


def test_a_refusal_that_has_nothing_to_do_with_lost_bytes_is_told(alpha: FakeServer) -> None:
    alpha.history = b"x" * 100
    alpha.history_starts = 10_000
    with pytest.raises(ApiError, match="no longer cached"):
        listen(wish(alpha, expect="end", from_start=0))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"data": [1, 256], "last_byte_offset": 2}, "a list of bytes"),
        ({"data": [1], "last_byte_offset": 0}, "they end at 0"),
        ({"data": "x", "last_byte_offset": 0}, "a list"),
    ],
)
def test_a_history_that_is_none_is_an_error_of_ours(alpha: FakeServer, body: dict[str, Any], words: str) -> None:
    alpha._history = lambda _body: (200, body)  # type: ignore[method-assign]
    with pytest.raises(NotPropolis, match=words):
        listen(wish(alpha, expect="x", from_start=0))


# --- bad wishes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"expect": "("}, "not a regular expression"),
        ({"expect": "x", "from_start": 1, "most_recent": 1}, "exclude each other"),
        ({"expect": "x", "from_start": -1}, "from_start is -1"),
        ({"expect": "x", "timeout": 0}, "timeout is 0"),
        ({}, "Nothing is asked"),
    ],
)
def test_a_wish_that_cannot_be_meant_is_refused(beta: FakeServer, options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadDescription, match=words):
        listen(wish(beta, **options))


def test_without_the_library_the_error_names_it(alpha: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_socket, "HAS_WEBSOCKET", False)
    with pytest.raises(MissingLibrary, match="websocket-client"):
        listen(wish(alpha, expect="x"))


# --- frames and fuzz -----------------------------------------------------------------------------------------------


def test_the_recorded_frame_of_a_migration_is_read() -> None:
    told = read_move(b'{"Migrating":{"destination":"127.0.0.1:12401","from_start":107}}')
    assert told is not None
    assert told.news is News.MOVES
    assert told.destination == Address("127.0.0.1", 12401)


@pytest.mark.parametrize("frame", [b"", b"[]", b"{}", b'{"Migrating": 1}', b"\xff", b"[" * 100_000, b'"Migrating"'])
def test_any_other_text_is_no_move(frame: bytes) -> None:
    assert read_move(frame) is None


@given(st.one_of(st.binary(max_size=200), st.text().map(str.encode)))
def test_no_text_frame_breaks_the_reader(frame: bytes) -> None:
    told = read_move(frame)
    assert told is None or told.news is News.MOVES


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=30),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["destination", "x"]), inner),
        max_leaves=5,
    )
)
def test_no_destination_breaks_the_reader(destination: Any) -> None:
    import json

    told = read_move(json.dumps({"Migrating": {"destination": destination, "from_start": 1}}).encode())
    assert told is not None
    assert told.destination is None or isinstance(told.destination, Address)


@settings(max_examples=25)
@given(st.binary(max_size=300))
def test_no_bytes_from_a_server_break_the_console(noise: bytes) -> None:
    server = FakeServer("127.0.2.3")
    server.holds(VM, "Running", {})
    server.raw_console = noise
    try:
        socket = Socket(Server.open(server.address, timeout=1), 1)
        for _turn in range(20):
            if socket.listen(0.05).news in (News.CLOSED, News.NOTHING):
                break
        socket.close()
    except Unreachable:
        return  # one of our own errors is an answer too
    finally:
        server.kill()


@given(st.lists(st.binary(max_size=40), max_size=30), st.binary(min_size=1, max_size=3))
def test_a_mark_is_found_whatever_comes_before_it_and_however_it_is_cut(pieces: list[bytes], rest: bytes) -> None:
    output = Output(compile_pattern("MARK<[0-9]+>"))
    with output:
        for piece in [*pieces, b"MA", b"RK<", b"4", b"2>", rest]:
            output.add(piece)
            found = output.search()
        assert found is not None or b"MARK<" in b"".join(pieces) or output.received > serial_output.KEPT
        assert len(output.tail) <= serial_output.TAIL


def test_a_long_output_is_searched_in_pieces_and_kept_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_output, "KEPT", 5000)
    monkeypatch.setattr(serial_output, "_OVERLAP", 1000)
    output = Output(compile_pattern("^mark$"))
    with output:
        for number in range(2000):
            output.add(f"line {number} xmark\n".encode())
            assert output.search() is None
        assert len(output._kept) <= 5000
        output.add(b"mark\n")
        assert output.search() is not None


def test_a_history_is_read_in_the_words_of_its_age() -> None:
    server = FakeServer("127.0.2.3", dialect="2023-01")
    try:
        with pytest.raises(PropolisError) as caught:
            read_history(Server.open(server.address, timeout=1), most_recent=1)
        assert caught.value.code == "no_instance"
    finally:
        server.kill()
