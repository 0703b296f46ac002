# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections of a downstairs: what its log says of them, the strict fence, bad bytes, requested trouble, 2023."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path
from uuid import UUID

import pytest
from downstairs_harness import (
    ABORTS,
    SESSION,
    UPSTAIRS,
    Client,
    Running,
    active,
    downstairs,
    hello,
    make_region,
    with_session,
)
from propolis_lab.downstairs import connection, trouble
from propolis_lab.protocol.codec import encode
from propolis_lab.protocol.errors import CrucibleError, ErrorKind
from propolis_lab.protocol.messages import (
    Barrier,
    BarrierAck,
    ErrorReport,
    Imok,
    PromoteToActive,
    ReadRequest,
    ReadResponse,
    Ruok,
)
from propolis_lab.region import Age

IDS = (UPSTAIRS, SESSION)
OTHER = UUID("12345678-0000-4000-8000-0000000000a2")


def test_a_takeover_is_logged_as_recorded(tmp_path: Path) -> None:
    async def use(_unused: Client, running: Running) -> None:
        async with await active(running.port, upstairs=OTHER, generation=11):
            pass

    messages = with_session(make_region(tmp_path / "r"), use).messages()
    old = f"UpstairsConnection {{ upstairs_id: {UPSTAIRS}, session_id: {SESSION}, generation: 1 }}"
    new = f"UpstairsConnection {{ upstairs_id: {OTHER}, session_id: {SESSION}, generation: 11 }}"
    begin = messages.index(f"Attempting RW takeover from {old} to {new}")
    assert messages[begin : begin + 4] == [
        f"Attempting RW takeover from {old} to {new}",
        f"Signaling to {old} thread that {new} is being promoted (read-write)",
        f"Another upstairs {new} promoted to active, shutting down connection for Some({old})",
        f"{new} is now active (read-write)",
    ]


def test_the_log_of_a_session_is_the_recorded_one(tmp_path: Path) -> None:
    async def use(client: Client, running: Running) -> None:
        await client.close()
        await running.said("was previously active, clearing")

    messages = with_session(make_region(tmp_path / "r"), use).messages()
    who = f"UpstairsConnection {{ upstairs_id: {UPSTAIRS}, session_id: {SESSION}, generation: 1 }}"
    begin = next(number for number, text in enumerate(messages) if text.startswith("accepted connection from 127."))
    assert messages[begin + 1 :] == [
        f"Connection request from {UPSTAIRS} with version 13",
        f"upstairs {who} connected, version 13",
        f"{who} is now active (read-write)",
        "Current flush_numbers [0..12]: [0, 0, 0, 0]",
        "Downstairs has completed Negotiation",
        "connection closed; disconnection",
        f"upstairs {who} (ConnectionId(0)) removed, 0 jobs left",
        f"upstairs {who} (ConnectionId(0)) was previously active, clearing",
    ]


def test_the_strict_fence_refuses_the_rival_that_the_real_fault_lets_in(tmp_path: Path) -> None:
    rival = UUID(int=77)

    async def tries(path: Path, *, strict: bool) -> list[bool]:
        async with downstairs(path, strict_fence=strict) as running, await active(running.port, generation=40):
            let_in = []
            for number in (1, 2):
                async with await Client.connect(running.port) as client:
                    client.send(hello(session=rival, generation=35), PromoteToActive(UPSTAIRS, rival, 35))
                    await client.next()
                    let_in.append(await client.next() is not None)
                if not let_in[-1]:
                    await running.said(f"(ConnectionId({number})) removed")
            return let_in

    path = make_region(tmp_path / "r")
    assert asyncio.run(tries(path, strict=False)) == [False, True]
    assert asyncio.run(tries(path, strict=True)) == [False, False]


