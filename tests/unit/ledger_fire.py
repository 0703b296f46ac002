# SPDX-License-Identifier: GPL-3.0-or-later
"""Ledgers under fire: many processes take numbers while processes die, disks fail and ledgers are damaged.

Three directories stand for the three hosts; the first is the arbiter. Each process does what the role does: looks at
the other two, takes a number at the first, records it at the others, writes it to a log of its own, and only then uses
it. What is judged are these logs, not the ledgers. Many numbers are overtaken by a later one before all hosts have
recorded them: they are spent and never used.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any

from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger import Ledger
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger_entries import Entry, Floor
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError

VOLUME = "0cedae45-3d6e-4d90-b2cb-56f1a1a42a89"
WORKERS = 10
HOSTS = 3
_MANY = 10**6
_SMALL = 160 * 1024  # bytes of a disk that is soon full
_TROUBLES = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES)
_FORK = multiprocessing.get_context("fork")


@dataclass
class Odds:
    """How often, for each file operation of a process, something goes wrong with it."""

    killed: float = 0.0
    failed: float = 0.0


@dataclass
class Outcome:
    """What the logs say, in their order for each process: numbers that were allocated, and those that came into use.

    Each is (number, highest one that was in use before it was asked for, how many damages there had been).
    """

    allocated: list[tuple[int, int, int]] = field(default_factory=list)
    used: list[tuple[int, int, int]] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    sentences: dict[str, str] = field(default_factory=dict)
    strangers: list[str] = field(default_factory=list)
    deaths: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def report(self) -> str:
        failed = ", ".join(f"{count} {code}" for code, count in sorted(self.failures.items()))
        died = ", ".join(f"{count} {how}" for how, count in sorted(self.deaths.items()))
        return (
            f"{len(self.allocated)} allocations by {WORKERS} processes in {self.seconds:.1f} s, "
            f"{len(self.allocated) / self.seconds:.0f} per second; {len(self.used)} came into use; "
            f"died: {died or 'nobody'}; refused or failed: {failed or 'nothing'}"
        )


class Fire:
    """Three hosts in ``folder``, and processes that take numbers there until enough were allocated."""

    def __init__(self, folder: Path, seed: int, odds: Odds, disk: Path | None = None) -> None:
        self.hosts = [(disk or folder) / f"host{number}" for number in range(HOSTS)]
        self.logs = folder / "logs"
        for place in (*self.hosts, self.logs):
            place.mkdir()
        self.paths = [host / "r.ledger" for host in self.hosts]
        self.random = random.Random(seed)
        self.odds = odds
        self.in_use = RawArray("q", WORKERS)
        self.counts = RawArray("q", WORKERS)
        self.deaths: Counter[str] = Counter()
        self.seconds = 0.0
        self.damages = 0
        self._started = 0

    def ledgers(self) -> list[Ledger]:
        return [Ledger(path, VOLUME) for path in self.paths]

    def burn(self, total: int, *, kills: int = 0, until: Callable[[], bool] = lambda: False) -> None:
        """Let ten processes work until ``total`` numbers were allocated; kill ``kills`` of them, one now and then.

        ``until`` ends it earlier.
        At the end all are killed at once, as by a power cut.
        """
        begin = time.monotonic()
        running = {slot: self._start(slot) for slot in range(WORKERS)}
        before, left = sum(self.counts), kills
        while sum(self.counts) < total and not until():
            wait([process.sentinel for process in running.values()], timeout=self.random.uniform(0, 0.02))
            due = kills * (sum(self.counts) - before) // max(1, total - before)
            if kills - left < due:
                left -= 1
                victim = running[self.random.randrange(WORKERS)]
                os.kill(_pid(victim), signal.SIGKILL)
                self.deaths["killed from outside"] += 1
                victim.join()
            for slot, process in running.items():
                if not process.is_alive():
                    self._bury(process)
                    running[slot] = self._start(slot)
        for process in running.values():
            process.kill()
        for process in running.values():
            self._bury(process)
        self.seconds += time.monotonic() - begin

    def _start(self, slot: int) -> BaseProcess:
        self._started += 1
        process = _FORK.Process(target=self._work, args=(slot, self._started, self.random.getrandbits(32)), daemon=True)
        process.start()
        return process

    def _bury(self, process: BaseProcess) -> None:
        process.join()
        if process.exitcode == -signal.SIGUSR1:
            self.deaths["killed inside a file operation"] += 1
        process.close()

    # -- in a process of its own ---------------------------------------------------------------------------------------

    def _work(self, slot: int, serial: int, seed: int) -> None:
        chance = random.Random(seed)
        log = os.open(self.logs / f"{serial}.numbers", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        failures = os.open(self.logs / f"{serial}.failures", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        arbiter, *others = self.ledgers()
        template = Entry(0, "migrate", f"vm{slot}", f"server{serial}", controller=f"host{slot % HOSTS}")
        write = os.write
        _disturb(chance, self.odds)
        while True:
            highest = max(self.in_use)
            try:
                seen = [other.last for other in others]
                floors = [Floor(last, str(other.path)) for last, other in zip(seen, others, strict=True)]
                entry, _is_new = arbiter.allocate(template, floors=floors, timeout=30)
                what = b"%d %d %d" % (entry.generation, highest, self.damages)
                write(log, b"allocated %s\n" % what)
                self.counts[slot] += 1
                for last, other in zip(seen, others, strict=True):
                    other.record([entry], expected_last=entry.generation, seen_last=last, timeout=30)
                arbiter.record([entry], expected_last=entry.generation, seen_last=entry.generation, timeout=30)
            except CollectionError as error:
                write(failures, json.dumps([error.code, error.message]).encode() + b"\n")
            except BaseException as error:
                write(failures, json.dumps([None, repr(error)]).encode() + b"\n")
                raise
            else:
                write(log, b"used %s\n" % what)
                self.in_use[slot] = entry.generation

    def outcome(self) -> Outcome:
        """What all processes wrote down, whether they lived or not."""
        found = read_logs(self.logs)
        found.deaths, found.seconds = self.deaths, self.seconds
        return found


def read_logs(logs: Path) -> Outcome:
    """Everything that the processes of a fire wrote down."""
    found = Outcome()
    for path in logs.glob("*.numbers"):
        for line in _whole_lines(path):
            what, number, highest, damages = line.split()
            numbers = found.used if what == b"used" else found.allocated
            numbers.append((int(number), int(highest), int(damages)))
    for path in logs.glob("*.failures"):
        for line in _whole_lines(path):
            code, sentence = json.loads(line)
            if code is None:
                found.strangers.append(sentence)
            else:
                found.failures[code] += 1
                found.sentences[code] = sentence
    return found


def _whole_lines(path: Path) -> list[bytes]:
    return path.read_bytes().rpartition(b"\n")[0].splitlines()


def _pid(process: BaseProcess) -> int:
    assert process.pid is not None
    return process.pid


def _disturb(chance: random.Random, odds: Odds) -> None:
    """From here on, file operations of this process on ledgers may fail, or be the last thing it does."""
    write, fsync, opened, ftruncate, replace = os.write, os.fsync, os.open, os.ftruncate, os.replace

    def disturbed(function: Callable[..., Any], half: Callable[..., Any] | None = None) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            drawn = chance.random()
            if drawn < odds.killed:
                if half:
                    half(*arguments)
                os.kill(os.getpid(), signal.SIGUSR1)  # as final as SIGKILL, and told apart from it
            if drawn < odds.killed + odds.failed:
                number = chance.choice(_TROUBLES)
                if half and chance.random() < 0.5:
                    return half(*arguments)
                raise OSError(number, os.strerror(number), None)
            return function(*arguments, **options)

        return call

    def half_a_write(handle: int, data: bytes) -> int:
        return write(handle, data[: chance.randrange(len(data))])

    os.write = disturbed(write, half_a_write)
    os.fsync = disturbed(fsync)
    os.open = disturbed(opened)
    os.ftruncate = disturbed(ftruncate)
    os.replace = disturbed(replace)


def full_disk(folder: Path, seed: int) -> None:
    """Numbers until there is no room for another, and again when there is. Without root a size limit is the disk."""
    disk = _small_disk(folder)
    if disk is None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (_SMALL, resource.RLIM_INFINITY))
    fire = Fire(folder, seed, Odds(), disk)
    fire.burn(_MANY, until=lambda: read_logs(fire.logs).failures["disk_full"] >= WORKERS)
    if disk is None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        subprocess.run(["mount", "-o", f"remount,size={10 * _SMALL}", str(disk)], check=True)
    fire.burn(sum(fire.counts) + 100)


def read_only_disk(folder: Path, seed: int) -> None:
    """Numbers, then a disk that takes none, then numbers. Without root, modes of files and directories are the disk."""
    disk = _small_disk(folder)
    fire = Fire(folder, seed, Odds(), disk)

    def writable(yes: bool) -> None:
        if disk is not None:
            subprocess.run(["mount", "-o", "remount,rw" if yes else "remount,ro", str(disk)], check=True)
            return
        for host in fire.hosts:
            host.chmod(0o755)
            for path in host.iterdir():
                path.chmod(0o644 if yes else 0o444)
            host.chmod(0o755 if yes else 0o555)

    fire.burn(100)
    writable(False)
    fire.burn(_MANY, until=lambda: read_logs(fire.logs).failures.total() >= 5 * WORKERS)
    writable(True)
    fire.burn(sum(fire.counts) + 100)


def _small_disk(folder: Path) -> Path | None:
    if os.geteuid() != 0:
        return None
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SMALL}", "none", str(disk)], check=True)
    return disk


if __name__ == "__main__":
    {"full": full_disk, "read-only": read_only_disk}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
