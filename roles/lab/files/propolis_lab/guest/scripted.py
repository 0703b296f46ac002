# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest itself: boots, ticks, writes heartbeats, answers commands; can be stopped in mid-air and carried to
another server.

Everything it knows is in `GuestState`. A pause first lets I/O that a device has accepted come to its end, then stops
everything; what was not yet given to a device is done again, with the same number, by whoever resumes the state.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from uuid import UUID

from propolis_lab.guest import bootsector
from propolis_lab.guest.commands import answer
from propolis_lab.guest.disk import Disk, DiskError
from propolis_lab.guest.heartbeat import RING_BYTES, Heartbeat, NoRoomError, Ring
from propolis_lab.guest.shell import Shell, ShellState

TICK_SECONDS = 0.5


@dataclass(frozen=True)
class GuestState:
    """All of a running guest that is not on disk; `to_json` and `from_json` carry it to another server."""

    boot: int = 0
    tick: int = 0
    heartbeat: int = 0
    since_tick: float = 0.0
    dirty_pages: int = 0
    booted: bool = False
    mid_line: bool = False
    heartbeats_to: str | None = None
    halted: str | None = None
    shell: ShellState = field(default_factory=ShellState)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> GuestState:
        return cls(**{**value, "shell": ShellState(**value["shell"])})


@dataclass(frozen=True)
class Hooks:
    """What the guest tells its server: console output, `halt` or `reset`, an acknowledged heartbeat, and a note for
    the history."""

    write: Callable[[bytes], None]
    power: Callable[[str], None]
    acknowledged: Callable[[Heartbeat], None]
    note: Callable[[str, int, int], None]