def test_an_upstairs_that_is_silent_for_too_long_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.SILENCE_LIMIT, Age.TODAY, 0.3)

    async def use(client: Client, running: Running) -> None:
        assert await client.ask(Ruok()) == Imok()
        assert await client.next() is None
        await running.said("inactivity timeout")

    with_session(make_region(tmp_path / "r"), use)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "frame is 542393671 bytes, more than maximum 104857600"),
        (struct.pack("<I", 3), ABORTS),
        (struct.pack("<II", 8, 42), "found 42"),
        (encode(hello())[:-1], "connection closed; disconnection"),
    ],
)
def test_bytes_that_are_no_frame_end_their_connection_and_nothing_else(tmp_path: Path, data: bytes, said: str) -> None:
    async def use(client: Client, running: Running) -> None:
        with socket.create_connection(("127.0.0.1", running.port)) as raw:
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
            await running.said(said)
        assert await client.ask(Ruok()) == Imok()

    with_session(make_region(tmp_path / "r"), use)


def test_requested_errors_are_reported_and_the_job_succeeds_in_the_end(tmp_path: Path) -> None:
    async def use(client: Client, _unused: Running) -> None:
        reports = 0
        for job in range(200):
            found = await client.ask(ReadRequest(*IDS, job, (), 0, 1))
            while isinstance(found, ErrorReport):
                reports += 1
                assert found.error == CrucibleError(ErrorKind.GENERIC_ERROR, ("test error",))
                found = await client.next()
            assert isinstance(found, ReadResponse)
        assert reports > 5

    with_session(make_region(tmp_path / "r"), use, read_errors=True)


def test_a_lossy_downstairs_does_every_job_some_of_them_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trouble, "_LONGEST_PAUSE", 0.05)

    async def use(client: Client, _unused: Running) -> None:
        client.send(*(Barrier(*IDS, job, ()) for job in range(100)))
        found = [await client.next() for _unused in range(100)]
        assert found != sorted(found, key=lambda ack: ack.job_id)
        assert sorted(ack.job_id for ack in found) == list(range(100))

    with_session(make_region(tmp_path / "r"), use, lossy=True)


def test_slow_jobs_wait_beside_each_other_and_pings_are_answered_meanwhile(tmp_path: Path) -> None:
    async def use(client: Client, _unused: Running) -> None:
        client.send(Barrier(*IDS, 1, ()), Barrier(*IDS, 2, (1,)), Ruok())
        assert await client.next() == Imok()
        assert [await client.next(), await client.next()] == [BarrierAck(*IDS, 1, None), BarrierAck(*IDS, 2, None)]

    faults = '[{"do": "slow", "seconds": 0.1, "times": 0}]'
    with_session(make_region(tmp_path / "r"), use, faults=faults)


def test_refused_connections_are_closed_at_once_and_later_ones_are_served(tmp_path: Path) -> None:
    async def run() -> None:
        async with downstairs(make_region(tmp_path / "r"), faults='[{"do": "refuse", "times": 2}]') as running:
            for _unused in range(2):
                async with await Client.connect(running.port) as client:
                    assert await client.next() is None
            async with await Client.connect(running.port) as client:
                assert await client.ask(Ruok()) == Imok()

    asyncio.run(run())


def test_the_program_of_2023_speaks_version_1_and_refuses_13_without_a_word(tmp_path: Path) -> None:
    async def use(_unused: Client, running: Running) -> None:
        async with await Client.connect(running.port) as stranger:
            assert await stranger.ask(hello(version=13)) is None
        await running.said("expected version 1, got 13")

    path = make_region(tmp_path / "r", age=Age.JANUARY_2023)
    messages = with_session(path, use, age=Age.JANUARY_2023).messages()
    who = f"UpstairsConnection {{ upstairs_id: {UPSTAIRS}, session_id: {SESSION}, gen: 1 }}"
    assert f"upstairs {who} connected, task: proc" in messages
    assert f"{who} is now active (read-write)" in messages


def test_the_program_of_2023_keeps_the_ghost_of_a_broken_connection(tmp_path: Path) -> None:
    async def use(client: Client, running: Running) -> None:
        client.stream._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.stream.abort()
        await running.said("Connection reset by peer")
        async with await Client.connect(running.port) as same:
            other = UUID(int=5)
            same.send(hello(session=other, version=1), PromoteToActive(UPSTAIRS, other, 1))
            await same.next()
            assert await same.next() is None
        async with await active(running.port, generation=2, version=1) as newer:
            assert await newer.ask(Ruok()) == Imok()

    with_session(make_region(tmp_path / "r", age=Age.JANUARY_2023), use, age=Age.JANUARY_2023)
