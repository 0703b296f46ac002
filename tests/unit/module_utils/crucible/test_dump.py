# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of ``dump``: recorded ones, made ones, damaged ones."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.dump import parse_dump
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.errors import OutputError
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.extents import ExtentVersion
from downstairs_recordings import steps
from hypothesis import example, given
from hypothesis import strategies as st
from shared import ROOT, needs_shared

FIXTURES = ROOT / "tests" / "fixtures" / "crucible"
DIFFERENT = "Error: Difference in extent metadata found!"
TABLES = [step for step in steps() if step.plain and " dump" in step.command and "Max gen: " in step.stdout]

WORDS = [
    "EXT",
    "BLOCKS",
    "GEN0",
    "GEN1",
    "FL0",
    "FL1",
    "D0",
    "D1",
    "0",
    "1",
    "000-015",
    "F",
    "T",
    "<---",
    "bad",
    "column",
    "1,",
    "Max",
    "gen:",
    "flush:",
    "\n",
]

versions = st.builds(
    ExtentVersion, st.integers(0, 2**64 - 1) | st.integers(0, 30), st.integers(0, 2**64 - 1), st.booleans()
)
tables = st.integers(1, 3).flatmap(lambda count: st.lists(st.tuples(*[versions] * count), max_size=6))


def rendered(table, *, colour, blocks_per_extent, noise):
    """The program's own way: widths from the first row, an escape before each number, log records anywhere."""
    lines = []
    if table:
        count = len(table[0])
        last = max(3, len(str(len(table) * blocks_per_extent)))
        generations = max(4, len(str(max(one.generation for one in table[0]))) + 1)
        flushes = max(3, len(str(max(one.flush for one in table[0]))) + 1)
        head = f"EXT {'BLOCKS':>{max(7, 2 * last + 1)}}"
        head += "".join(f" {f'GEN{number}':>{generations}}" for number in range(count)) + " "
        head += "".join(f" {f'FL{number}':>{flushes}}" for number in range(count)) + " "
        head += "".join(f" D{number}" for number in range(count)) + ("" if colour else " DIFF")
        lines.append(head)
    for number, row in enumerate(table):
        first = number * blocks_per_extent
        line = f"{number:>3} {f'{first:0{last}}-{first + blocks_per_extent - 1:0{last}}':>7}"
        paint = (lambda good: f"\x1b[{32 if good else 31}m") if colour else (lambda _unused: "")
        reset = "\x1b[0m" if colour else ""
        most = (max(one.generation for one in row), max(one.flush for one in row))
        line += (
            "".join(f" {paint(one.generation == most[0])}{one.generation:>{generations}}" for one in row) + reset + " "
        )
        line += "".join(f" {paint(one.flush == most[1])}{one.flush:>{flushes}}" for one in row) + reset + " "
        line += "".join(f"  {paint(not one.dirty)}{'T' if one.dirty else 'F'}" for one in row) + reset
        if not colour and any(one != row[0] for one in row):
            line += " <---"
        lines.append(line)
    cells = [one for row in table for one in row]
    most = (max((one.generation for one in cells), default=0), max((one.flush for one in cells), default=0))
    lines.append(f"Max gen: {most[0]},  Max flush: {most[1]}")
    for position, message in noise:
        lines.insert(position % (len(lines) + 1), json.dumps({"msg": message, "v": 0}))
    return "\n".join(lines) + "\n"


@given(
    tables,
    st.booleans(),
    st.integers(1, 64000),
    st.lists(st.tuples(st.integers(0, 9), st.text(max_size=9)), max_size=3),
)
def test_what_the_program_prints_is_read_back_whatever_its_widths_colours_and_log_records(table, colour, blocks, noise):
    dump = parse_dump(rendered(table, colour=colour, blocks_per_extent=blocks, noise=noise))
    assert [row.versions for row in dump.rows] == table
    assert [row.first_block for row in dump.rows] == [number * blocks for number in range(len(table))]
    assert dump.max_generation == max((one.generation for row in table for one in row), default=0)
    assert dump.max_flush == max((one.flush for row in table for one in row), default=0)
    assert [row.extent for row in dump.differing] == [
        number for number, row in enumerate(table) if any(one != row[0] for one in row)
    ]


