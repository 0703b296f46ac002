# SPDX-License-Identifier: GPL-3.0-or-later
"""Replays the recordings of crucible-downstairs, of today and of January 2023, on the stand-in."""

from __future__ import annotations

import os
import random
import re
import shutil
from pathlib import Path

import pytest
from recordings.crucible_network import own_network
from recordings.crucible_replay import Replay
from recordings.crucible_sqlite import SqliteStages
from recordings.crucible_states import Write, change_region, imported_region, new_region, serve_and_write
from recordings.crucible_transcript import Step, read_2023, read_today
from shared import needs_shared, recordings

pytestmark = needs_shared
COMMANDS = {
    # how many commands each recording holds, all of which are run here: a reader that overlooks some must not pass
    "crucible/01-usage": 28,
    "crucible/02-create": 48,
    "crucible/03-run-and-generations": 62,
    "2023/ds": 66,
    "2023/dumps": 25,
    "2023/exports": 8,
    "2023/seed": 3,
    "2023/sqlite": 16,
}


def _folder(recording: str) -> Path:
    return recordings / "transcripts" / f"{recording}.txt"


@pytest.mark.parametrize("recording", ["crucible/01-usage", "crucible/02-create"])
def test_todays_stand_in_answers_commands_as_the_recorded_program_did(recording: str, tmp_path: Path) -> None:
    replay = Replay(recording, tmp_path / "work")
    replay.prepare()
    replay.play(read_today(_folder(recording)))
    replay.check(COMMANDS[replay.recording])


def test_the_stand_in_of_2023_makes_regions_as_the_recorded_program_did(tmp_path: Path) -> None:
    replay = Replay("2023/ds", tmp_path / "work", age="2023")
    replay.prepare()
    _images(replay)
    steps = read_2023(_folder("2023/ds"))
    # The recording is sorted by name: what looks at a region may stand before what makes it.
    replay.play(sorted(steps, key=lambda step: not _makes_region(step)))
    replay.check(COMMANDS[replay.recording])


@pytest.mark.parametrize("recording", COMMANDS)
def test_every_command_of_a_recording_is_counted(recording: str) -> None:
    text = _folder(recording).read_text("utf-8")
    marks = re.findall(r"(?m)^argv: ", text) if recording.startswith("2023") else re.findall(r"(?m)^\$ ", text)
    assert len(marks) == COMMANDS[recording]


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


def test_dump_of_2023_shows_every_recorded_state_of_three_regions(tmp_path: Path) -> None:
    replay = Replay("2023/dumps", tmp_path / "work", age="2023")
    replay.prepare()
    regions = [replay.folder / f"region{port}" for port in (8810, 8820, 8830)]
    imported_region(regions[0], extents=4, blocks_per_extent=1000, imported_blocks=3000)
    for copy in regions[1:]:
        shutil.copytree(regions[0], copy)
    replay.run(("crucible-downstairs", "create", "-d", "r1", "-u", "11111111-1111-4111-8111-111111111111"))
    all_dirty = [Write(extent, 0, None, seed=30) for extent in range(4)]
    before: dict[str, list[Write]] = {
        "02-after-write-gen1": [Write(0, 1, 2), Write(0, 1, 3)],
        "03-gen2": [Write(1, 2, 4), Write(1, 2, 5, blocks=100)],
        "04-gen10": [Write(3, 10, 7)],
        "05-gen12": [Write(2, 12, 8)],
        "08-dirty-while-running": all_dirty,
        "11-after-gen21-activate": [Write(extent, 13, None) for extent in range(3)] + [Write(3, 13, 9)],
    }
    for step in read_2023(_folder("2023/dumps")):
        name = step.name.removeprefix("dumps/").removesuffix(".txt")
        for path in regions:
            change_region(path, *before.get(name, []))
        if name in {"02-after-write-gen1", "03-gen2"}:
            shutil.copytree(regions[2], f"{regions[2]}-{name[-4:]}")
        replay.play([step])
    replay.check(COMMANDS[replay.recording])


