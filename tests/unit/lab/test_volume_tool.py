# SPDX-License-Identifier: GPL-3.0-or-later
"""The volume tool as people use it: its command line, what it prints, how it ends, and that status disturbs nobody."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from downstairs_harness import Running
from hypothesis import given
from hypothesis import strategies as st
from propolis_lab.region import Age
from propolis_lab.volume.transfer import pieces
from trio import Trio
from volume_tool import targets, tool
from volumes import on_loop

KEY = bytes(range(32))


def about_sessions(running: Running) -> list[str]:
    """What a downstairs logged about sessions and connections to its data port."""
    return [text for text in running.messages() if "connection from" in text or "active" in text]


@on_loop
async def test_what_is_written_at_any_byte_is_read_back_and_its_neighbours_stay(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        where = targets(trio)
        status, _unused, said = await tool("write", *where, "-g", 1, stdin=b"." * 4096)
        assert (status, said) == (0, "4096 bytes were written at byte 0 and flushed.\n")
        status, _unused, said = await tool("write", *where, "-g", 2, "--offset", 1000, stdin=b"hello")
        assert status == 0
        status, out, _unused = await tool("read", *where, "-g", 3, "--offset", 998, "--length", 9)
        assert (status, out) == (0, b"..hello..")
        output = tmp_path / "all"
        status, _unused, _unused = await tool("read", *where, "-g", 3, "--output", output)
        assert status == 0
        assert output.read_bytes() == b"." * 1000 + b"hello" + b"." * 3091 + bytes(64 * 512 - 4096)
        status, _unused, said = await tool("read", *where, "-g", 3, "--output", output)
        assert status == 1
        assert "File exists" in said
        await trio.stop_all()
        assert trio.equal()


@on_loop
async def test_status_tells_the_geometry_and_leaves_a_session_alone(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs(1)
        await volume.activate()
        before = [about_sessions(running) for running in trio.running.values()]
        assert all(before)
        status, out, _unused = await tool("status", *targets(trio))
        assert status == 0
        assert b"4 extents x 16 blocks x 512 bytes, not encrypted, read-write" in out
        assert b"One volume of 32768 bytes can lie on them." in out
        await volume.write(0, bytes(512))
        assert volume.status().active
        assert [about_sessions(running) for running in trio.running.values()] == before
        status, out, _unused = await tool("status", "--json", *targets(trio))
        first = json.loads(out)["targets"][0]
        assert (first["region_id"], first["extent_count"]) == ("12345678-0000-4000-8000-000000000001", 4)
        await volume.deactivate()


@on_loop
async def test_status_names_every_downstairs_that_does_not_fit(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        trio.make(3, extents=5)
        await trio.start(3)
        status, out, _unused = await tool("status", *targets(trio, (0, 1, 3)))
        assert status == 1
        assert f"PROBLEM 127.0.0.1:{trio.ports[3]} has 5 extents".encode() in out
        status, out, _unused = await tool("status", *targets(trio, (0, 0, 1)))
        assert b"serve the same region" in out
        await trio.stop(2)
        status, out, _unused = await tool("status", *targets(trio))
        assert status == 1
        port = trio.ports[2]
        assert f"PROBLEM 127.0.0.1:{port}: its repair port {port + 4000} can't be asked".encode() in out


@on_loop
async def test_a_generation_is_demanded_and_a_low_one_refused(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        status, _unused, said = await tool("write", *targets(trio), stdin=b"x")
        assert status == 2
        assert "-g/--generation" in said
        assert (await tool("write", *targets(trio), "-g", 5, stdin=b"x"))[0] == 0
        status, _unused, said = await tool("read", *targets(trio), "-g", 5)
        assert (status, said) == (1, "Error: Generation number is too low: requested 5, found 6\n")


@on_loop
async def test_when_a_downstairs_is_missing_the_tool_gives_up_in_time_and_says_which(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        await trio.stop(1)
        status, _unused, said = await tool("read", *targets(trio), "-g", 1, "--timeout", 0.5)
        assert status == 1
        assert f"127.0.0.1:{trio.ports[0]}: ready, waits for the others" in said
        assert f"127.0.0.1:{trio.ports[1]}: absent, or refuses the session" in said


@on_loop
async def test_more_bytes_than_there_is_room_for_are_an_error_that_says_what_was_written(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        status, _unused, said = await tool("write", *targets(trio), "-g", 1, "--offset", 32000, stdin=b"x" * 1000)
        assert status == 1
        assert "The volume ends at byte 32768: 768 bytes were written, the rest did not fit." in said
        status, _unused, said = await tool("read", *targets(trio), "-g", 2, "--offset", 32000, "--length", "1K")
        assert status == 1
        assert "--offset 32000 and --length 1024 lead past its end" in said


@on_loop
async def test_an_encrypted_volume_needs_its_key_in_a_private_file(tmp_path: Path) -> None:
    (tmp_path / "regions").mkdir()
    async with Trio(tmp_path / "regions", key=KEY) as trio:
        raw, text, public = tmp_path / "raw", tmp_path / "text", tmp_path / "public"
        raw.write_bytes(KEY)
        text.write_bytes(base64.b64encode(KEY) + b"\n")
        public.write_bytes(KEY)
        for path in (raw, text):
            path.chmod(0o600)
        public.chmod(0o644)
        status, _unused, said = await tool("write", *targets(trio), "-g", 1, stdin=b"secret")
        assert status == 1
        assert "--key-file" in said
        status, _unused, said = await tool("write", *targets(trio), "-g", 1, "--key-file", public, stdin=b"secret")
        assert status == 2
        assert "make it 0600" in said
        assert (await tool("write", *targets(trio), "-g", 1, "--key-file", raw, stdin=b"secret"))[0] == 0
        status, out, _unused = await tool("read", *targets(trio), "-g", 2, "--key-file", text, "--length", 6)
        assert (status, out) == (0, b"secret")


@on_loop
async def test_downstairs_of_2023_take_part_when_their_geometry_is_given(tmp_path: Path) -> None:
    async with Trio(tmp_path, age=Age.JANUARY_2023) as trio:
        old = [*targets(trio), "--age", "2023"]
        status, _unused, said = await tool("write", *old, "-g", 1, stdin=b"old times")
        assert status == 1
        assert "the downstairs of 2023 never tell it" in said
        size = ["--block-size", 512, "--blocks-per-extent", 16, "--extent-count", 4]
        assert (await tool("write", *old, *size, "-g", 1, stdin=b"old times"))[0] == 0
        assert (await tool("read", *old, *size, "-g", 2, "--length", 9))[1] == b"old times"


@on_loop
async def test_the_help_says_that_writing_writes_and_what_a_session_does() -> None:
    status, out, _unused = await tool("write", "--help")
    assert status == 0
    assert b"THIS WRITES" in out
    assert b"TAKES THE VOLUME AWAY" in out
    status, out, _unused = await tool("status", "--help")
    assert b"No session is opened" in out
    status, _unused, said = await tool("read", "-t", "127.0.0.1:1", "-g", 1)
    assert status == 2
    assert "must be given 3 times" in said


@given(st.integers(0, 5_000_000), st.integers(0, 5_000_000), st.sampled_from([512, 4096, 32768]))
def test_pieces_cover_all_bytes_once_and_share_no_block(offset: int, length: int, block_size: int) -> None:
    found = list(pieces(offset, length, block_size))
    assert sum(count for _unused, count in found) == length
    end = offset
    for place, (start, count) in enumerate(found):
        assert start == end
        assert 0 < count <= 1024 * 1024
        end = start + count
        assert place == len(found) - 1 or end % block_size == 0


@pytest.mark.parametrize("text", ["1.5", "-3", "18446744073709551616", "x"])
@on_loop
async def test_a_generation_is_a_whole_number_of_64_bits(text: str) -> None:
    status, _unused, said = await tool("read", *(["-t", "127.0.0.1:1"] * 3), f"--generation={text}")
    assert status == 2
    assert "generation" in said
