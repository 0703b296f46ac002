# SPDX-License-Identifier: GPL-3.0-or-later
"""The module crucible_region against the lab's program of both ages, and against programs that fail."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.crucible import image as image_file
from ansible_collections.apiary.propolis.plugins.module_utils.crucible import seeding
from ansible_collections.apiary.propolis.plugins.modules import crucible_region
from lab_downstairs import AGES, executable
from module_runner import run_module
from regions_on_disk import UUID, extent_file, make_raw

SHAPE = {"uuid": UUID, "blocks_per_extent": 16, "extent_count": 3}
DATA = bytes(range(256)) * 60


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.raw"
    path.write_bytes(DATA)
    return path


@pytest.fixture(params=AGES)
def program(request, tmp_path):
    return executable(tmp_path, request.param)


@pytest.fixture
def region(tmp_path):
    def run(check=False, **options):
        given = {"path": str(tmp_path / "r"), **SHAPE, **options}
        return run_module(crucible_region, check, **{key: value for key, value in given.items() if value is not None})

    return run


def script(tmp_path, text):
    path = tmp_path / "failing-downstairs"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def leftovers(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("r"))


def test_an_image_is_imported_and_the_second_run_changes_nothing(region, tmp_path, image, program):
    first = region(image={"src": str(image)}, executable=program)
    assert first["changed"]
    assert first["import"] == {"bytes": len(DATA), "extents": 2, "sha256": hashlib.sha256(DATA).hexdigest()}
    assert first["region"] == {
        "path": str(tmp_path / "r"), "uuid": UUID, "block_size": 512, "blocks_per_extent": 16, "extent_count": 3,
        "encrypted": False, "bytes": 24576, "complete": True, "format": "sqlite" if "2023" in program else "raw",
    }  # fmt: skip
    assert first["diff"] == {"before": {}, "after": first["region"]}
    second = region(image={"src": str(image)}, executable=program)
    assert (second["changed"], second["region"], second["image"]) == (False, first["region"], first["image"])
    assert "import" not in second
    assert leftovers(tmp_path) == ["r", "r.image"]


def test_without_a_number_of_extents_the_image_gets_what_it_fills_and_one_to_spare(region, image, program):
    first = region(extent_count=None, image={"src": str(image)}, executable=program)
    assert (first["changed"], first["region"]["extent_count"]) == (True, 3)
    image.unlink()
    second = region(extent_count=None, image={"src": str(image)}, executable=program)
    assert (second["changed"], second["region"]) == (False, first["region"])


def test_without_a_number_of_extents_there_must_be_an_image(region, tmp_path, image, program):
    told = region(extent_count=None, executable=program)
    assert told["msg"].startswith("extent_count: found None, expected a number, as there is no image")
    image.unlink()
    told = region(extent_count=None, image={"src": str(image)}, executable=program)
    assert told["msg"].startswith(f"image.src: {image} cannot be read: No such file")
    assert leftovers(tmp_path) == []


def test_what_an_interrupted_run_left_does_not_say_how_many_extents_there_shall_be(region, tmp_path, image, program):
    make_raw(tmp_path / "r", extent_count=2)
    (tmp_path / "r.making").write_text("{}")
    image.write_bytes(DATA * 2)
    told = region(extent_count=None, image={"src": str(image)}, executable=program)
    assert (told["changed"], told["region"]["extent_count"]) == (True, 5)
    assert "quarantined" in told


def test_an_empty_region_is_made(region, tmp_path, program):
    assert region(executable=program)["changed"]
    assert not region(executable=program)["changed"]
    assert leftovers(tmp_path) == ["r"]


def test_check_mode_says_what_would_be_and_makes_nothing(region, tmp_path, image, program):
    told = region(check=True, image={"src": str(image)}, executable=program)
    assert told["changed"]
    assert told["region"]["bytes"] == 24576
    assert leftovers(tmp_path) == []
    region(image={"src": str(image)}, executable=program)
    assert not region(check=True, image={"src": str(image)}, executable=program)["changed"]


def test_a_converged_run_needs_neither_image_nor_program(region, image, program):
    region(image={"src": str(image)}, executable=program)
    image.unlink()
    assert not region(image={"src": str(image)}, executable="/nowhere")["changed"]


@pytest.mark.parametrize(
    ("changed", "field"),
    [({"uuid": UUID.replace("1", "2")}, "uuid"), ({"extent_count": 4}, "extent_count"),
     ({"encrypted": True}, "encrypted"), ({"blocks_per_extent": 8}, "blocks_per_extent"),
     ({"block_size": 1024}, "block_size")],
)  # fmt: skip
def test_another_region_in_the_directory_is_refused_field_by_field(region, tmp_path, changed, field):
    make_raw(tmp_path / "r")
    told = region(**changed)
    assert told["failure"]["code"] == "foreign_region"
    assert [one["field"] for one in told["failure"]["details"]["differences"]] == [field]
    assert f"{field} is" in told["msg"]


def test_an_image_that_was_changed_since_is_refused(region, image, program):
    region(image={"src": str(image)}, executable=program)
    image.write_bytes(DATA[::-1])
    assert region(image={"src": str(image)}, executable=program)["failure"]["code"] == "other_image"
    other = hashlib.sha256(b"x").hexdigest()
    told = region(image={"src": str(image), "checksum": f"sha256:{other}"}, executable=program)
    assert told["failure"]["code"] == "other_image"
    assert told["failure"]["details"] == {"found": hashlib.sha256(DATA).hexdigest(), "expected": other}


def test_the_same_image_at_another_place_changes_nothing(region, tmp_path, image, program):
    region(image={"src": str(image)}, executable=program)
    image.rename(tmp_path / "moved.raw")
    assert not region(image={"src": str(tmp_path / "moved.raw")}, executable=program)["changed"]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: path.unlink(), "cannot be read: No such file or directory; nothing was changed"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: (path.unlink(), path.mkdir()), "is not a regular file"),
        (
            lambda path: path.write_bytes(bytes(24577)),
            "has 24577 bytes, the region has room for 24576; set extent_count to",
        ),
    ],
)
def test_an_image_that_cannot_be_imported_is_refused_before_anything_is_made(region, tmp_path, image, make, sentence):
    make(image)
    told = region(image={"src": str(image)}, executable=executable(tmp_path, "today"))
    assert sentence in told["msg"]
    assert leftovers(tmp_path) == []


def test_a_wrong_checksum_is_refused_with_both(region, tmp_path, image):
    wrong = "0" * 64
    told = region(image={"src": str(image), "checksum": f"sha256:{wrong}"}, executable=executable(tmp_path, "today"))
    assert told["failure"]["code"] == "checksum_mismatch"
    assert wrong in told["msg"]
    assert hashlib.sha256(DATA).hexdigest() in told["msg"]
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("checksum", ["md5:x", "sha256:12", "0" * 64])
def test_a_checksum_of_another_kind_is_refused(region, image, checksum):
    assert (
        "expected 'sha256:' and 64 hexadecimal digits" in region(image={"src": str(image), "checksum": checksum})["msg"]
    )


def test_an_image_for_an_encrypted_region_is_refused(region, tmp_path, image):
    told = region(image={"src": str(image)}, encrypted=True, executable=executable(tmp_path, "today"))
    assert told["failure"]["code"] == "image_and_encryption"


@pytest.mark.parametrize("program_path", ["/nowhere/crucible-downstairs", "no-such-crucible-downstairs"])
def test_a_missing_program_is_one_sentence_and_nothing_is_changed(region, tmp_path, program_path):
    told = region(executable=program_path)
    assert told["failure"]["code"] == "program_missing"
    assert "nothing was changed" in told["msg"]
    assert leftovers(tmp_path) == []


def test_a_program_that_is_not_executable_is_one_sentence(region, tmp_path):
    (tmp_path / "program").write_text("")
    told = region(executable=str(tmp_path / "program"))
    assert told["failure"]["code"] == "program_not_executable"
    assert leftovers(tmp_path) == []


def test_a_file_with_an_odd_format_is_one_sentence_and_nothing_is_left(region, tmp_path):
    (tmp_path / "program").write_bytes(b"\x7fnonsense")
    (tmp_path / "program").chmod(0o755)
    told = region(executable=str(tmp_path / "program"))
    assert told["failure"]["code"] == "program_not_executable"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("changed", "field"),
    [({"uuid": "x"}, "uuid"), ({"path": "relative"}, "path"), ({"block_size": 1536}, "block_size"),
     ({"extent_count": 0}, "extent_count"), ({"clone_source": "localhost:1"}, "clone_source")],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused_with_its_field(region, changed, field):
    assert region(**changed)["msg"].startswith(f"{field}: found ")


@pytest.mark.parametrize("name", ["r/other", "r/00/000/000"])
def test_a_directory_with_other_files_is_refused(region, tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text("mine")
    told = region(executable=executable(tmp_path, "today"))
    assert told["failure"]["code"] == "directory_not_empty"
    assert (tmp_path / name).read_text() == "mine"


def test_a_path_that_is_a_file_is_refused(region, tmp_path):
    (tmp_path / "r").write_text("mine")
    assert "is a file, expected a directory" in region(executable=executable(tmp_path, "today"))["msg"]


def test_the_directory_of_a_file_system_is_taken(region, tmp_path):
    (tmp_path / "r" / "lost+found").mkdir(parents=True)
    assert region(executable=executable(tmp_path, "today"))["changed"]


def test_an_incomplete_region_that_nobody_of_us_made_is_refused_and_says_what_to_do(region, tmp_path):
    make_raw(tmp_path / "r")
    extent_file(tmp_path / "r", 2).unlink()
    told = region()
    assert told["failure"]["code"] == "region_incomplete"
    assert "1 of 3 extents are missing, first 2" in told["msg"]
    assert f"mv {tmp_path / 'r'} {tmp_path / 'r'}.old" in told["msg"]


def test_an_interrupted_import_of_somebody_else_is_refused(region, tmp_path, image):
    make_raw(tmp_path / "r", ((0, 0, True), (0, 0, True), (0, 0, False)), DATA)
    told = region(image={"src": str(image)})
    assert told["failure"]["code"] == "region_incomplete"
    assert "looks like an interrupted import: 2 extents" in told["msg"]


def test_the_data_of_a_region_that_no_guest_wrote_to_are_compared_with_its_image_when_that_is_asked_for(
    region, tmp_path, image, program
):
    region(image={"src": str(image)}, executable=program)
    image.unlink()  # what was imported is known without it
    assert not region(image={"src": str(image)}, verify=True)["changed"]
    with extent_file(tmp_path / "r", 0).open("r+b") as extent:
        extent.write(b"other")
    assert not region(image={"src": str(image)})["changed"]
    told = region(image={"src": str(image)}, verify=True)
    changed = hashlib.sha256(b"other" + DATA[5:]).hexdigest()
    assert told["failure"]["code"] == "data_changed"
    assert f"its first {len(DATA)} bytes have sha256 {changed}, and the image that was imported" in told["msg"]
    assert told["failure"]["details"] == {"found": changed, "expected": hashlib.sha256(DATA).hexdigest()}


def test_the_data_of_a_region_that_a_guest_wrote_to_are_not_compared(region, tmp_path, image):
    make_raw(tmp_path / "r", ((4, 9, False), (0, 1, False), (0, 0, False)), DATA[::-1])
    image_file.write_record(tmp_path / "r", image_file.look_at_image(image, _rest_of(tmp_path / "r")[0].geometry, None))
    assert not region(image={"src": str(image)}, verify=True)["changed"]


def test_a_region_imported_by_hand_is_adopted_when_it_holds_the_image(region, tmp_path, image):
    make_raw(tmp_path / "r", ((0, 1, False), (0, 1, False), (0, 0, False)), DATA)
    told = region(check=True, image={"src": str(image)})
    assert told["changed"]
    assert leftovers(tmp_path) == ["r"]
    told = region(image={"src": str(image)})
    assert told["diff"] == {"before": {"image": None}, "after": {"image": hashlib.sha256(DATA).hexdigest()}}
    assert not region(image={"src": str(image)})["changed"]


def test_a_region_imported_by_hand_from_another_image_is_refused(region, tmp_path, image):
    make_raw(tmp_path / "r", ((0, 1, False), (0, 1, False), (0, 0, False)), DATA[::-1])
    assert region(image={"src": str(image)})["failure"]["code"] == "other_image"


def test_a_region_that_a_guest_wrote_to_is_left_alone_with_a_warning(region, tmp_path, image):
    make_raw(tmp_path / "r", ((4, 9, False), (0, 1, False), (0, 0, False)), DATA[::-1])
    told = region(image={"src": str(image)})
    assert not told["changed"]
    assert told["warnings"] == [
        f"Nothing tells which image {tmp_path / 'r'} was made from: a guest wrote to it before it was recorded."
    ]


def test_a_damaged_record_of_the_image_is_named(region, tmp_path, image):
    make_raw(tmp_path / "r")
    (tmp_path / "r.image").write_text("{")
    assert "r.image is damaged" in region(image={"src": str(image)})["msg"]


def test_a_program_that_fails_leaves_nothing_in_the_way_and_says_why(region, tmp_path):
    failing = script(
        tmp_path, 'mkdir -p "$3"; echo half > "$3/region.json"; echo "Error: No space left on device" >&2; exit 1'
    )
    told = region(executable=failing)
    assert told["failure"]["code"] == "disk_full"
    quarantined = told["failure"]["details"]["quarantined"]
    assert quarantined.startswith(f"{tmp_path}/r.incomplete-")
    assert quarantined in told["msg"]
    assert (tmp_path / quarantined / "region.json").read_text() == "half\n"
    assert not (tmp_path / "r").exists()
    assert region(executable=executable(tmp_path, "today"))["changed"]


def test_a_program_that_fails_before_it_made_anything_leaves_nothing(region, tmp_path):
    told = region(executable=script(tmp_path, 'echo "Error: minimum block size is 512 bytes, not 1" >&2; exit 1'))
    assert told["msg"].endswith("failed (exit status 1): minimum block size is 512 bytes, not 1.")
    assert leftovers(tmp_path) == []


def test_a_program_that_panics_is_told(region, tmp_path):
    told = region(executable=script(tmp_path, 'echo "thread panicked at main.rs:1:" >&2; echo boom >&2; kill -ABRT $$'))
    assert "failed (signal SIGABRT): it panicked: boom" in told["msg"]


def test_a_program_that_says_it_is_done_and_made_nothing_is_not_believed(region, tmp_path):
    told = region(executable=script(tmp_path, "exit 0"))
    assert "holds no region" in told["msg"]


def test_a_program_that_makes_another_shape_is_not_believed(region, tmp_path):
    make_raw(tmp_path / "other", ((0, 0, False),) * 4)
    told = region(executable=script(tmp_path, f'cp -r {tmp_path / "other"} "$3"'))
    assert "extent_count is 4, expected 3" in told["msg"]
    assert told["failure"]["code"] == "region_incomplete"


IMPORTED = (
    'echo "Import file_size: 1  Extent size: 1  Needed extents: 1"; '
    'echo "Populated 2 extents by copying 1 bytes (1 blocks)"'
)


@pytest.mark.parametrize(
    ("versions", "data", "sentence"),
    [
        (((0, 1, False), (0, 0, True), (0, 0, False)), DATA, "the import is not complete: extent 1 of the 2"),
        (((0, 1, False), (0, 1, False), (0, 0, False)), DATA[:9000] + b"X" + DATA[9001:], "they differ at byte 9000"),
    ],
)
def test_an_import_that_is_not_complete_is_not_believed(region, tmp_path, image, versions, data, sentence):
    make_raw(tmp_path / "other", versions, data)
    told = region(
        image={"src": str(image)}, executable=script(tmp_path, f'cp -r {tmp_path / "other"} "$3"; {IMPORTED}')
    )
    assert sentence in told["msg"]
    assert told["failure"]["code"] == "import_incomplete"
    assert not (tmp_path / "r.image").exists()


def test_a_program_that_takes_too_long_is_killed(region, tmp_path):
    told = region(executable=script(tmp_path, "sleep 600"), timeout=0.2)
    assert told["failure"]["code"] == "timed_out"


def test_too_little_room_on_the_disk_is_told_with_both_numbers(region, tmp_path, image, monkeypatch):
    real = os.statvfs(tmp_path)
    values = list(real)
    values[4] = 1
    monkeypatch.setattr(os, "statvfs", lambda _unused: os.statvfs_result(values))
    told = region(image={"src": str(image)}, executable=executable(tmp_path, "today"))
    assert told["failure"]["code"] == "disk_full"
    assert told["failure"]["details"]["free"] == real.f_frsize
    assert told["failure"]["details"]["needed"] > len(DATA) * 1.18
    assert leftovers(tmp_path) == []


def test_more_extents_than_open_files_are_refused_before_anything_is_made(region, tmp_path, monkeypatch):
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _unused: (64, 64))
    told = region(extent_count=100, executable=executable(tmp_path, "today"))
    assert told["failure"]["code"] == "open_file_limit"
    assert told["failure"]["details"] == {"needed": 413, "allowed": 64}
    assert leftovers(tmp_path) == []


INTERRUPTED = """
import sys, os
from pathlib import Path
from ansible_collections.apiary.propolis.plugins.module_utils.crucible import claim
with claim.Claim(Path(sys.argv[1])).held("u", left_behind=False):
    os._exit(9)
