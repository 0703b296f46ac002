# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's guest: boots, ticks, writes, answers, and survives being stopped in mid-air and carried elsewhere."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from propolis_lab.guest import scripted
from propolis_lab.guest.disk import DiskError
from propolis_lab.guest.heartbeat import RING_BYTES, Heartbeat, Ring
from propolis_lab.guest.scripted import GuestState, Hooks, ScriptedGuest
from propolis_lab.guest.shell import Shell, ShellState
from server_fakes import eventually, in_a_loop

SIZE = 1 << 20
INSTANCE = UUID(int=7)


@pytest.fixture(autouse=True)
def _a_fast_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guests that tick fifty times a second."""
    monkeypatch.setattr(scripted, "TICK_SECONDS", 0.02)


@dataclass
class MemoryDisk:
    """A disk in memory; can be read-only, can hold I/O, can fail writes, can be not ready."""

    name: str = "disk0"
    size: int = SIZE
    block_size: int = 512
    read_only: bool = False
    replicated: bool = True
    generation: int = 1
    broken: bool = False
    content: bytearray = field(default_factory=lambda: bytearray(SIZE))
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    takes: asyncio.Event = field(default_factory=asyncio.Event)
    flushes: int = 0

    def __post_init__(self) -> None:
        self.answers.set()
        self.takes.set()

    async def ready(self) -> None:
        await self.takes.wait()

    async def read(self, offset: int, length: int) -> bytes:
        await self.answers.wait()
        return bytes(self.content[offset : offset + length])

    async def write(self, offset: int, data: bytes) -> None:
        await self.answers.wait()
        if self.broken:
            raise DiskError("disk error 0x4")
        self.content[offset : offset + len(data)] = data

    async def flush(self) -> None:
        await self.answers.wait()
        self.flushes += 1

    def last(self) -> Heartbeat | None:
        return Ring(self.size, self.block_size).last(bytes(self.content[self.size - RING_BYTES :]))


@dataclass
class Outside:
    """What the guest's server would see of it."""

    console: bytearray = field(default_factory=bytearray)
    power: list[str] = field(default_factory=list)
    beats: list[Heartbeat] = field(default_factory=list)
    notes: list[tuple[str, int, int]] = field(default_factory=list)

    def hooks(self) -> Hooks:
        def note(what: str, tick: int, heartbeat: int) -> None:
            self.notes.append((what, tick, heartbeat))

        return Hooks(self.console.extend, self.power.append, self.beats.append, note)

    @property
    def text(self) -> str:
        return self.console.decode()

    @property
    def ticks(self) -> list[int]:
        return [int(line.split()[1]) for line in self.text.splitlines() if line.startswith("tick ")]

    async def says(self, text: str) -> None:
        await eventually(lambda: text in self.text)


def make(outside: Outside, *disks: MemoryDisk) -> ScriptedGuest:
    return ScriptedGuest(INSTANCE, 2, 64, disks, outside.hooks())


@asynccontextmanager
async def booted(*disks: MemoryDisk) -> AsyncIterator[tuple[ScriptedGuest, Outside]]:
    outside = Outside()
    guest = make(outside, *disks)
    guest.begin()
    await outside.says("login:")
    try:
        yield guest, outside
    finally:
        await guest.stop()


async def ask(guest: ScriptedGuest, outside: Outside, line: str, answer: str) -> None:
    guest.typed(line.encode() + b"\r")
    await outside.says(answer)


@in_a_loop
async def test_it_reads_its_boot_sector_and_asks_for_a_login() -> None:
    disk = MemoryDisk()
    disk.content[510:512] = b"\x55\xaa"
    async with booted(disk) as (_guest, outside):
        assert "disk0: MBR, signature 55aa, 0 partitions, 0 active\r\nBooting from disk0\r\n" in outside.text
        assert "2 CPU, 64 MiB memory" in outside.text


@in_a_loop
async def test_without_a_disk_it_says_so_and_ticks_all_the_same() -> None:
    async with booted() as (_guest, outside):
        assert "no bootable medium: this machine has no disk" in outside.text
        assert "no heartbeats: there is no Crucible disk" in outside.text
        await eventually(lambda: outside.ticks[-1:] == [3])
        assert outside.ticks == [1, 2, 3]


@in_a_loop
async def test_heartbeats_are_numbered_flushed_and_on_the_disk() -> None:
    disk = MemoryDisk()
    async with booted(disk) as (guest, outside):
        await eventually(lambda: len(outside.beats) >= 5)
        assert [record.number for record in outside.beats] == list(range(1, len(outside.beats) + 1))
        assert disk.flushes >= len(outside.beats)
        await guest.pause()
        assert disk.last() == outside.beats[-1]


