# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of the lab's storage: reads, writes and a live repair through three local downstairs, against plain files.

The upstairs runs in this process, the downstairs in three others, all on the cores that there are.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "roles" / "lab" / "files"))

from propolis_lab.upstairs import Settings, Upstairs
from propolis_lab.upstairs.status import Phase

MIB = 1 << 20
VOLUME_MIB = 256
BLOCKS, EXTENTS = 32768, VOLUME_MIB // 16  # of 512 bytes: extents of 16 MiB
PORT = 8810
REPLICAS = 4  # the fourth takes the place of another
SETTINGS = Settings(reconnect_delay=0.05)  # ten seconds before a repair begins say nothing about the repair

Request = Callable[[int], Awaitable[object]]


@dataclass(frozen=True)
class Load:
    """``count`` requests of ``size`` bytes, ``depth`` of them at once, one after the other or anywhere."""

    name: str
    write: bool
    size: int
    depth: int
    count: int
    anywhere: bool

    def offsets(self) -> list[int]:
        """The same for volume and file."""
        places = VOLUME_MIB * MIB // self.size
        if not self.anywhere:
            return [number % places * self.size for number in range(self.count)]
        choose = random.Random(7)
        return [choose.randrange(places) * self.size for _unused in range(self.count)]

    def speed(self, seconds: float) -> str:
        """MiB/s for large requests, requests per second for small ones."""
        if self.size >= MIB:
            return f"{self.count * self.size / MIB / seconds:.0f} MiB/s"
        return f"{self.count / seconds:.0f} /s"


def loads() -> Iterator[Load]:
    """Writes first, so that reads find something."""
    for word, write in (("write", True), ("read", False)):
        for depth in (1, 16):
            yield Load(f"sequential {word}, 1 MiB, depth {depth}", write, MIB, depth, VOLUME_MIB, False)
    for word, write in (("write", True), ("read", False)):
        for depth, count in ((1, 2000), (16, 6000)):
            yield Load(f"random {word}, 4 KiB, depth {depth}", write, 4096, depth, count, True)


async def run_load(load: Load, request: Request) -> float:
    """Seconds until the last request is answered; ``depth`` workers take the next offset each."""
    rest = iter(load.offsets())

    async def work() -> None:
        for offset in rest:
            await request(offset)

    begin = time.perf_counter()
    await asyncio.gather(*(work() for _unused in range(load.depth)))
    return time.perf_counter() - begin


async def through_volume(load: Load, volume: Upstairs) -> float:
    """Seconds through the upstairs; writes end with a flush."""
    data = os.urandom(load.size)
    if not load.write:
        return await run_load(load, lambda offset: volume.read(offset, load.size))
    seconds = await run_load(load, lambda offset: volume.write(offset, data))
    begin = time.perf_counter()
    await volume.flush()
    return seconds + time.perf_counter() - begin


async def through_file(load: Load, path: Path) -> float:
    """Seconds of the same requests on one plain file, each worker on a thread; writes end with an fsync."""
    data = os.urandom(load.size)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    offsets = load.offsets()
    try:
        with ThreadPoolExecutor(load.depth) as pool:
            begin = time.perf_counter()
            if load.write:
                list(pool.map(lambda offset: os.pwrite(descriptor, data, offset), offsets))
                os.fsync(descriptor)
            else:
                list(pool.map(lambda offset: os.pread(descriptor, load.size, offset), offsets))
            return time.perf_counter() - begin
    finally:
        os.close(descriptor)


def request_of(network: str, targets: list[int]) -> dict[str, Any]:
    """The volume over these replicas."""
    addresses = [f"{network}.{11 + number}:{PORT}" for number in targets]
    options = {"id": f"47669d15-9004-59d9-9c28-{0xB:012x}", "target": addresses, "lossy": False, "read_only": False}
    shape = {"block_size": 512, "blocks_per_extent": BLOCKS, "extent_count": EXTENTS}
    region = {"type": "region", **shape, "opts": options, "gen": 1}
    return {"type": "volume", "id": options["id"], "block_size": 512, "sub_volumes": [region]}


@asynccontextmanager
async def downstairs(program: Path, folder: Path, network: str) -> AsyncIterator[None]:
    """The replicas, made anew and served until the block is left."""
    processes = []
    try:
        for number in range(REPLICAS):
            region = folder / f"r{number}"
            shape = ["--block-size", "512", "--extent-size", str(BLOCKS), "--extent-count", str(EXTENTS)]
            name = f"47669d15-9004-59d9-9c28-{number:012x}"
            create = [str(program), "create", "-d", str(region), "-u", name, *shape]
            subprocess.run(create, check=True, capture_output=True)  # noqa: ASYNC221 -- nothing else goes on yet
            run = [str(program), "run", "-d", str(region), "-a", f"{network}.{11 + number}", "-p", str(PORT)]
            with (folder / f"r{number}.log").open("wb") as log:
                processes.append(await asyncio.create_subprocess_exec(*run, stdout=log, stderr=log))
        yield
    finally:
        for process in processes:
            process.terminate()
        await asyncio.gather(*(process.wait() for process in processes))


async def repair(volume: Upstairs, network: str) -> float:
    """Seconds until an empty replica that took another's place holds all that the volume holds."""
    begin = time.perf_counter()
    await volume.replace_target(Upstairs.parse(request_of(network, [0, 1, 3])))
    target = volume.region_sets[0].targets[2]
    while target.phase is not Phase.ACTIVE:  # noqa: ASYNC110 -- the upstairs tells nobody outside
        await asyncio.sleep(0.005)
    return time.perf_counter() - begin


def copy(folder: Path) -> float:
    """Seconds of cp for the files of one replica."""
    begin = time.perf_counter()
    subprocess.run(["cp", "-r", str(folder / "r0"), str(folder / "copied")], check=True)
    seconds = time.perf_counter() - begin
    shutil.rmtree(folder / "copied")
    return seconds


async def one_round(program: Path, folder: Path, network: str) -> dict[str, tuple[float, float]]:
    """Seconds of each load, and of the repair, for the volume and for plain files."""
    found = {}
    async with downstairs(program, folder, network):
        volume = Upstairs(
            Upstairs.parse(request_of(network, [0, 1, 2])), log=lambda _text, _details: None, settings=SETTINGS
        )
        await volume.activate(1)
        for load in loads():
            plain = await through_file(load, folder / "plain")
            found[load.name] = (await through_volume(load, volume), plain)
        mended = await repair(volume, network)
        found[f"live repair of {VOLUME_MIB} MiB"] = (mended, copy(folder))
        await volume.deactivate()
    return found


def storage(program: Path, folder: Path, network: str, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(seconds through the volume, seconds on plain files) of each load by name, one pair for each round."""
    found: dict[str, list[tuple[float, float]]] = {}
    for _unused in range(rounds):
        folder.mkdir(parents=True)
        for name, pair in asyncio.run(one_round(program, folder, network)).items():
            found.setdefault(name, []).append(pair)
        shutil.rmtree(folder)
    return found
