# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading region directories of both ages without the program."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.crucible import extents
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.errors import NoRegionError, RegionError
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.region import (
    parse_definition,
    read_definition,
    read_region,
    regions_below,
)
from hypothesis import given
from hypothesis import strategies as st
from regions_on_disk import UUID, definition, extent_file, make_raw, make_sqlite

STORED = ((3, 9, False), (0, 0, False), (7, 8, True))
MAKERS = {"raw": make_raw, "sqlite": make_sqlite}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("form", ["raw", "sqlite"])
def test_a_region_is_read_with_its_generations(tmp_path, form):
    region = read_region(MAKERS[form](tmp_path / "r", STORED))
    assert region.complete
    assert region.format == form
    assert region.definition.age == ("today" if form == "raw" else "2023")
    assert region.definition.uuid == UUID
    assert (region.max_generation, region.max_flush, region.dirty, region.never_flushed) == (7, 9, 1, 0)


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.booleans()), min_size=1, max_size=4))
def test_whatever_trailers_hold_is_read_back(versions):
    for number, (generation, flush, dirty) in enumerate(versions):
        trailer = extents._TRAILER.pack(dirty, generation, flush, 2, number, 7)
        assert extents.parse_trailer(trailer, extents.Path("x")) == extents.ExtentVersion(generation, flush, dirty)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_trailer_or_an_error_of_ours(raw):
    with contextlib.suppress(RegionError):
        assert extents.parse_trailer(raw, extents.Path("x")).generation >= 0


def test_extent_files_are_found_by_hexadecimal_names(tmp_path):
    assert extents.extent_path(tmp_path, 10) == tmp_path / "00/000/00A"
    assert extents.extent_path(tmp_path, 4096) == tmp_path / "00/001/000"
    assert extents.extent_path(tmp_path, 0x12345678) == tmp_path / "12/345/678"


def test_the_write_ahead_log_counts(tmp_path):
    region = make_sqlite(tmp_path / "r", ((0, 0, False),))
    database = extents.database_path(region, 0)
    writer = sqlite3.connect(database)
    writer.execute("pragma wal_autocheckpoint=0")
    with writer:
        writer.execute("update metadata set value = 21 where name = 'gen_number'")
    ignoring = sqlite3.connect(f"file:{database}?immutable=1", uri=True)
    assert ignoring.execute("select value from metadata where name='gen_number'").fetchone() == (0,)
    ignoring.close()
    assert read_region(region).max_generation == 21
    writer.close()


def test_a_missing_extent_makes_a_region_incomplete(tmp_path):
    region = make_raw(tmp_path / "r")
    extent_file(region, 1).unlink()
    extent_file(region, 2).unlink()
    assert read_region(region).problems == ("2 of 3 extents are missing, first 1",)


def test_a_truncated_extent_makes_a_region_incomplete(tmp_path):
    region = make_raw(tmp_path / "r")
    os.truncate(extent_file(region, 1), 100)
    assert "has 100 bytes, expected 9762" in read_region(region).problems[0]


def test_an_extent_without_a_trailer_makes_a_region_incomplete(tmp_path):
    region = make_raw(tmp_path / "r")
    extent_file(region, 1).write_bytes(bytes(9762))
    assert "has format version 0 in its trailer, expected 2" in read_region(region).problems[0]


def test_an_extent_count_lowered_by_hand_is_noticed(tmp_path):
    region = make_raw(tmp_path / "r")
    (region / "region.json").write_text(json.dumps(definition(extents=2)))
    assert "lies beyond the last extent" in read_region(region).problems[0]


def test_an_interrupted_create_looks_complete_in_region_json_only(tmp_path):
    region = tmp_path / "r"
    region.mkdir()
    (region / "region.json").write_text(json.dumps(definition(extents=20)))
    found = read_region(region)
    assert not found.complete
    assert found.problems == ("20 of 20 extents are missing, first 0",)


def test_a_region_without_extents_is_not_complete(tmp_path):
    assert "extent_count is 0" in read_region(make_raw(tmp_path / "r", ())).problems[0]


def test_database_versions_of_another_age_are_a_problem(tmp_path):
    region = make_raw(tmp_path / "r")
    (region / "region.json").write_text(json.dumps(definition(database_read_version=9)))
    assert read_region(region).problems == ("database versions are (9, 1), expected (1, 1)",)


def test_many_problems_are_told_shortly(tmp_path):
    region = make_raw(tmp_path / "r", ((0, 0, False),) * 20)
    for number in range(20):
        os.truncate(extent_file(region, number), number)
    assert len(read_region(region).problems) == 9


def test_a_region_of_2023_without_its_databases_is_incomplete(tmp_path):
    region = make_sqlite(tmp_path / "r")
    extents.database_path(region, 1).unlink()
    assert "cannot be read" in read_region(region).problems[0]
    (region / "00/000/001").unlink()
    assert "00/000/001 cannot be read: No such file" in read_region(region).problems[0]
    extents.database_path(region, 0).unlink()
    found = read_region(region)
    assert (found.format, found.complete) == ("raw", False)


