# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault of the wire, switched on as a person does it: on a program's command line or in its environment."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from downstairs_harness import SESSION, UPSTAIRS, WEDGES, Client, active, downstairs_process, free_port, make_region
from propolis_lab.protocol.faults import VARIABLE
from propolis_lab.protocol.messages import Message, Write, WriteAck
from propolis_lab.region import context_of
from trio import Trio
from volume_tool import targets, tool
from volumes import on_loop

IDS = (UPSTAIRS, SESSION)
BLOCK = bytes(range(256)) * 2
LATE = 0.4


def write(job: int) -> Message:
    return Write(*IDS, job, (), job, (context_of(BLOCK),), BLOCK)


def acknowledged(job: int) -> Message:
    return WriteAck(*IDS, job, None)


# A downstairs, by its option --faults


async def _dropped(client: Client, _process: asyncio.subprocess.Process) -> None:
    client.send(write(1), write(2))
    assert await client.next() == acknowledged(2)


async def _delayed(client: Client, _process: asyncio.subprocess.Process) -> None:
    begin = time.monotonic()
    client.send(write(1), write(2))
    assert [await client.next(), await client.next()] == [acknowledged(1), acknowledged(2)]
    assert time.monotonic() - begin >= LATE


async def _corrupted(client: Client, process: asyncio.subprocess.Process) -> None:
    assert await client.ask(write(1)) is None
    assert process.stdout is not None
    while WEDGES not in json.loads(await process.stdout.readline())["msg"]:
        pass
    assert process.returncode is None


async def _died(client: Client, process: asyncio.subprocess.Process) -> None:
    client.send(*map(write, range(1, 6)))
    assert [await client.next() for _unused in range(3)] == [acknowledged(1), acknowledged(2), None]
    assert await process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ({"do": "drop", "on": "send", "message": "WriteAck"}, _dropped),
        ({"do": "delay", "on": "send", "message": "WriteAck", "seconds": LATE}, _delayed),
        ({"do": "corrupt", "on": "receive", "message": "Write"}, _corrupted),
        ({"do": "die", "on": "receive", "message": "Write", "skip": 2}, _died),
    ],
    ids=["drop", "delay", "corrupt", "die after two"],
)
def test_a_downstairs_does_what_its_option_asks_for(
    tmp_path: Path, fault: object, seen: Callable[[Client, asyncio.subprocess.Process], Awaitable[None]]
) -> None:
    async def run() -> None:
        path, port = make_region(tmp_path / "r"), free_port()
        async with downstairs_process(path, port, json.dumps([fault])) as process, await active(port) as client:
            await seen(client, process)

    asyncio.run(run())


# An upstairs, by the variable


class Tool:
    """The volume tool with a fault that is only in its environment."""

    def __init__(self, trio: Trio, folder: Path, **fault: object) -> None:
        self._where = targets(trio)
        self._file = folder / "wire.json"
        self._file.write_text(json.dumps([{"side": "upstairs", "port": trio.ports[1], **fault}]))

    async def __call__(self, command: str, *words: object, stdin: bytes = b"") -> tuple[int, bytes, str]:
        return await tool(command, *self._where, *words, stdin=stdin, **{VARIABLE: str(self._file)})


@on_loop
async def test_a_frame_that_an_upstairs_drops_is_never_seen_by_the_downstairs(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        faulty = Tool(trio, tmp_path, do="drop", on="send", message="HereIAm", times=0)
        status, _unused, said = await faulty("read", "-g", 1, "--timeout", 3)
        assert status == 1
        assert f"127.0.0.1:{trio.ports[1]}: absent, or refuses the session" in said
        for number, running in trio.running.items():
            assert any("accepted connection" in text for text in running.messages())
            assert any("Connection request" in text for text in running.messages()) == (number != 1)


@on_loop
async def test_a_frame_that_an_upstairs_delays_comes_later(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        faulty = Tool(trio, tmp_path, do="delay", on="send", message="Write", seconds=LATE)
        begin = time.monotonic()
        assert (await faulty("write", "-g", 1, stdin=BLOCK))[0] == 0
        assert time.monotonic() - begin >= LATE
        await trio.stop_all()
        assert trio.equal()
        assert trio.contents(1)[:512] == BLOCK


@on_loop
async def test_a_frame_that_an_upstairs_damages_is_noticed_and_another_replica_asked(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        assert (await tool("write", *targets(trio), "-g", 1, stdin=BLOCK))[0] == 0
        faulty = Tool(trio, tmp_path, do="corrupt", on="receive", message="ReadResponse", times=0, port=None)
        status, _unused, said = await faulty("read", "-g", 2, "--length", 512)
        assert (status, said) == (1, "Error: IO Error: no downstairs could be read\n")
        faulty = Tool(trio, tmp_path, do="corrupt", on="receive", message="ReadResponse", times=0)
        status, found, _unused = await faulty("read", "-g", 2, "--length", 512)
        assert (status, found) == (0, BLOCK)


@on_loop
async def test_an_upstairs_dies_at_the_message_whose_number_was_given(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        faulty = Tool(trio, tmp_path, do="die", on="send", skip=1)  # HereIAm is the first, PromoteToActive the second
        status, _unused, _unused = await faulty("read", "-g", 2)
        assert status == -signal.SIGKILL
        said = trio.running[1].messages()
        assert any("connected, version 13" in text for text in said)
        assert not any("is now active" in text for text in said)
