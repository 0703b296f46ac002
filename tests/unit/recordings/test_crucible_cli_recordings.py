# SPDX-License-Identifier: GPL-3.0-or-later
"""Replays the recordings of crucible-downstairs, of today and of January 2023, on the stand-in."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from recordings.crucible_replay import Replay
from recordings.crucible_transcript import Step, read_2023, read_today
from shared import needs_shared, recordings

pytestmark = needs_shared


def _folder(recording: str) -> Path:
    return recordings / "transcripts" / f"{recording}.txt"


@pytest.mark.parametrize("recording", ["crucible/01-usage", "crucible/02-create"])
def test_todays_stand_in_answers_commands_as_the_recorded_program_did(recording: str, tmp_path: Path) -> None:
    replay = Replay(recording, tmp_path / "work")
    replay.prepare()
    replay.play(read_today(_folder(recording)))
    replay.check()


def test_the_stand_in_of_2023_makes_regions_as_the_recorded_program_did(tmp_path: Path) -> None:
    replay = Replay("2023/ds", tmp_path / "work", age="2023")
    replay.prepare()
    _images(replay)
    steps = read_2023(_folder("2023/ds"))
    # The recording is sorted by name: what looks at a region may stand before what makes it.
    replay.play(sorted(steps, key=lambda step: not _makes_region(step)))
    replay.check()


def _makes_region(step: Step) -> bool:
    return isinstance(step.command, tuple) and "create" in step.command[:2]


def _images(replay: Replay) -> None:
    """The files that the recorded commands found in their folder."""
    sizes = {"3ext": 153600, "odd": 51900, "big": 1024512, "bigodd": 1024513, "empty": 0}
    for name, size in sizes.items():
        (replay.folder / f"img-{name}.raw").write_bytes(random.Random(size).randbytes(size))
    (replay.folder / "afile").write_text("")
    (replay.folder / "emptydir").mkdir()
    (replay.folder / "nonempty").mkdir()
    (replay.folder / "nonempty" / "other").write_text("")
    old = replay.folder.parent / "bin" / "0e2bea77"
    old.mkdir()
    (old / "crucible-downstairs").symlink_to(replay.folder.parent / "bin" / "crucible-downstairs")
