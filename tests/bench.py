# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of one run, as ratios: the playbook ÷ the bare commands, a converged run ÷ an empty play, an import ÷ dd.

It asserts nothing: seconds of one machine say little, ratios within one run say something. Needs curl and dd.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".build" / "bench"
NETWORK = "127.0.42"
GIB = 1 << 30


def seconds(command: Sequence[str], *, may_fail: bool = False) -> float:
    """Wall seconds of a command; its output is shown only when it fails."""
    environment = os.environ | {"LAB_ROOT": str(PLACE / "lab"), "LAB_NETWORK": NETWORK}
    print(f"  … {' '.join(command)[:110]}", file=sys.stderr, flush=True)
    begin = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    taken = time.monotonic() - begin
    if done.returncode and not may_fail:
        print(done.stdout[-4000:], done.stderr[-2000:], sep="\n", file=sys.stderr)
        raise SystemExit(f"{command[0]} ended with status {done.returncode}; there are no figures.")
    return taken


def play(name: str, *arguments: str) -> list[str]:
    return ["ansible-playbook", "-i", "inventories/lab", name, *arguments]


def row(what: str, value: float, of: str, base: float) -> None:
    print(f"{what:<46} {value:8.2f} s   ÷ {of:<34} {base:8.2f} s   = {value / base:6.2f}", flush=True)


def jobs() -> None:
    """The main job against the bare commands, and the converged run against an empty play."""
    seconds(play("playbooks/lab_up.yml"))
    bare = seconds(["bash", "tests/bench_bare.sh", str(PLACE / "lab"), NETWORK])
    try:
        whole = seconds(play("playbooks/migrate.yml"))
        again = seconds(play("playbooks/migrate.yml"))
    finally:
        seconds(play("playbooks/lab_down.yml"))
    empty = PLACE / "empty.yml"
    empty.write_text("- hosts: all\n  gather_facts: false\n  tasks: []\n")
    nothing = min(seconds(play(str(empty))) for _unused in range(3))
    row("whole job (seed, boot, migrate)", whole, "the bare commands", bare)
    row("converged run of migrate.yml", again, "an empty play", nothing)


def imports() -> None:
    """Importing 1 GiB of random bytes, against writing and syncing it with dd."""
    seconds(play("playbooks/lab_up.yml"))
    image = PLACE / "image"
    seconds(["dd", "if=/dev/urandom", f"of={image}", "bs=1M", "count=1024", "status=none"])
    base = seconds(["dd", f"if={image}", f"of={PLACE / 'copy'}", "bs=1M", "conv=fsync", "status=none"])
    program = str(PLACE / "lab" / "bin" / "crucible-downstairs")
    for block_size in (512, 4096):
        region = PLACE / f"region-{block_size}"
        blocks = (32 << 20) // block_size
        create = [program, "create", "-d", str(region), "-u", "47669d15-9004-59d9-9c28-10bdf2c59ee9"]
        create += [
            "--block-size",
            str(block_size),
            "--extent-size",
            str(blocks),
            "--extent-count",
            str(GIB // (32 << 20)),
        ]
        taken = seconds([*create, "--import-path", str(image)])
        row(f"import of 1 GiB, {block_size}-byte blocks", taken, "dd of 1 GiB with fsync", base)
        shutil.rmtree(region)


def main() -> int:
    """Prints the figures; exit status 0."""
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    try:
        jobs()
        imports()
    finally:
        shutil.rmtree(PLACE, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
