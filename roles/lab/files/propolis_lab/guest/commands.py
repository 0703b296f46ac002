# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of the guest's command line; each answers in text and may be given again from its beginning after a
move."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from propolis_lab.guest.disk import Disk, DiskError

_READ_AT_ONCE = 64 * 1024


class Host(Protocol):
    """What commands may ask of the guest and do to it."""

    instance: UUID
    cpus: int
    memory_mib: int
    boot: int
    tick: int
    heartbeat: int
    dirty_pages: int

    @property
    def disks(self) -> tuple[Disk, ...]: ...
    async def read(self, disk: Disk, offset: int, length: int) -> bytes: ...
    async def flush(self, disk: Disk) -> None: ...
    def power(self, event: str) -> None: ...


@dataclass(frozen=True)
class Command:
    """A word, what it does in a few words, and the function that answers."""

    help: str
    answer: Callable[[Host, list[str]], Awaitable[str]]


async def _uname(host: Host, words: list[str]) -> str:
    if "-a" in words:
        return f"LabOS lab 1.0 {host.cpus} cpus {host.memory_mib} MiB imitated"
    return "LabOS"


async def _echo(_host: Host, words: list[str]) -> str:
    return " ".join(words)


async def _ticks(host: Host, _words: list[str]) -> str:
    return f"ticks {host.tick} boot {host.boot}"


async def _heartbeat(host: Host, _words: list[str]) -> str:
    return f"heartbeat {host.heartbeat}"


async def _info(host: Host, _words: list[str]) -> str:
    return (
        f"instance={host.instance} cpus={host.cpus} mem={host.memory_mib}MiB boot={host.boot} tick={host.tick} "
        f"heartbeat={host.heartbeat} dirty={host.dirty_pages}"
    )


async def _disks(host: Host, _words: list[str]) -> str:
    return "\r\n".join(
        f"{disk.name} {disk.size} bytes, blocks of {disk.block_size}, {'read-only' if disk.read_only else 'read-write'}"
        for disk in host.disks
    )


def _number(words: list[str], position: int, default: int) -> int:
    if len(words) <= position:
        return default
    if not words[position].isdecimal():
        raise ValueError(f"`{words[position]}` is not a number")
    return int(words[position])


async def _sum(host: Host, words: list[str]) -> str:
    if not host.disks:
        raise ValueError("there is no disk")
    disk = host.disks[0]
    blocks = min(_number(words, 0, disk.size // disk.block_size), disk.size // disk.block_size)
    start = _number(words, 1, 0)
    if start + blocks > disk.size // disk.block_size:
        raise ValueError(f"{disk.name} has only {disk.size // disk.block_size} blocks")
    digest = hashlib.sha256()
    offset, end = start * disk.block_size, (start + blocks) * disk.block_size
    while offset < end:
        length = min(_READ_AT_ONCE, end - offset)
        digest.update(await host.read(disk, offset, length))
        offset += length
    return f"sha256 {blocks} blocks from {start} of {disk.name} {digest.hexdigest()}"


async def _dirty(host: Host, words: list[str]) -> str:
    host.dirty_pages = _number(words, 0, 0)
    return f"dirtying {host.dirty_pages} pages per tick"


async def _sync(host: Host, _words: list[str]) -> str:
    for disk in host.disks:
        if not disk.read_only:
            await host.flush(disk)
    return "synced"


def _power(event: str, text: str) -> Callable[[Host, list[str]], Awaitable[str]]:
    async def answer(host: Host, _words: list[str]) -> str:
        host.power(event)
        return text

    return answer


async def _help(_host: Host, _words: list[str]) -> str:
    return "\r\n".join(f"{word:<10} {command.help}" for word, command in COMMANDS.items())


COMMANDS: dict[str, Command] = {
    "help": Command("this list", _help),
    "uname": Command("name of the system; -a: with CPUs and memory", _uname),
    "echo": Command("repeat the words", _echo),
    "ticks": Command("the counter in memory", _ticks),
    "heartbeat": Command("number of the last heartbeat that the disk acknowledged", _heartbeat),
    "info": Command("everything about this machine in one line", _info),
    "disks": Command("the disks in boot order", _disks),
    "sum": Command("sum [BLOCKS [START]]: sha256 of blocks of the boot disk", _sum),
    "dirty": Command("dirty PAGES: change so many pages of memory at each tick", _dirty),
    "sync": Command("flush all disks", _sync),
    "poweroff": Command("switch off", _power("halt", "Power down.")),
    "halt": Command("switch off", _power("halt", "System halted.")),
    "reboot": Command("start again", _power("reset", "Restarting system.")),
    "crash": Command("triple fault; the machine starts again", _power("reset", "Triple fault.")),
}


async def answer(host: Host, line: str) -> str:
    """The answer to one command line; errors are answers too."""
    word, *words = line.split()
    command = COMMANDS.get(word)
    if command is None:
        return f"{word}: command not found"
    try:
        return await command.answer(host, words)
    except (ValueError, DiskError) as error:
        return f"{word}: {error}"
