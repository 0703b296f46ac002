# SPDX-License-Identifier: GPL-3.0-or-later
"""Every parser of the Crucible part under fuzz: a value or an error of ours, never a traceback, never a hang.

``HYPOTHESIS_PROFILE=fuzz FUZZ=N`` makes N examples of each.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.crucible import output, repair_api, vcr
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.allocation import Request
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.dump import parse_dump
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.facts import look, volumes_of
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.image import (
    parse_checksum,
    read_record,
    record_path,
)
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.inventory import volume_problems
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger import Ledger, ledger_path
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger_entries import (
    Entry,
    decode_entry,
    encode_entry,
    entry_from_mapping,
)
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.placement import placed_targets
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.region import parse_definition, read_region
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.survey import FoundRegion, survey_volume
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.volume import Volume, parse_address
from fuzzing import STRANGERS, as_json, broken, mangled, understood
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from regions_on_disk import UUID, definition, extent_file, make_raw, make_sqlite

VOLUME = "0cedae45-3d6e-4d90-b2cb-56f1a1a42a89"
ENTRY = Entry(
    7, "migrate", "vm0", "beta", "3a1f7a52-0d0f-4f8e-9b7b-5d4f4a0c1c03", "2026-11-23T08:18:20.241+00:00", "desk"
)
FIXTURES = Path(__file__).parents[3] / "fixtures" / "crucible"
slow_files = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

DUMPS = (
    (FIXTURES / "dump_colours.txt").read_bytes(),
    b"EXT     BLOCKS GEN0 FL0 D0\n  0    000-099    1   2  F\n  1    100-199    5   3  T\nMax gen: 5,  Max flush: 3\n",
    b"EXT BLOCKS GEN0 GEN1 FL0 FL1 D0 D1 DIFF\n0 0-15 1 2 3 4 F T <---\n 1 column 0 bad\nMax gen: 2, Max flush: 4\n",
)
LOGS = (
    b'{"msg":"Opened existing region file \\"r\\"","v":0,"name":"crucible","level":30,"pid":1}\n'
    b"Error: x\n\nCaused by:\n y",
    b"thread 'main' panicked at downstairs/src/main.rs:1:2:\nError parse \"x\"\nnote: run with RUST_BACKTRACE=1\n",
    b"error: unrecognized subcommand 'version'\n\nUsage: crucible-downstairs <COMMAND>\n",
)
VOLUMES = {
    "vm0-boot": {
        "id": VOLUME,
        "block_size": 512,
        "blocks_per_extent": 64000,
        "extent_count": 64,
        "key": "A" * 43 + "=",
        "image": {"src": "/images/helios.raw", "checksum": "sha256:" + "0" * 64},
        "targets": [
            {"host": "ds0", "port": 8810, "uuid": UUID},
            {"host": "ds1", "port": 8820, "address": "172.20.3.73"},
            "172.20.3.74:8830",
        ],
    }
}
REQUEST = Volume.from_mapping({**VOLUMES["vm0-boot"], "targets": [f"172.20.3.73:88{n}0" for n in (1, 2, 3)]})


@pytest.fixture(scope="module")
def folder() -> Any:
    with tempfile.TemporaryDirectory() as place:
        yield Path(place)


# -- what crucible-downstairs prints -----------------------------------------------------------------------------------


@given(mangled(*DUMPS))
def test_a_table_of_dump_is_read_or_refused(raw: bytes) -> None:
    found = understood(parse_dump, raw.decode(errors="replace"))
    assert found is None or all(len(row.versions) in (1, 2, 3) for row in found.rows)


@given(mangled((FIXTURES / "version.txt").read_bytes()))
def test_a_version_is_read_or_refused(raw: bytes) -> None:
    understood(output.parse_version, raw.decode(errors="replace"))


@given(mangled((FIXTURES / "import_extended.txt").read_bytes()))
def test_the_report_of_an_import_is_read_or_refused(raw: bytes) -> None:
    understood(output.parse_import, raw.decode(errors="replace"))


@given(mangled(*LOGS))
def test_any_log_has_a_line_that_says_what_is_wrong(raw: bytes) -> None:
    text = raw.decode(errors="replace")
    assert isinstance(output.error_line(text), str)
    assert all(isinstance(line, str) for line in output.log_messages(text.splitlines()))
    output.complaint(text)
    output.knows_no_subcommand(text)


# -- files of a region -------------------------------------------------------------------------------------------------


@given(mangled(as_json(definition()), as_json(definition(age="2023"))) | broken(definition()).map(as_json))
def test_a_definition_is_read_or_refused(raw: bytes) -> None:
    understood(parse_definition, raw, "region.json")


@slow_files
@given(raw=mangled(as_json(definition())) | broken(definition(), definition(age="2023")).map(as_json))
def test_a_directory_with_any_definition_is_described_or_refused(folder: Path, raw: bytes) -> None:
    region = folder / "defined"
    if not region.exists():
        make_raw(region)
    (region / "region.json").write_bytes(raw)
    understood(read_region, region)
    seen = look(region)
    json.dumps(seen.as_dict())
    volumes_of([seen])


@given(raw=mangled(bytes(500) + b"\x01" + bytes(31)))
def test_an_extent_file_is_read_or_is_a_problem_of_its_region(folder: Path, raw: bytes) -> None:
    region = folder / "raw"
    if not region.exists():
        make_raw(region)
    file = extent_file(region, 1)
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[: size - len(raw)] + raw if len(raw) < size else raw)
    found = read_region(region)
    assert len(found.versions) == 3 or found.problems
    file.write_bytes(bytes(size))


def databases(folder: Path) -> tuple[bytes, bytes]:
    """A SQLite extent's database and its write-ahead log, as a killed program leaves them."""
    region = make_sqlite(folder / "sqlite", ((3, 4, False),))
    database = extent_file(region, 0).with_name("000.db")
    connection = sqlite3.connect(database)
    try:
        connection.execute("pragma wal_autocheckpoint=0")
        connection.execute("update metadata set value = 21 where name = 'gen_number'")
        connection.commit()
        return database.read_bytes(), database.with_name("000.db-wal").read_bytes()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def sqlite_files(folder: Path) -> tuple[Path, bytes, bytes]:
    database, wal = databases(folder)
    return folder / "sqlite", database, wal


