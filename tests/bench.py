# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of one run, as ratios: plays ÷ bare commands, imports ÷ dd, the lab's storage ÷ plain files.

It asserts nothing: seconds of one machine say little, ratios within one run say something. Each pair is measured
several times, one after the other; the table shows medians. Needs curl, dd and cp, and four gigabytes of disk.

Usage: bench.py [--rounds N] [jobs] [imports] [storage]      (all three, 3 rounds, unless told otherwise)
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench_storage import loads, storage

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".build" / "bench"
NETWORK = "127.0.42"
GIB = 1 << 30
EXTENT = 32 << 20
PROGRAM = PLACE / "lab" / "bin" / "crucible-downstairs"


Pair = tuple[float, float]


def seconds(command: Sequence[str]) -> float:
    """Wall seconds of a command; its output is shown only when it fails."""
    environment = os.environ | {"LAB_ROOT": str(PLACE / "lab"), "LAB_NETWORK": NETWORK}
    print(f"  … {' '.join(command)[:110]}", file=sys.stderr, flush=True)
    begin = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    taken = time.monotonic() - begin
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-2000:], sep="\n", file=sys.stderr)
        raise SystemExit(f"{command[0]} ended with status {done.returncode}; there are no figures.")
    return taken


def play(name: str, *arguments: str) -> list[str]:
    return ["ansible-playbook", "-i", "inventories/lab", name, *arguments]


def row(what: str, of: str, pairs: Sequence[Pair], speed: Callable[[float], str] | None = None) -> None:
    """One line: what and its median, what it is held against and its median, their ratio (of speeds, or of seconds)."""
    one, other = (statistics.median(each) for each in zip(*pairs, strict=True))
    ratio = one / other if speed is None else other / one
    shown = speed or "{:.2f} s".format
    print(f"{what:<36} {shown(one):>12}   ÷ {of:<20} {shown(other):>12}   = {ratio:6.2f}", flush=True)


def jobs(rounds: int) -> None:
    """The main job against the bare commands, and the converged run against an empty play."""
    empty = PLACE / "empty.yml"
    empty.write_text("- hosts: all\n  gather_facts: false\n  tasks: []\n")
    whole: list[Pair] = []
    again: list[Pair] = []
    for _unused in range(rounds):
        seconds(play("playbooks/lab_up.yml"))
        bare = seconds(["bash", "tests/bench_bare.sh", str(PLACE / "lab"), NETWORK])
        try:
            whole.append((seconds(play("playbooks/migrate.yml")), bare))
            again.append((seconds(play("playbooks/migrate.yml")), seconds(play(str(empty)))))
        finally:
            seconds(play("playbooks/lab_down.yml"))
    row("whole job: seed, boot, migrate", "the bare commands", whole)
    row("migrate.yml with nothing to do", "an empty play", again)


def imports(rounds: int) -> None:
    """Importing 1 GiB of random bytes, against writing and syncing it with dd."""
    seconds(play("playbooks/lab_up.yml"))
    image = PLACE / "image"
    seconds(["dd", "if=/dev/urandom", f"of={image}", "bs=1M", "count=1024", "status=none"])
    for block_size in (512, 4096):
        row(
            f"import of 1 GiB, {block_size}-byte blocks",
            "dd of 1 GiB, fsync",
            [one_import(image, block_size) for _round in range(rounds)],
        )
    image.unlink()


def one_import(image: Path, block_size: int) -> Pair:
    """Seconds of an import, and of dd."""
    copied, region = PLACE / "copy", PLACE / "region"
    base = seconds(["dd", f"if={image}", f"of={copied}", "bs=1M", "conv=fsync", "status=none"])
    shape = {"--block-size": block_size, "--extent-size": EXTENT // block_size, "--extent-count": GIB // EXTENT}
    create = [str(PROGRAM), "create", "-d", str(region), "-u", "47669d15-9004-59d9-9c28-10bdf2c59ee9"]
    create += [str(word) for option in shape.items() for word in option]
    taken = seconds([*create, "--import-path", str(image)])
    copied.unlink()
    shutil.rmtree(region)
    return taken, base


def through_the_lab(rounds: int) -> None:
    """Reads, writes and a live repair through three local downstairs, against plain files."""
    seconds(play("playbooks/lab_up.yml"))
    print("  … reads, writes and a live repair", file=sys.stderr, flush=True)
    speeds = {load.name: load.speed for load in loads()}
    for name, pairs in storage(PROGRAM, PLACE / "storage", NETWORK, rounds).items():
        if name in speeds:
            row(name, "one plain file", pairs, speeds[name])
        else:
            row(name, "cp of its files", pairs)


SECTIONS = {"jobs": jobs, "imports": imports, "storage": through_the_lab}


def main() -> int:
    """Prints the figures; exit status 0."""
    parser = argparse.ArgumentParser(description="Figures of one run, as ratios.")
    parser.add_argument("sections", nargs="*", metavar="section", help=f"of {', '.join(SECTIONS)}; all unless given")
    parser.add_argument("--rounds", type=int, default=3, help="how often each pair is measured; medians are shown")
    options = parser.parse_args()
    unknown = sorted(set(options.sections) - set(SECTIONS))
    if unknown or options.rounds < 1:
        parser.error(f"sections are {', '.join(SECTIONS)}; rounds at least 1")
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    try:
        for name in options.sections or SECTIONS:
            SECTIONS[name](options.rounds)
    finally:
        shutil.rmtree(PLACE, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
