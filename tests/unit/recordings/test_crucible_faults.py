# SPDX-License-Identifier: GPL-3.0-or-later
"""Replays the recording of faults: replicas that differ, wrong geometry, wrong requests, wrong keys, clones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from recordings.crucible_differences import DIFFERENCES
from recordings.crucible_network import own_network
from recordings.crucible_replay import Replay
from recordings.crucible_states import Write, change_region
from recordings.crucible_transcript import Step, read_today
from shared import needs_shared, recordings

pytestmark = needs_shared

RECORDING = "crucible/04-fencing-and-repair"
COMMANDS = 89
"""How many the recording holds: all are run but those that are listed as differences with their reasons."""
LOOK = re.compile(r"messages of (?P<log>\S+) that match /(?P<pattern>.*)/, last (?P<last>\d+)")
THIRD = re.compile(r"crutest one with the third target at (\d+): .*")
OFFSETS = {"-g 30": 16, "-g 59": 16}
"""The block that ``crutest one`` happened to write, by the generation; 0 where the recording doesn't tell otherwise."""
FLUSHES = ((4706, 0), (4705, 1), (4706, 2), (4702, 3))
"""The last flush of each extent of the replica that was killed, before it was written to once more."""


def in_order(replay: Replay, steps: list[Step]) -> Iterator[Step]:
    """The steps with shell lines in the place of the recorder's words, once the folder is as the recorder's was."""
    for step in steps:
        command = str(step.command)
        if command.startswith("crucible-downstairs run -d ds0 ") and "--mode" not in command:
            _as_after_the_load(replay.folder)
        if found := re.match(r"cat (\w+\.json);", command):
            (replay.folder / found[1]).write_text((step.stdout or "").partition("\n")[0])
        yield step if step.command is None else replace(step, command=shell_line(command))


def _as_after_the_load(folder: Path) -> None:
    """The regions as the recorder's load had left them when it lost one replica and then another."""
    for name in ("ds0", "ds1"):
        change_region(folder / name, *(Write(extent, 20, 4707) for extent in range(4)))
    flushed = [Write(extent, 20, flush) for flush, extent in sorted(FLUSHES)]
    change_region(folder / "ds2", *flushed, *(Write(extent, 20, None, seed=1) for extent in range(4)))


def shell_line(command: str) -> str:
    """What is run for a recorded command; some were recorded in words."""
    if found := THIRD.fullmatch(command):
        targets = f"-t 127.0.0.1:8810 -t 127.0.0.1:8820 -t 127.0.0.1:{found[1]}"
        return f"timeout 12 crutest one {targets} -g 40 -q > G{found[1]}.log 2>&1; echo rc=$?"
    if look := LOOK.fullmatch(command):
        return f"tail -{look['last']} {look['log']}"
    block = next((block for mark, block in OFFSETS.items() if mark in command), 0)
    return command.replace("crutest one", f"crutest one -b {block * 512}")


def test_replicas_that_differ_and_wrong_geometry_requests_and_keys_end_as_recorded_and_so_do_clones(
    tmp_path: Path,
) -> None:
    with own_network() as prefix:
        replay = Replay(RECORDING, tmp_path / "work", prefix=prefix)
        replay.prepare()
        steps = read_today(recordings / "transcripts" / f"{RECORDING}.txt")
        replay.play(in_order(replay, steps))
        replay.check()
    left_out = [entry for entry in DIFFERENCES if entry.recording == RECORDING and entry.skip]
    assert replay.commands + len(left_out) == COMMANDS