@slow_files
@given(data=st.data())
def test_rows_of_2023_are_read_or_are_a_problem_of_their_region(
    sqlite_files: tuple[Path, bytes, bytes], data: st.DataObject
) -> None:
    region, database, wal = sqlite_files
    place = extent_file(region, 0).with_name("000.db")
    place.with_name("000.db-shm").unlink(missing_ok=True)
    place.write_bytes(data.draw(mangled(database) | st.just(database)))
    place.with_name("000.db-wal").write_bytes(data.draw(mangled(wal) | st.just(wal)))
    found = read_region(region)
    assert len(found.versions) == 1 or found.problems
    assert all(0 <= version.generation < 2**63 for version in found.versions)


ROWS = [("ext_version", 1), ("gen_number", 5), ("flush_number", 3), ("dirty", 0)]
cells = st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=5) | st.binary(max_size=5)


@given(rows=st.lists(st.sampled_from(ROWS) | st.tuples(st.sampled_from([row[0] for row in ROWS]) | cells, cells)))
def test_a_database_with_any_rows_is_read_or_is_a_problem_of_its_region(folder: Path, rows: list[Any]) -> None:
    region = folder / "rows"
    if not region.exists():
        make_sqlite(region, ((0, 0, False),))
    with sqlite3.connect(extent_file(region, 0).with_name("000.db")) as connection:
        connection.execute("drop table metadata")
        connection.execute("create table metadata (name, value)")
        connection.executemany("insert into metadata values (?, ?)", rows)
    connection.close()
    found = read_region(region)
    assert len(found.versions) == 1 or found.problems
    assert all(0 <= version.generation < 2**63 for version in found.versions)


RECORD = {"sha256": "0" * 64, "size": 512, "source": "/images/helios.raw", "modified": 1}


@given(raw=mangled(as_json(RECORD)) | broken(RECORD).map(as_json))
def test_the_record_of_an_image_is_read_or_refused(folder: Path, raw: bytes) -> None:
    record_path(folder / "r").write_bytes(raw)
    understood(read_record, folder / "r")


@given(st.text() | st.from_regex(r"sha256:[0-9a-f]{60,66}"))
def test_a_checksum_is_read_or_refused(text: str) -> None:
    understood(parse_checksum, text)


# -- ledgers -----------------------------------------------------------------------------------------------------------

LEDGER = as_json({"ledger": 1, "volume": VOLUME}) + b"\n" + encode_entry(ENTRY) + encode_entry(Entry(9, "start"))


@example(raw=as_json({"ledger": 1, "volume": "9" * 5000}) + b"\n")
@given(raw=mangled(LEDGER))
def test_a_ledger_is_read_or_refused_and_never_hands_out_less_than_it_shows(folder: Path, raw: bytes) -> None:
    path = ledger_path(folder / "l")
    path.write_bytes(raw)
    ledger = Ledger(path, VOLUME)
    before = understood(ledger.read)
    made = understood(ledger.allocate, Entry(0, "start"), timeout=1)
    if made is not None:
        assert before is not None
        assert made[0].generation > before.last
    seen = look(folder / "l")
    json.dumps(seen.as_dict())
    path.unlink()


@given(mangled(encode_entry(ENTRY)) | broken(ENTRY.as_dict()).map(as_json))
def test_a_line_is_an_entry_or_none(raw: bytes) -> None:
    found = decode_entry(raw)
    assert found is None or encode_entry(found)