@in_a_loop
async def test_after_a_cold_boot_ticks_begin_at_one_and_heartbeats_go_on_from_the_disk() -> None:
    disk = MemoryDisk()
    async with booted(disk) as (guest, outside):
        await eventually(lambda: len(outside.beats) >= 3)
        await guest.stop()
        last = outside.beats[-1].number
    async with booted(disk) as (_guest, again):
        await eventually(lambda: bool(again.beats))
        assert again.beats[0].number == last + 1
        assert again.beats[0].boot == 2
        assert again.ticks[0] == 1


@pytest.mark.parametrize(
    ("disk", "reason"),
    [
        (MemoryDisk(read_only=True), "the disk is read-only"),
        (MemoryDisk(size=65536), "the disk has 65536 bytes"),
        (MemoryDisk(content=bytearray(b"x" * SIZE)), "hold other data"),
    ],
)
@in_a_loop
async def test_where_there_is_no_room_it_says_so_and_writes_nothing(disk: MemoryDisk, reason: str) -> None:
    before = bytes(disk.content)
    disk.answers, disk.takes = asyncio.Event(), asyncio.Event()
    disk.__post_init__()
    async with booted(disk) as (_guest, outside):
        assert reason in outside.text
        await eventually(lambda: len(outside.ticks) >= 3)
        assert outside.beats == []
        assert bytes(disk.content) == before


@in_a_loop
async def test_heartbeats_go_to_the_first_crucible_disk() -> None:
    local, remote = MemoryDisk("local", replicated=False), MemoryDisk("remote")
    async with booted(local, remote) as (_guest, outside):
        await eventually(lambda: bool(outside.beats))
        assert not any(local.content)
        assert any(remote.content)


@in_a_loop
async def test_errors_of_the_disk_are_printed_and_the_number_is_tried_again() -> None:
    disk = MemoryDisk()
    async with booted(disk) as (_guest, outside):
        await eventually(lambda: bool(outside.beats))
        disk.broken = True
        await outside.says("I/O error: disk error 0x4")
        disk.broken = False
        count = len(outside.beats)
        await eventually(lambda: len(outside.beats) > count)
        assert [record.number for record in outside.beats] == list(range(1, len(outside.beats) + 1))


@in_a_loop
async def test_it_goes_on_elsewhere_exactly_where_it_was_stopped() -> None:
    disk = MemoryDisk()
    there = Outside()
    async with booted(disk) as (guest, here):
        await ask(guest, here, "root", "~# ")
        guest.typed(b"echo half a li")
        await here.says("half a li")
        await eventually(lambda: len(here.beats) >= 2)
        state = await guest.pause()
        quiet = len(here.console)
        carried = GuestState.from_json(json.loads(json.dumps(state.to_json())))
        assert carried == state
        moved = make(there, disk)
        moved.resume(carried)
        moved.typed(b"ne\r")
        await there.says("\nhalf a line\r\n")
        await eventually(lambda: len(there.beats) >= 2)
        await moved.stop()
        assert len(here.console) == quiet
    ticks = here.ticks + there.ticks
    assert ticks == list(range(1, len(ticks) + 1))
    numbers = [record.number for record in here.beats + there.beats]
    assert numbers == list(range(1, len(numbers) + 1))
    assert "Lab BIOS" not in there.text


@in_a_loop
async def test_a_pause_waits_for_io_that_the_disk_has_accepted() -> None:
    disk = MemoryDisk()
    async with booted(disk) as (guest, outside):
        await eventually(lambda: bool(outside.beats))
        disk.answers.clear()
        seen = len(outside.beats)
        ticks = len(outside.ticks)
        await eventually(lambda: len(outside.ticks) > ticks + 2)
        pausing = asyncio.create_task(guest.pause())
        await asyncio.sleep(0.05)
        assert not pausing.done()
        disk.answers.set()
        state = await pausing
        assert state.heartbeat == len(outside.beats) == seen + 1
        assert disk.last() == outside.beats[-1]


@in_a_loop
async def test_a_pause_does_not_wait_for_io_that_the_controller_never_took() -> None:
    disk = MemoryDisk()
    there = Outside()
    async with booted(disk) as (guest, outside):
        await eventually(lambda: bool(outside.beats))
        disk.takes.clear()
        ticks = len(outside.ticks)
        await eventually(lambda: len(outside.ticks) > ticks + 2)
        state = await asyncio.wait_for(guest.pause(), 1)
        disk.takes.set()
        moved = make(there, disk)
        moved.resume(state)
        await eventually(lambda: bool(there.beats))
        await moved.stop()
        assert there.beats[0].number == outside.beats[-1].number + 1