"""


def interrupt(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", INTERRUPTED, str(tmp_path / "r")], check=False, env=environment)
    assert (tmp_path / "r.making").exists()


@pytest.mark.parametrize("state", ["nothing", "half", "whole", "damaged"])
def test_what_an_interrupted_run_of_ours_left_is_set_aside_and_made_anew(region, tmp_path, image, program, state):
    interrupt(tmp_path)
    if state != "nothing":
        make_raw(tmp_path / "r")
    if state == "half":
        extent_file(tmp_path / "r", 1).unlink()
    if state == "damaged":
        (tmp_path / "r" / "region.json").write_text("{")
    told = region(image={"src": str(image)}, executable=program)
    assert told["changed"]
    assert ("quarantined" in told) == (state != "nothing")
    assert ("warnings" in told) == (state != "nothing")
    assert told["region"]["complete"]
    assert not (tmp_path / "r.making").exists()
    assert not region(image={"src": str(image)}, executable=program)["changed"]


def test_an_interrupted_region_that_was_used_meanwhile_is_left_alone(region, tmp_path):
    interrupt(tmp_path)
    make_raw(tmp_path / "r", ((4, 1, False),) * 3)
    told = region(executable=executable(tmp_path, "today"))
    assert told["failure"]["code"] == "region_in_use"
    assert "generation 4 is stored in it" in told["msg"]


def test_an_import_that_outlived_its_run_is_named_with_how_to_end_it(region, tmp_path):
    interrupt(tmp_path)
    make_raw(tmp_path / "r")
    keeper = "import sys; sys.stdin.read() # create "
    with extent_file(tmp_path / "r", 1).open() as held:
        other = subprocess.Popen([sys.executable, "-c", keeper], stdin=subprocess.PIPE, pass_fds=[held.fileno()])
    told = region(executable=executable(tmp_path, "today"))
    other.communicate()
    assert told["failure"]["code"] == "region_in_use"
    assert f"or end it (kill {other.pid}) and run again." in told["msg"]
    assert region(executable=executable(tmp_path, "today"))["changed"]


def test_a_region_that_another_run_is_making_is_left_alone(region, tmp_path):
    with (tmp_path / "r.making").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert region(executable=executable(tmp_path, "today"))["failure"]["code"] == "being_made"


@pytest.mark.parametrize("interrupted", [True, False])
def test_a_region_that_somebody_made_between_plan_and_deed_is_left_alone(region, tmp_path, monkeypatch, interrupted):
    if interrupted:
        interrupt(tmp_path)
    real = seeding.plan

    def meanwhile(wanted, program):
        found = real(wanted, program)
        (tmp_path / "r.making").unlink(missing_ok=True)
        make_raw(tmp_path / "r")
        return found

    monkeypatch.setattr(crucible_region, "plan", meanwhile)
    told = region(executable=executable(tmp_path, "today"))
    assert told["failure"]["code"] == "being_made"
    assert leftovers(tmp_path) == ["r"]


def test_a_clone_is_asked_for_by_its_repair_address(region, tmp_path):
    make_raw(tmp_path / "other")
    told = region(
        clone_source="127.0.0.1:12810",
        executable=script(tmp_path, f'echo "$@" > {tmp_path}/said; cp -r {tmp_path}/other "$3"'),
    )
    assert told["changed"]
    assert (tmp_path / "said").read_text().endswith("--clone-source 127.0.0.1:12810\n")


def test_a_region_is_removed_with_its_record_and_the_ledger_stays(region, tmp_path, image, program):
    region(image={"src": str(image)}, executable=program)
    (tmp_path / "r.ledger").write_text("")
    assert region(check=True, state="absent")["changed"]
    assert (tmp_path / "r").exists()
    told = region(state="absent")
    assert (told["changed"], told["ledger"]) == (True, str(tmp_path / "r.ledger"))
    assert leftovers(tmp_path) == ["r.ledger"]
    assert not region(state="absent")["changed"]


def test_another_region_is_removed_only_by_force(region, tmp_path):
    make_raw(tmp_path / "r")
    for other in (UUID.replace("1", "2"), None):
        assert region(state="absent", uuid=other)["failure"]["code"] == "foreign_region"
    assert region(state="absent", uuid=None, force=True)["changed"]
    assert leftovers(tmp_path) == []


def test_a_region_that_a_process_has_open_is_not_removed_even_by_force(region, tmp_path):
    make_raw(tmp_path / "r")
    with extent_file(tmp_path / "r", 0).open():
        told = region(state="absent", force=True)
    assert told["failure"]["code"] == "region_in_use"
    assert told["failure"]["details"]["processes"][0]["pid"] == os.getpid()


def test_what_is_no_region_is_not_removed(region, tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "precious").write_text("mine")
    assert region(state="absent", force=True)["failure"]["code"] == "no_region"
    (tmp_path / "r" / "precious").unlink()
    assert region(state="absent")["changed"]


def test_what_cannot_be_removed_is_named(region, tmp_path, monkeypatch):
    make_raw(tmp_path / "r")

    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    assert "r cannot be removed: Permission denied" in region(state="absent")["msg"]


def test_a_region_that_is_a_file_system_is_emptied(region, tmp_path, monkeypatch):
    make_raw(tmp_path / "r")
    monkeypatch.setattr(os.path, "ismount", lambda _unused: True)
    assert region(state="absent")["changed"]
    assert list((tmp_path / "r").iterdir()) == []


def test_a_half_made_region_on_a_file_system_of_its_own_is_emptied(region, tmp_path, monkeypatch):
    import errno
    from pathlib import Path

    def busy(*_unused: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    (tmp_path / "r").mkdir()
    monkeypatch.setattr(Path, "rename", busy)
    told = region(executable=script(tmp_path, 'echo half > "$3/region.json"; mkdir "$3/00"; exit 1'))
    assert "was removed" in told["msg"]
    assert list((tmp_path / "r").iterdir()) == []


def test_the_data_of_a_region_of_2023_are_compared_too(tmp_path, image):
    from regions_on_disk import make_sqlite

    region = image_file.Region(make_sqlite(tmp_path / "q", data=DATA), *_rest_of(tmp_path / "q"))
    assert image_file.first_difference(image, region) is None
    assert image_file.data_sha256(region, len(DATA)) == hashlib.sha256(DATA).hexdigest()
    assert sqlite3.sqlite_version


def _rest_of(path):
    from ansible_collections.apiary.propolis.plugins.module_utils.crucible.region import read_region

    found = read_region(path)
    return found.definition, found.format, found.versions, found.problems


def test_the_result_can_be_written_as_json(region, image, program):
    assert json.dumps(region(image={"src": str(image)}, executable=program))