@given(broken(ENTRY.as_dict()))
def test_an_entry_of_a_playbook_is_read_or_refused(raw: Any) -> None:
    understood(entry_from_mapping, raw)


OPTIONS: dict[str, Any] = {
    "path": "/var/crucible/r",
    "volume": VOLUME,
    "state": "allocated",
    "holder": {"instance": "vm0", "server": "beta"},
    "reason": "migrate",
    "migration_id": VOLUME,
    "controller": "desk",
    "floors": [{"generation": 3, "source": "dump"}],
    "stored": True,
    "expected_last": 3,
    "seen_last": None,
    "generation": 9,
    "entries": [ENTRY.as_dict()],
    "timeout": 10.0,
}


@given(broken(ENTRY.as_dict()), st.integers() | st.text(), st.text(), st.integers())
def test_what_is_asked_of_a_ledger_is_understood_or_refused(
    entry: Any, generation: Any, volume: str, last: int
) -> None:
    changed = {"entries": [entry], "generation": generation, "volume": volume, "expected_last": last, "seen_last": last}
    for name, value in changed.items():
        for state in ("allocated", "recorded"):
            understood(Request.from_options, {**OPTIONS, "state": state, name: value})


# -- the repair API ----------------------------------------------------------------------------------------------------


@given(
    mangled(as_json(definition()), b"true", as_json(["000", "000.db"])),
    st.sampled_from([200, 404, 500, 204]),
)
def test_any_body_is_an_answer_of_a_downstairs_or_refused(body: bytes, status: int) -> None:
    class Answering(repair_api.RepairApi):
        def _get(self, path: str) -> tuple[int, bytes]:
            return status, body

    api = Answering("127.0.0.1", 8810, 1.0)
    asked: tuple[Callable[..., Any], ...] = (api.region_info, api.read_only, lambda: api.extent_files(0))
    for question in asked:
        understood(question)


# -- what users write --------------------------------------------------------------------------------------------------


@example({**VOLUMES["vm0-boot"], "targets": [{"host": 10**4000, "port": 8810, "address": "172.20.3.73"}] * 3})
@given(broken(VOLUMES["vm0-boot"]))
def test_a_volume_of_an_inventory_is_understood_or_refused(raw: Any) -> None:
    volume = understood(Volume.from_mapping, raw, {"ds0": "172.20.3.73"})
    if volume is not None:
        json.dumps(volume.construction_request(1))


@given(broken(VOLUMES))
def test_the_volumes_of_an_inventory_have_places_and_problems_in_sentences(raw: Any) -> None:
    hosts = {"ds0": {"ansible_host": "172.20.3.73"}, "ds1": {}, "ds2": {}}
    targets = understood(placed_targets, raw, hosts)
    if targets is not None:
        assert all(isinstance(problem, str) for problem in volume_problems(raw, targets))


@given(st.text() | mangled(b"172.20.3.73:8810", b"[fd00::1]:8810").map(lambda raw: raw.decode(errors="replace")))
def test_an_address_is_read_or_refused(text: str) -> None:
    understood(parse_address, "target", text)


@given(broken(REQUEST.construction_request(3)), st.integers(0, 9))
def test_a_construction_request_is_understood_or_refused(raw: Any, generation: int) -> None:
    understood(vcr.with_generation, raw, generation)


FOUND = {
    "path": "/var/crucible/r",
    "uuid": UUID,
    "block_size": 512,
    "blocks_per_extent": 16,
    "extent_count": 3,
    "encrypted": False,
    "problems": [],
    "max_generation": 4,
    "image": {"sha256": "0" * 64, "size": 512},
    "ledger": {"problem": None, "last": 3, "newest": ENTRY.as_dict(), "digest": "0" * 64},
}


@given(st.lists(st.tuples(st.sampled_from(sorted(FOUND)), st.sampled_from([None, 0, 9, "x", ["x"], True])), max_size=3))
def test_three_regions_agree_or_one_sentence_says_why_not(changes: list[tuple[str, Any]]) -> None:
    target = {"volume": "vm0-boot", "volume_id": VOLUME, "path": "/var/crucible/r", "region": UUID, "port": 8810}
    values = {name: value for name, value in changes if type(value) is type(FOUND[name])}
    found = [FOUND, {**FOUND, **values}, FOUND]
    regions = [FoundRegion({**target, "host": f"ds{number}"}, one) for number, one in enumerate(found)]
    understood(survey_volume, "vm0-boot", VOLUMES["vm0-boot"], regions)


@pytest.mark.parametrize("raw", STRANGERS)
def test_what_other_programs_say_is_no_definition(raw: bytes) -> None:
    assert understood(parse_definition, raw, "region.json") is None