@in_a_loop
async def test_a_pause_during_the_boot_lets_the_boot_be_done_elsewhere() -> None:
    disk = MemoryDisk()
    disk.answers.clear()
    outside, there = Outside(), Outside()
    guest = make(outside, disk)
    guest.begin()
    await outside.says("Lab BIOS")
    disk.takes.clear()
    disk.answers.set()
    state = await guest.pause()
    disk.takes.set()
    moved = make(there, disk)
    moved.resume(state)
    await there.says("login:")
    await eventually(lambda: bool(there.beats))
    await moved.stop()


@in_a_loop
async def test_a_command_that_is_interrupted_by_a_move_is_answered_elsewhere() -> None:
    disk = MemoryDisk()
    there = Outside()
    async with booted(disk) as (guest, outside):
        await ask(guest, outside, "root", "~# ")
        disk.takes.clear()
        guest.typed(b"sum 8\r")
        await asyncio.sleep(0.05)
        state = await guest.pause()
        assert state.shell.pending == "sum 8"
        disk.takes.set()
        moved = make(there, disk)
        moved.resume(state)
        await there.says(hashlib.sha256(bytes(8 * 512)).hexdigest())
        await moved.stop()


@in_a_loop
async def test_a_halt_before_a_pause_takes_effect_elsewhere() -> None:
    there = Outside()
    async with booted() as (guest, outside):
        await ask(guest, outside, "root", "~# ")
        guest.typed(b"halt\r")
        await eventually(lambda: outside.power == ["halt"])
        state = await guest.pause()
        make(there).resume(state)
        assert there.power == ["halt"]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("uname", "\nLabOS\r\n"),
        ("uname -a", "LabOS lab 1.0 2 cpus 64 MiB imitated"),
        ("echo one two", "\none two\r\n"),
        ("ticks", "\nticks "),
        ("heartbeat", "\nheartbeat "),
        ("info", f"instance={INSTANCE} cpus=2 mem=64MiB boot=1"),
        ("disks", "disk0 1048576 bytes, blocks of 512, read-write"),
        ("sum 4", f"sha256 4 blocks from 0 of disk0 {hashlib.sha256(bytes(2048)).hexdigest()}"),
        ("sum 1 99999", "sum: disk0 has only 2048 blocks"),
        ("sum many", "sum: `many` is not a number"),
        ("dirty 500", "dirtying 500 pages per tick"),
        ("sync", "\nsynced\r\n"),
        ("help", "poweroff"),
        ("frobnicate", "frobnicate: command not found"),
    ],
)
@in_a_loop
async def test_commands_are_answered(line: str, answer: str) -> None:
    async with booted(MemoryDisk()) as (guest, outside):
        await ask(guest, outside, "root", "~# ")
        await ask(guest, outside, line, answer)


@pytest.mark.parametrize(
    ("line", "event"), [("poweroff", "halt"), ("halt", "halt"), ("reboot", "reset"), ("crash", "reset")]
)
@in_a_loop
async def test_power_is_the_business_of_its_server(line: str, event: str) -> None:
    async with booted() as (guest, outside):
        await ask(guest, outside, "root", "~# ")
        guest.typed(line.encode() + b"\r")
        await eventually(lambda: outside.power == [event])


@in_a_loop
async def test_only_root_may_log_in_and_may_leave_again() -> None:
    async with booted() as (guest, outside):
        await ask(guest, outside, "toor", "Login incorrect")
        await ask(guest, outside, "root", "~# ")
        guest.typed(b"exit\r")
        await eventually(lambda: outside.text.count("login:") == 3)


@in_a_loop
async def test_an_nmi_is_noticed() -> None:
    async with booted() as (guest, outside):
        guest.interrupted()
        await outside.says("NMI received")


@in_a_loop
async def test_a_tick_begins_a_line_of_its_own_and_none_is_late() -> None:
    async with booted() as (guest, outside):
        await ask(guest, outside, "root", "~# ")
        guest.typed(b"abc")
        ticks = len(outside.ticks)
        await eventually(lambda: len(outside.ticks) > ticks + 1)
        assert outside.ticks == list(range(1, len(outside.ticks) + 1))


@given(st.binary(max_size=60))
def test_anything_may_be_typed(data: bytes) -> None:
    said: list[str] = []
    run: list[str] = []
    shell = Shell(said.append, run.append)
    shell.begin()
    shell.typed(b"root\r" + data)
    assert all(isinstance(line, str) and line.strip() for line in run)


def test_a_typing_error_can_be_taken_back() -> None:
    said: list[str] = []
    run: list[str] = []
    shell = Shell(said.append, run.append)
    shell.state = ShellState(user="root")
    shell.typed(b"echp\x7fo x\r\n")
    assert run == ["echo x"]
    assert "\b \b" in said
