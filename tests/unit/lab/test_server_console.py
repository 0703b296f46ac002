# SPDX-License-Identifier: GPL-3.0-or-later
"""The serial console of the lab's server: what is kept, what clients see, and how it ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from propolis_lab.server.console import HISTORY_BYTES, Console, HistoryGoneError, Output
from server_fakes import Client, Storage, in_a_loop, server

BYTES = aiohttp.WSMsgType.BINARY


async def output(socket: aiohttp.ClientWebSocketResponse, until: bytes) -> bytes:
    """What the client sees until some text is there."""
    seen = b""
    async with asyncio.timeout(5):
        while until not in seen:
            frame = await socket.receive()
            assert frame.type is BYTES, frame
            seen += frame.data
    return seen


async def logged_in(one: Client) -> aiohttp.ClientWebSocketResponse:
    await one.console_until("login:")
    socket: aiohttp.ClientWebSocketResponse = await one.websocket("/instance/serial")
    await socket.send_bytes(b"root\r")
    await output(socket, b"~# ")
    return socket


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(0, 400), st.integers(0, 400))
def test_history_is_a_window_of_all_that_was_written(chunks: list[bytes], start: int, most: int) -> None:
    console = Console()
    for chunk in chunks:
        console.write(chunk)
    everything = b"".join(chunks)
    data, end = console.history(start, most)
    assert data == everything[start : start + most]
    assert end == (start + len(data) if start < len(everything) else len(everything))


def test_the_first_and_the_latest_megabyte_are_kept_and_the_middle_is_gone() -> None:
    console = Console()
    console.write(b"a" * HISTORY_BYTES)
    console.write(b"b" * HISTORY_BYTES)
    console.write(b"c" * 10)
    assert console.history(0, 4) == (b"aaaa", 4)
    assert console.history(HISTORY_BYTES - 2, 4) == (b"aa", HISTORY_BYTES)
    assert console.history(console.total - 12, 100) == (b"bb" + b"c" * 10, console.total)
    with pytest.raises(HistoryGoneError, match="no longer cached"):
        console.history(HISTORY_BYTES + 1, 4)


@given(st.lists(st.binary(min_size=1, max_size=3000), max_size=8))
def test_history_survives_the_move_to_another_server(chunks: list[bytes]) -> None:
    source, destination = Console(), Console()
    for chunk in chunks:
        source.write(chunk)
    destination.restore(source.to_json())
    assert destination.total == source.total
    assert destination.history(0, 1 << 20) == source.history(0, 1 << 20)


@in_a_loop
async def test_a_listener_gets_everything_in_order_and_in_pieces_of_a_kilobyte() -> None:
    console = Console()
    listener = console.listen(with_overlap=False)
    text = bytes(range(256)) * 20
    console.write(text)
    seen = b""
    while len(seen) < len(text):
        event = await listener.next()
        assert isinstance(event, Output)
        assert len(event.data) <= 1024
        seen += event.data
    assert seen == text


@in_a_loop
async def test_history_asked_for_comes_first_then_what_is_written_live(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        await one.run()
        text = await one.console_until("login:")
        socket = await one.websocket("/instance/serial?from_start=0")
        seen = await output(socket, b"tick 2")
        assert seen.startswith(text.encode())
        recent = await one.websocket("/instance/serial?most_recent=4")
        assert len((await recent.receive()).data) == 4


@in_a_loop
async def test_live_output_only_without_or_with_both_offsets(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        await one.run()
        await one.console_until("login:")
        for query in ("", "?bogus=1", "?from_start=0&most_recent=5"):
            socket = await one.websocket(f"/instance/serial{query}")
            assert b"Lab BIOS" not in await output(socket, b"tick")


@in_a_loop
async def test_binary_frames_are_typed_and_text_frames_are_not(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        await one.run()
        socket = await logged_in(one)
        await socket.send_str("echo unheard\r")
        await socket.send_bytes(b"echo heard\r")
        assert b"unheard" not in await output(socket, b"\nheard\r\n")


@in_a_loop
async def test_all_clients_see_what_one_of_them_types(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        await one.run()
        first = await logged_in(one)
        second = await one.websocket("/instance/serial")
        await first.send_bytes(b"uname\r")
        for socket in (first, second):
            await output(socket, b"LabOS")


@in_a_loop
async def test_a_stop_closes_the_console_with_1001_vm_stopped(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        await one.run()
        socket = await one.websocket("/instance/serial", autoclose=False)
        await one.put_state("Stop")
        while (frame := await socket.receive()).type is BYTES:
            continue
        assert (frame.type, frame.data, frame.extra) == (aiohttp.WSMsgType.CLOSE, 1001, "VM stopped")


@in_a_loop
async def test_a_guest_that_powers_off_ends_the_instance_and_its_console(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        await one.run()
        socket = await logged_in(one)
        await socket.send_bytes(b"poweroff\r")
        assert b"Power down." in await output(socket, b"down.")
        await one.until("Destroyed")
        assert [row[1] for row in one.published()][3:] == ["Stopping", "Stopped", "Destroyed"]


@pytest.mark.parametrize("word", [b"reboot", b"crash"])
@in_a_loop
async def test_a_guest_that_starts_again_stays_on_its_server(tmp_path: Path, word: bytes) -> None:
    async with server(tmp_path, Storage()) as one:
        await one.run()
        await one.console_until("tick 1")
        socket = await logged_in(one)
        await socket.send_bytes(word + b"\r")
        await output(socket, b"boot 2")
        await one.until("Running")
        assert "request=Reboot" not in one.log.getvalue()


@in_a_loop
async def test_without_an_instance_the_upgrade_succeeds_and_the_stream_ends(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        socket = await one.websocket("/instance/serial?from_start=0")
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSED
        assert socket.close_code == 1006


@in_a_loop
async def test_a_plain_request_for_the_console_is_refused(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        reply = await one.call("GET", "/instance/serial")
        assert (reply.status, reply.body["message"]) == (400, "expected connection upgrade")


@in_a_loop
async def test_an_nmi_is_told_to_the_guest(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        await one.run()
        reply = await one.call("POST", "/instance/nmi")
        assert (reply.status, reply.body) == (200, None)
        await one.console_until("NMI received")


@in_a_loop
async def test_the_console_of_an_instance_that_fails_ends_too(tmp_path: Path) -> None:
    storage = Storage(stored_generation=5)
    storage.reachable.clear()
    async with server(tmp_path, storage) as one:
        await one.ensure()
        await one.put_state("Run")
        await one.until("Starting")
        socket = await one.websocket("/instance/serial")
        storage.reachable.set()
        await one.until("Failed")
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
