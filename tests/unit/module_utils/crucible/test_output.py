# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions, import reports and errors as the program prints them."""

from __future__ import annotations

import contextlib
import re

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.crucible import output
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.errors import OutputError
from downstairs_recordings import steps
from hypothesis import given
from hypothesis import strategies as st
from shared import ROOT, needs_shared

FIXTURES = ROOT / "tests" / "fixtures" / "crucible"
STEPS = [step for step in steps() if step.plain]
IMPORTS = [step for step in STEPS if "Populated " in step.stdout]
ERRORS = [step for step in STEPS if step.exit not in (0, -15) and step.stderr.startswith("Error: ")]
LINES = (
    "Import file_size: 1  Extent size: 2  Needed extents: 3", "Populated 1 extents by copying 2 bytes (3 blocks)",
    "Extending region to fit image", '{"msg": 1}', "Crucible Version: 1", "Commit SHA: 6d037cb", "{",
    "Upstairs <-> Downstairs Message Version: 13", "Error: x", "Caused by:", "thread 'main' panicked at x",
)  # fmt: skip


def test_a_version_is_read():
    found = output.parse_version((FIXTURES / "version.txt").read_text())
    assert found == output.Version("0.0.1", "6d037cb60304413302e3f3658e4850980cee77b0", 13)
    assert found.as_dict()["message_version"] == 13


def test_another_program_is_not_taken_for_it():
    with pytest.raises(OutputError, match="is it a crucible-downstairs"):
        output.parse_version("GNU coreutils 9.1\n")


def test_an_import_that_made_the_region_larger_is_read_between_log_records():
    report = output.parse_import((FIXTURES / "import_extended.txt").read_text())
    assert report == output.ImportReport(50000, 8192, True, 7, 50176, 98)


def test_an_import_that_says_nothing_is_an_error():
    with pytest.raises(OutputError, match="nothing tells that the image was imported"):
        output.parse_import('{"msg":"UUID"}\n')


@needs_shared
@pytest.mark.parametrize("step", IMPORTS, ids=lambda step: step.where + step.command[-40:])
def test_every_recorded_import_is_read(step):
    report = output.parse_import(step.stdout)
    assert report.extended == (report.file_size > 0 and "Extending" in step.stdout)
    assert report.extents == -(-report.file_size // report.extent_bytes)
    assert report.file_size <= report.bytes < report.file_size + 32768


@needs_shared
def test_imports_of_both_ages_are_recorded():
    assert {step.where.startswith("2023/") for step in IMPORTS} == {True, False}


@needs_shared
@pytest.mark.parametrize("step", ERRORS, ids=lambda step: f"{step.where} {step.command}"[:80])
def test_every_recorded_error_has_one_line_that_the_program_printed(step):
    line = output.error_line(step.stderr)
    assert line
    assert "\n" not in line
    assert line.partition(": ")[0].split(" ")[0] in step.stderr


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('Error: Config file already exists "r1/region.json"', "region_exists"),
        ('Error: Extent file already exists "r4/00/000/000"', "region_exists"),
        ("Error: this downstairs cannot open all required files!", "open_file_limit"),
        ('Error: IO Error: Os { code: 24, kind: Uncategorized, message: "Too many open files" }', "open_file_limit"),
        ('Error: IO Error: Os { code: 28, kind: StorageFull, message: "No space left on device" }', "disk_full"),
        ("Error: Address already in use (os error 98)", "port_in_use"),
        ('Error: got "failed to create server: error creating server listener: Address already in use (os error 98)" '
         "from repair main", "port_in_use"),
        ("Error: Cannot assign requested address (os error 99)", "address_not_here"),
        ('Error: Error parse "r1/region.json"\n\nCaused by:\n    missing field `database_read_version` at line 10 '
         'column 1 opening region config "r1/region.json"', "program_too_new"),
        ("Error: File size 51200 does not match expected 60845", "program_too_old"),
        ("Error: IO Error: raw extent 1 (file 001) has unknown tag 0", "region_damaged"),
        ("Error: IO Error: extent 0: file size 419245 does not match expected 60845", "region_damaged"),
        ('Error: IO Error: extent 1: open of "c2/00/000/001" failed: No such file or directory (os error 2)',
         "region_incomplete"),
        ("Error: Database read version mismatch, expected 1, got 9", "program_age"),
        ('Error: Error open "nb/region.json": Os { code: 13, kind: PermissionDenied, message: "Permission denied" } '
         'opening region config "nb/region.json"', "permission_denied"),
        ('Error: Open of db file "nb8810/00/000/000.db" for extent#0 returned: attempt to write a readonly database',
         "permission_denied"),
        ('Error: Error open "x/region.json": file not found opening region config "x/region.json"', "no_region"),
        ('Error: Error parse "c1/region.json"\n\nCaused by:\n    EOF while parsing', "region_damaged"),
        ("Error: missing context slot for block 3 in extent 1 (001)", "region_busy"),
        ("Error: Source downstairs is not read only", "clone_source_not_read_only"),
    ],
)  # fmt: skip
def test_a_known_error_has_a_code_and_says_what_to_do(text, code):
    meaning = output.complaint(text)
    assert meaning is not None
    assert meaning.code == code


def test_an_unknown_error_has_no_meaning():
    assert output.complaint("Error: the moon is full") is None


def test_a_panic_is_told_with_its_reason():
    text = (
        "\nthread 'main' (32273) panicked at downstairs/src/main.rs:348:52:\n"
        "called `Result::unwrap()` on an `Err` value: No such file or directory (os error 2)\nnote: run with ...\n"
    )
    assert output.error_line(text).startswith("it panicked: called `Result::unwrap()`")
    assert output.error_line("thread 'main' panicked at x") == "it panicked: thread 'main' panicked at x"


def test_a_cause_is_told_with_its_error():
    assert (
        output.error_line("Error: rusqlite error\n\nCaused by:\n    Invalid column\n")
        == "rusqlite error: Invalid column"
    )


@pytest.mark.parametrize(
    "text",
    [
        "Error: error: unrecognized subcommand 'version'\n\nUsage: crucible-downstairs <COMMAND>\n",
        "Error: error: The subcommand 'verify' wasn't recognized\n",
    ],
)
def test_a_missing_subcommand_is_noticed_in_both_ages(text):
    assert output.knows_no_subcommand(text)


def test_log_records_are_told_by_their_message():
    assert output.log_messages(['{"msg":"listening on 1"}', "plain", "{", '{"v":0}', "[1]"]) == [
        "listening on 1", "plain", "{", '{"v":0}', "[1]",
    ]  # fmt: skip


@given(st.text() | st.lists(st.sampled_from(LINES)).map("\n".join))
def test_any_text_is_understood_or_an_error_of_ours(text):
    for parse in (output.parse_version, output.parse_import):
        with contextlib.suppress(OutputError):
            parse(text)
    assert isinstance(output.error_line(text), str)
    assert len(output.log_messages(text.splitlines())) == len(text.splitlines())
    assert output.complaint(text) is None or re.fullmatch("[a-z_]+", output.complaint(text).code)


@given(st.integers(21, 400))
def test_a_number_of_too_many_digits_is_an_error_of_ours(digits):
    with pytest.raises(OutputError, match="more than 64 bits"):
        output.parse_version(f"Upstairs <-> Downstairs Message Version: {'9' * digits}")
