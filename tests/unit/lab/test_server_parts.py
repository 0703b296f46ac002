# SPDX-License-Identifier: GPL-3.0-or-later
"""Small parts of the lab's server: the lock, the faults, the command line, names of VMs, memory passes."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from propolis_lab.server.api_version import VersionSyntaxError, parse_version
from propolis_lab.server.commandline import ExitWith, parse
from propolis_lab.server.faults import Faults, FaultsError, InjectedError, read_settings
from propolis_lab.server.locks import RwLock
from propolis_lab.server.log import Log
from propolis_lab.server.migration import ram
from propolis_lab.server.migration.channel import Channel, ChannelError, RemoteError, StreamLink, Tag
from propolis_lab.server.vmm import NameTakenError, VmName
from server_fakes import Storage, eventually, in_a_loop, server

RUN = ["run", "ROM", "127.0.0.1:12400"]


@in_a_loop
async def test_readers_share_the_lock_and_a_waiting_writer_keeps_new_readers_out() -> None:
    lock = RwLock()
    order: list[str] = []

    async def write() -> None:
        async with lock.write():
            order.append("write")

    async def read(name: str) -> None:
        async with lock.read():
            order.append(name)

    async with lock.read():
        await read("beside")
        writer = asyncio.create_task(write())
        await asyncio.sleep(0)
        late = asyncio.create_task(read("late"))
        await asyncio.sleep(0.01)
        assert order == ["beside"]
    await asyncio.gather(writer, late)
    assert order == ["beside", "write", "late"]


@in_a_loop
async def test_a_cancelled_waiter_does_not_hold_up_the_others() -> None:
    lock = RwLock()

    async def take(write: bool) -> None:
        async with lock.write() if write else lock.read():
            return

    async with lock.read():
        writer = asyncio.create_task(take(True))
        reader = asyncio.create_task(take(False))
        await asyncio.sleep(0)
        writer.cancel()
        await asyncio.wait({writer, reader}, timeout=1)
        assert reader.done()
    await take(True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", "expected an object"),
        ("{nope", "not JSON"),
        ('{"unknown": 1}', "unknown key 'unknown'"),
        ('{"request_delay_ms": -1}', "request_delay_ms is -1, expected a number that is not negative"),
        ('{"refuse_connections": 1}', "expected true or false"),
        (
            '{"steps": [{"phase": "Sync", "action": "explode"}]}',
            "action is 'explode', expected one of",
        ),
        ('{"steps": [{"phase": "Nowhere", "action": "die"}]}', "phase is 'Nowhere', expected one of"),
        ('{"steps": [{"phase": "Sync", "action": "die", "times": 0}]}', "times is 0"),
    ],
)
def test_faults_that_are_not_understood_are_refused_by_name(text: str, expected: str) -> None:
    with pytest.raises(FaultsError) as caught:
        read_settings(text)
    assert expected in str(caught.value)


@in_a_loop
async def test_a_step_takes_effect_at_its_place_and_as_often_as_it_says() -> None:
    faults = Faults('{"steps": [{"side": "source", "phase": "Device", "at": "end", "action": "error", "times": 2}]}')
    await faults.reach("source", "Device")
    await faults.reach("destination", "Device", "end")
    for _time in range(2):
        with pytest.raises(InjectedError, match="injected error in phase Device"):
            await faults.reach("source", "Device", "end")
    await faults.reach("source", "Device", "end")


@in_a_loop
async def test_a_stall_without_seconds_ends_when_it_is_taken_out_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "faults"
    warnings: list[str] = []
    faults = Faults(str(file), warnings.append)
    file.write_text('{"steps": [{"phase": "Sync", "action": "stall"}]}')
    stalled = asyncio.create_task(faults.reach("source", "Sync"))
    await asyncio.sleep(0.1)
    assert not stalled.done()
    file.write_text('{"steps": [')
    await eventually(lambda: bool(warnings))
    assert not stalled.done()
    file.unlink()
    await asyncio.wait_for(stalled, 5)


@in_a_loop
async def test_a_server_can_refuse_connections_and_be_slow(tmp_path: Path) -> None:
    file = tmp_path / "faults"
    file.write_text('{"request_delay_ms": 200}')
    async with server(tmp_path, Storage(), faults=str(file)) as one:
        began = asyncio.get_running_loop().time()
        assert (await one.call("GET", "/instance")).status == 424
        assert asyncio.get_running_loop().time() - began >= 0.2
        file.write_text('{"refuse_connections": true}')

        async def refused() -> bool:
            try:
                async with aiohttp.ClientSession() as fresh, fresh.get(f"http://{one.address}/instance"):
                    return False
            except aiohttp.ClientConnectorError:
                return True

        async def becomes(expected: bool) -> bool:
            for _try in range(100):
                if await refused() is expected:
                    return True
                await asyncio.sleep(0.05)
            return False

        assert await becomes(True)
        file.write_text("{}")
        assert await becomes(False)


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        ([], 2, "Usage: propolis-server <COMMAND>"),
        (["run"], 2, "the following required arguments were not provided:\n  <BOOTROM_PATH>\n  <PROPOLIS_IP:PORT>\n"),
        (["run", "ROM"], 2, "were not provided:\n  <PROPOLIS_IP:PORT>\n"),
        (["run", "ROM", "banana"], 2, "invalid value 'banana' for '<PROPOLIS_IP:PORT>': invalid socket address syntax"),
        ([*RUN, "--nope"], 2, "error: unexpected argument '--nope' found\n\n  tip: to pass '--nope' as a value"),
        (["run", "--version"], 2, "Usage: propolis-server run [OPTIONS] <BOOTROM_PATH>"),
        (["openapi-spec"], 2, "error: unrecognized subcommand 'openapi-spec'"),
        ([*RUN, "--log-level", "banana"], 2, "for '--log-level <LOG_LEVEL>': Invalid log level"),
        ([*RUN, "--metric-addr", "banana"], 2, "Metric registration must be 'disable', 'dns', or an explicit"),
        ([*RUN, "--metric-addr", "dns"], 1, "Error: Metric registration can only use DNS if"),
        (["--help"], 0, "stand-in"),
        (["run", "--help"], 0, "stand-in"),
        (["--version"], 0, "propolis-server 0.1.0\n"),
        (["--age", "1999", *RUN], 2, "invalid value '1999' for '--age'"),
        (["--latest-api", "5", *RUN], 2, "unexpected end of input while parsing major version number"),
    ],
)
def test_the_command_line_ends_as_the_real_one_does(words: list[str], status: int, text: str) -> None:
    with pytest.raises(ExitWith) as caught:
        parse(words)
    assert caught.value.status == status
    assert text in caught.value.out + caught.value.err
    assert bool(caught.value.out) == (status == 0)


def test_the_lab_options_stand_before_the_command() -> None:
    words = ["--latest-api=3.0.0", "--history", "H", "--faults", "F", *RUN, "127.0.0.1:5900", "--log-level", "warning"]
    arguments = parse(words)
    assert (arguments.boot, arguments.listen, arguments.seed) == (Path("ROM"), ("127.0.0.1", 12400), False)
    assert (arguments.latest_api, arguments.history, arguments.faults) == ((3, 0, 0), Path("H"), "F")
    assert parse(["--age", "2023-01", "run", "config.toml", "[::1]:8000"]).listen == ("::1", 8000)


@given(st.tuples(*[st.integers(0, 2**64 - 1)] * 3))
def test_versions_are_read_back(version: tuple[int, int, int]) -> None:
    assert parse_version(".".join(map(str, version))) == version


@given(st.text("0123456789.ab-", max_size=8))
def test_what_is_no_version_is_refused_and_never_crashes(text: str) -> None:
    try:
        version = parse_version(text)
    except VersionSyntaxError:
        return
    assert ".".join(map(str, version)) == text


def test_a_name_is_taken_once_per_host_and_free_after_its_release() -> None:
    instance = uuid4()
    first = VmName("127.0.0.1", instance)
    with pytest.raises(NameTakenError):
        VmName("127.0.0.1", instance)
    VmName("127.0.0.9", instance).release()
    first.release()
    VmName("127.0.0.1", instance).release()


def test_log_records_are_json_with_the_fields_of_the_real_ones() -> None:
    stream = io.StringIO()
    Log(stream).child(component="x").info("hello", gen=3)
    record = json.loads(stream.getvalue())
    assert list(record)[:7] == ["msg", "v", "name", "level", "time", "hostname", "pid"]
    assert (record["msg"], record["level"], record["component"], record["gen"]) == ("hello", 30, "x", 3)


async def channels() -> tuple[Channel, Channel, asyncio.Server]:
    """Two ends of one stream."""
    accepted: asyncio.Queue[Channel] = asyncio.Queue()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accepted.put(Channel(StreamLink(reader, writer)))

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
    return Channel(StreamLink(reader, writer)), await accepted.get(), listening


@pytest.mark.parametrize("size", [0, 4096, 8 << 20, (8 << 20) + 4096, 64 << 20])
@in_a_loop
async def test_a_memory_pass_covers_all_of_it_whatever_its_size(size: int) -> None:
    source, destination, listening = await channels()
    pushing = asyncio.create_task(ram.push(source, size, 1e12))
    assert await ram.pull(destination) == size
    await pushing
    for end in (source, destination):
        await end.link.drop()
    listening.close()


@in_a_loop
async def test_a_memory_pass_keeps_to_its_pace() -> None:
    source, destination, listening = await channels()
    began = asyncio.get_running_loop().time()
    pushing = asyncio.create_task(ram.push(source, 64 << 20, 256 << 20))
    await ram.pull(destination)
    await pushing
    assert 0.24 <= asyncio.get_running_loop().time() - began < 2
    for end in (source, destination):
        await end.link.drop()
    listening.close()


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        ([(Tag.ERROR, b"it broke")], RemoteError),
        ([(Tag.OKAY, b"")], ChannelError),
        ([(Tag.MEM_OFFER, bytes(16)), (Tag.PAGE, b"")], ChannelError),
        ([(Tag.MEM_OFFER, bytes(8) + (4096).to_bytes(8, "little")), (Tag.MEM_END, bytes(16))], ChannelError),
    ],
)
@in_a_loop
async def test_a_peer_that_talks_nonsense_is_an_error(frames: list[tuple[Tag, bytes]], error: Any) -> None:
    source, destination, listening = await channels()
    for tag, payload in frames:
        await source.send(tag, payload)
    with pytest.raises(error):
        await ram.pull(destination)
    for end in (source, destination):
        await end.link.drop()
    listening.close()


@in_a_loop
async def test_a_peer_that_is_gone_is_an_error() -> None:
    source, destination, listening = await channels()
    await source.link.drop()
    with pytest.raises(ChannelError):
        await destination.receive()
    await destination.link.drop()
    listening.close()