def test_a_data_file_of_2023_of_a_wrong_size_is_a_problem(tmp_path):
    region = make_sqlite(tmp_path / "r")
    os.truncate(extent_file(region, 0), 1)
    assert "has 1 bytes, expected 8192" in read_region(region).problems[0]


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("delete from metadata where name = 'dirty'", "no number for dirty"),
        ("update metadata set value = 'x' where name = 'gen_number'", "no number for gen_number"),
        ("update metadata set value = 2 where name = 'ext_version'", "format version 2, expected 1"),
        ("drop table metadata", "cannot be read: no such table"),
    ],
)
def test_odd_metadata_of_2023_is_named(tmp_path, statement, complaint):
    region = make_sqlite(tmp_path / "r")
    with sqlite3.connect(extents.database_path(region, 0)) as connection:
        connection.execute(statement)
    connection.close()
    assert complaint in read_region(region).problems[0]


def test_a_database_that_is_none_is_named(tmp_path):
    region = make_sqlite(tmp_path / "r")
    extents.database_path(region, 0).write_bytes(b"no database at all" * 100)
    assert "cannot be read: file is not a database" in read_region(region).problems[0]


def test_a_python_without_sqlite_is_named(tmp_path, monkeypatch):
    import sys

    region = make_sqlite(tmp_path / "r")
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    assert "this Python has no sqlite3" in read_region(region).problems[0]


def test_a_directory_without_a_region_is_named(tmp_path):
    with pytest.raises(NoRegionError, match="holds no region"):
        read_region(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(NoRegionError, match="holds no region"):
        read_region(tmp_path / "file")


def test_a_region_of_another_user_is_named(tmp_path, monkeypatch):
    region = make_raw(tmp_path / "r")

    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(
        RegionError, match="mode 0600, so create, run and read a region as one and the same user"
    ) as caught:
        read_definition(region)
    assert caught.value.code == "permission_denied"


def test_a_region_json_that_is_a_directory_is_named(tmp_path):
    (tmp_path / "region.json").mkdir()
    with pytest.raises(RegionError, match="cannot be read: Is a directory"):
        read_definition(tmp_path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is not JSON"),
        ("", "is not JSON"),
        ("<html>", "is not JSON"),
        ("[" * 100000, "is not JSON"),
        ("[]", "expected an object"),
        ("{}", "extent_size is nothing, expected dict"),
        (json.dumps(definition(block_size=512, extent_size={"value": 1, "shift": 10})), "do not fit each other"),
        (json.dumps(definition(uuid="x")), "which is not a UUID"),
        (json.dumps(definition(uuid=7)), "uuid is 7, expected str"),
        (json.dumps(definition(extent_count=True)), "extent_count is True, expected int"),
        (json.dumps(definition(extent_count=-1)), "must be positive"),
        (json.dumps(definition(encrypted=0)), "encrypted is 0, expected bool"),
        (json.dumps({**definition(age="2023"), "database_read_version": 1}), "database_write_version is nothing"),
    ],
)
def test_a_damaged_definition_is_named(text, complaint):
    with pytest.raises(RegionError, match=complaint):
        parse_definition(text, "region.json")


@given(
    st.text()
    | json_values.map(json.dumps)
    | st.dictionaries(st.sampled_from(sorted(definition())), json_values).map(json.dumps)
)
def test_any_text_is_a_definition_or_an_error_of_ours(text):
    with contextlib.suppress(RegionError):
        assert parse_definition(text, "x").geometry.extent_count >= 0


@given(st.sampled_from(sorted(definition())), json_values)
def test_a_definition_with_one_wrong_value_is_a_definition_or_an_error_of_ours(name, value):
    with contextlib.suppress(RegionError):
        parse_definition(json.dumps({**definition(), name: value}), "x")


def test_regions_below_a_directory_are_found_three_levels_down(tmp_path):
    for name in ("b", "a/one", "a/two/deep", "a/two/three/too-deep"):
        make_raw(tmp_path / name)
    make_raw(tmp_path / "b" / "inside-another-region")
    found = [str(path.relative_to(tmp_path)) for path in regions_below(tmp_path)]
    assert found == ["a/one", "a/two/deep", "b"]


def test_a_root_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RegionError, match="cannot be listed: No such file"):
        list(regions_below(tmp_path / "nowhere"))


def test_a_definition_that_promises_billions_of_extents_is_described_at_once(tmp_path):
    region = make_raw(tmp_path / "r")
    (region / "region.json").write_text(json.dumps(definition(extent_count=2**32 - 1)))
    found = read_region(region)
    assert "of 4294967295 extents are missing, first 3" in found.problems[0]
    assert any(problem.startswith("nothing was looked for beyond extent") for problem in found.problems)
    with pytest.raises(RegionError, match="at most 4294967295"):
        parse_definition(json.dumps(definition(extent_count=2**32)), "region.json")


@pytest.mark.parametrize(
    ("found", "complaint"),
    [({"uuid": "x" * 60000}, "uuid is 'xxx"), ({"block_size": 10**4000}, "block_size 1000.*do not fit each other")],
)
def test_a_value_that_fills_the_whole_definition_is_shown_in_part(found, complaint):
    with pytest.raises(RegionError, match=complaint) as caught:
        parse_definition(json.dumps(definition(**found)), "region.json")
    assert len(caught.value.message) < 500


def test_a_generation_below_zero_is_no_generation(tmp_path):
    region = make_sqlite(tmp_path / "r", ((-5, 1, False),))
    assert "has no number for gen_number" in read_region(region).problems[0]