def test_export_of_2023_writes_what_the_recorded_program_wrote_and_skips_as_wrongly(tmp_path: Path) -> None:
    replay = Replay("2023/exports", tmp_path / "work", age="2023")
    replay.prepare()
    _images(replay)
    imported_region(replay.folder / "region8810", extents=4, blocks_per_extent=1000, imported_blocks=3000)
    create = ("crucible-downstairs", "create", "-u", "22222222-2222-4222-8222-222222222221", "-i", "img-3ext.raw")
    replay.run((*create, "-d", "i3"))
    replay.run((*create, "-d", "ienc", "--encrypted"))
    replay.play(read_2023(_folder("2023/exports")))
    replay.check(COMMANDS[replay.recording])
    image = (replay.folder / "img-3ext.raw").read_bytes()
    exported = (replay.folder / "exp-i3.raw").read_bytes()
    assert exported == image + bytes(768000 - len(image))
    assert (replay.folder / "exp-cs.raw").read_bytes() == image[5 * 512 : 15 * 512]
    assert (replay.folder / "exp-cs2.raw").read_bytes() == image[100 * 512 : 110 * 512]
    assert (replay.folder / "exp-cs3.raw").read_bytes() == image


def test_the_by_hand_documents_own_region_gives_the_by_hand_documents_own_dump(tmp_path: Path) -> None:
    replay = Replay("2023/seed", tmp_path / "work", age="2023")
    replay.prepare()
    with (replay.folder / "helios.raw").open("wb") as image:
        image.truncate(77881678)
    create, fresh, like_the_document = read_2023(_folder("2023/seed"))
    replay.play([create, fresh])
    change_region(replay.folder / "seed8810", Write(0, 10, 608), Write(63, 11, 642))
    replay.play([like_the_document])
    replay.check(COMMANDS[replay.recording])


@pytest.mark.skipif(os.geteuid() != 0, reason="SKIPPED LOUDLY: needs root, to be without rights")
def test_the_numbers_of_2023_are_found_with_the_journals_and_only_with_them(tmp_path: Path) -> None:
    replay = Replay("2023/sqlite", tmp_path / "work", age="2023")
    replay.prepare()
    region = replay.folder / "vr8810"
    imported_region(region, extents=4, blocks_per_extent=1000, imported_blocks=2003)
    process = serve_and_write(region, Write(3, 1, 2), Write(2, 0, 1), Write(0, 21, 4))
    process.kill()
    process.wait()
    stages = SqliteStages(replay, region)
    for step in read_2023(_folder("2023/sqlite")):
        stages.perform(step)
    stages.end()
    replay.check(COMMANDS[replay.recording])


def test_three_running_stand_ins_show_the_recorded_generations_and_refusals(tmp_path: Path) -> None:
    with own_network() as prefix:
        replay = Replay("crucible/03-run-and-generations", tmp_path / "work", prefix=prefix)
        replay.prepare()
        # One command waits for a downstairs that never comes: a shorter wait ends alike.
        replay.play(
            read_today(_folder(replay.recording)),
            lambda command: re.sub(r"timeout 12 (.* -g 7 )", r"timeout 2 \1", command),
        )
        replay.check(COMMANDS[replay.recording])


def test_dump_of_regions_of_different_length_ends_as_recorded(tmp_path: Path) -> None:
    replay = Replay("crucible/05-open-questions", tmp_path / "work")
    replay.prepare()
    for number in (3, 4, 5):
        path = replay.folder / f"ds{number}"
        new_region(path, uuid=f"12345678-0000-4000-8000-00000000000{number}", extents=4, blocks_per_extent=16)
        change_region(path, Write(0, 0, None), Write(1, 0, None), Write(2, 0, 1))
    replay.play(_part(replay.recording, after="directories with different extent counts", before="many extents"))
    replay.check()


def _part(recording: str, *, after: str, before: str) -> list[Step]:
    """The steps between two notes of a recording."""
    steps = read_today(_folder(recording))
    first = next(index for index, step in enumerate(steps) if (step.note or "").startswith(after))
    return steps[first + 1 : next(index for index, step in enumerate(steps) if (step.note or "").startswith(before))]