class ScriptedGuest:
    """One guest. `disks` are in boot order; `begin` is a cold boot, `resume` continues from `state`."""

    def __init__(self, instance: UUID, cpus: int, memory_mib: int, disks: tuple[Disk, ...], hooks: Hooks) -> None:
        self.instance = instance
        self.cpus = cpus
        self.memory_mib = memory_mib
        self._disks = disks
        self._hooks = hooks
        self._shell = Shell(self._say, self._command)
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepted = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._ticked = asyncio.Event()
        self._paused = True
        self._mid_line = False
        self._tick_started = 0.0
        self._base = GuestState()
        self.boot = 0
        self.tick = 0
        self.heartbeat = 0
        self.dirty_pages = 0

    @property
    def disks(self) -> tuple[Disk, ...]:
        return self._disks

    @property
    def running(self) -> bool:
        return not self._paused

    def _say(self, text: str) -> None:
        self._mid_line = not text.endswith("\n")
        self._hooks.write(text.encode())

    def _line(self, text: str) -> None:
        self._say(text + "\r\n")

    # -- life --------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Power on: memory is empty, the disk is read."""
        self._base = GuestState()
        self.boot = self.tick = self.heartbeat = self.dirty_pages = 0
        self._hooks.note("begin", 0, 0)
        self._go(since_tick=0.0)

    def resume(self, state: GuestState) -> None:
        """Go on exactly where the state was taken."""
        self._base = state
        self.boot, self.tick, self.heartbeat = state.boot, state.tick, state.heartbeat
        self.dirty_pages = state.dirty_pages
        self._shell.state = state.shell
        self._mid_line = state.mid_line
        self._hooks.note("resume", self.tick, self.heartbeat)
        if state.halted is not None:
            self._paused = False
            self._hooks.power(state.halted)
            return
        self._go(since_tick=state.since_tick)

    def _go(self, *, since_tick: float) -> None:
        self._paused = False
        self._tick_started = time.monotonic() - since_tick
        self._start(self._tick_forever())
        if not self._base.booted:
            self._start(self._boot())
            return
        self._start_heartbeats()
        if self._shell.state.pending is not None:
            self._start(self._answer(self._shell.state.pending))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._line(f"guest fault: {task.exception()!r}")
            self._halt("reset")

    async def pause(self) -> GuestState:
        """Stop, after all I/O that a device has accepted; returns what `resume` needs. May take as long as that I/O."""
        self._paused = True
        await self._idle.wait()
        await self._cancel()
        self._base = replace(
            self._base,
            boot=self.boot,
            tick=self.tick,
            heartbeat=self.heartbeat,
            since_tick=min(time.monotonic() - self._tick_started, TICK_SECONDS),
            dirty_pages=self.dirty_pages,
            mid_line=self._mid_line,
            shell=self._shell.state,
        )
        self._hooks.note("pause", self.tick, self.heartbeat)
        return self._base

    async def stop(self) -> None:
        """Pull the plug: nothing is waited for."""
        if not self._paused or self._tasks:
            self._hooks.note("stop", self.tick, self.heartbeat)
        self._paused = True
        await self._cancel()

    async def _cancel(self) -> None:
        mine = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not mine]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _halt(self, event: str) -> None:
        if self._base.halted is None:
            self._base = replace(self._base, halted=event)
            self._hooks.power(event)

    def power(self, event: str) -> None:
        """The guest switches itself off (`halt`) or starts again (`reset`); its server acts on it a moment later."""
        asyncio.get_running_loop().call_soon(self._halt, event)

    def typed(self, data: bytes) -> None:
        """Bytes that somebody types on the console."""
        if self._base.booted and not self._paused and self._base.halted is None:
            self._shell.typed(data)

    def interrupted(self) -> None:
        """A non-maskable interrupt."""
        if not self._paused:
            self._line("NMI received")

    # -- disk access -------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _device(self, disk: Disk) -> AsyncIterator[None]:
        """I/O inside is accepted by the device: a pause waits for it, and for the lines that follow it in the same
        block."""
        await disk.ready()
        await self._wait_unpaused()
        self._accepted += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._accepted -= 1
            if self._accepted == 0:
                self._idle.set()

    async def _wait_unpaused(self) -> None:
        if self._paused:
            await asyncio.get_running_loop().create_future()

    async def read(self, disk: Disk, offset: int, length: int) -> bytes:
        async with self._device(disk):
            return await disk.read(offset, length)

    async def flush(self, disk: Disk) -> None:
        async with self._device(disk):
            await disk.flush()

    # -- what it does ------------------------------------------------------------------------------------------------

    async def _boot(self) -> None:
        self._line("Lab BIOS: this machine is imitated, its disks are real")
        self._line(f"{self.cpus} CPU, {self.memory_mib} MiB memory")
        for number, disk in enumerate(self._disks):
            kind = "read-only" if disk.read_only else "read-write"
            self._line(
                f"disk {number}: {disk.name}, {disk.size // disk.block_size} blocks of {disk.block_size} bytes, {kind}"
            )
        await self._probe()
        last = await self._look_for_heartbeats()
        self.boot = last.boot + 1 if last else 1
        self.heartbeat = last.number if last else 0
        self._line(f"boot {self.boot}")
        self._base = replace(self._base, booted=True)
        self._shell.begin()
        self._start_heartbeats()

    async def _probe(self) -> None:
        if not self._disks:
            self._line("no bootable medium: this machine has no disk")
            return
        disk = self._disks[0]
        length = min(bootsector.PROBE_BYTES, disk.size) // disk.block_size * disk.block_size
        try:
            start = await self.read(disk, 0, length)
        except DiskError as error:
            self._line(f"{disk.name}: read error: {error}")
            return
        for line in bootsector.describe(start, disk.block_size):
            self._line(f"{disk.name}: {line}")
        if bootsector.bootable(start):
            self._line(f"Booting from {disk.name}")

    async def _look_for_heartbeats(self) -> Heartbeat | None:
        disk = next((disk for disk in self._disks if disk.replicated), None)
        if disk is None:
            self._line("no heartbeats: there is no Crucible disk")
            return None
        try:
            ring = Ring(disk.size, disk.block_size)
            last = ring.last(await self.read(disk, ring.start, RING_BYTES))
        except (NoRoomError, DiskError) as error:
            self._line(f"no heartbeats on {disk.name}: {error}")
            return None
        if disk.read_only:
            self._line(f"no heartbeats on {disk.name}: the disk is read-only")
            return last
        self._base = replace(self._base, heartbeats_to=disk.name)
        self._line(f"heartbeats go to {disk.name} from byte {ring.start}, last was {last.number if last else 0}")
        return last

    async def _tick_forever(self) -> None:
        while True:
            due = self._tick_started + TICK_SECONDS
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self._wait_unpaused()
            self._tick_started = due if time.monotonic() - due < TICK_SECONDS else time.monotonic()
            self.tick += 1
            self._line(f"\r\ntick {self.tick}" if self._mid_line else f"tick {self.tick}")
            self._ticked.set()

    def _start_heartbeats(self) -> None:
        for disk in self._disks:
            if disk.name == self._base.heartbeats_to:
                self._start(self._heartbeat_forever(disk, Ring(disk.size, disk.block_size)))

    async def _heartbeat_forever(self, disk: Disk, ring: Ring) -> None:
        while True:
            await self._ticked.wait()
            self._ticked.clear()
            try:
                await self._beat(disk, ring)
            except DiskError as error:
                self._line(f"{disk.name}: heartbeat {self.heartbeat + 1}: I/O error: {error}")

    async def _beat(self, disk: Disk, ring: Ring) -> None:
        async with self._device(disk):
            number = self.heartbeat + 1
            record = Heartbeat(number, self.tick, time.time_ns(), self.boot, self.instance, disk.generation)
            await disk.write(ring.offset(number), record.encode(disk.block_size))
            await disk.flush()
            self.heartbeat = number
            self._hooks.acknowledged(record)

    def _command(self, line: str) -> None:
        self._start(self._answer(line))

    async def _answer(self, line: str) -> None:
        text = await answer(self, line)
        await self._wait_unpaused()
        self._line(text)
        self._shell.answered()