@given(st.text() | st.lists(st.sampled_from(WORDS)).map(" ".join))
@example("EXT  BLOCKS GEN0  FL0  D0\n  0 000-015    0    0\nMax gen: 0,  Max flush: 0")
@example("EXT BLOCKS GEN0 GEN1 GEN2 GEN3 FL0 D0\nMax gen: 0,  Max flush: 0")
@example("Max gen: " + "9" * 5000 + ",  Max flush: 0")
def test_any_text_is_a_table_or_an_error_of_ours(text):
    try:
        dump = parse_dump(text)
    except OutputError:
        return
    assert dump.max_generation >= 0


@given(st.integers(0, 400), st.characters())
def test_a_table_with_one_wrong_character_is_a_table_or_an_error_of_ours(position, character):
    text = (FIXTURES / "dump_colours.txt").read_text()
    position %= len(text)
    with contextlib.suppress(OutputError):
        assert parse_dump(text[:position] + character + text[position + 1 :]).max_generation >= 0


def test_colours_are_read_and_a_difference_is_found():
    dump = parse_dump((FIXTURES / "dump_colours.txt").read_text())
    assert (dump.max_generation, dump.max_flush) == (5, 3)
    assert [row.extent for row in dump.differing] == [2]
    assert dump.differing[0].versions == (
        ExtentVersion(5, 3, False), ExtentVersion(5, 3, True), ExtentVersion(1, 2, False),
    )  # fmt: skip


def test_a_directory_with_fewer_extents_is_noticed():
    dump = parse_dump(
        "EXT  BLOCKS GEN0 GEN1  FL0 FL1  D0 D1\n  0 000-015    0    0    0   0   F  F\n  2 column 1 bad \n"
        "Max gen: 0,  Max flush: 0\n"
    )
    assert dump.shorter == {1}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "Max gen"),
        ("EXT  BLOCKS GEN0  FL0  D0\n", "Max gen"),
        ("  0 000-015    0    0   F\nMax gen: 0,  Max flush: 0", "expected a header"),
        ("EXT  BLOCKS GEN0  FL0  D0\n  0 000-015    0    0   F  F\nMax gen: 0,  Max flush: 0", "5 columns"),
        ("EXT  BLOCKS GEN0  FL0  D0\n  0 000-015    0    x   F\nMax gen: 0,  Max flush: 0", "flushes and T or F"),
        ("Max gen: 0,  Max flush: 0\nmore", "nothing after"),
        ("EXT BLOCKS GEN0 GEN1 FL0 D0 D1\nMax gen: 0,  Max flush: 0", "one to three directories"),
    ],
)
def test_a_damaged_table_is_named_with_the_line(text, complaint):
    with pytest.raises(OutputError, match=complaint):
        parse_dump(text)


@needs_shared
def test_there_are_recorded_tables_of_both_ages():
    assert len([step for step in TABLES if step.where.startswith("2023/")]) > 10
    assert len([step for step in TABLES if not step.where.startswith("2023/")]) > 10


@needs_shared
@pytest.mark.parametrize("step", TABLES, ids=lambda step: f"{step.where}: {step.command}"[:90])
def test_every_recorded_table_is_read_and_its_exit_status_is_whether_the_regions_differ(step):
    dump = parse_dump(step.stdout)
    cells = [one for row in dump.rows for one in row.versions]
    if " -o" not in step.command:
        assert dump.max_generation == max((one.generation for one in cells), default=0)
        assert dump.max_flush == max((one.flush for one in cells), default=0)
    assert bool(dump.differing) == (DIFFERENT in step.stderr)
    assert len(cells) == len(dump.rows) * (len(step.command.split(" -d ")) - 1)


def test_the_fixtures_are_where_the_tests_look():
    assert Path(FIXTURES / "README").exists()
