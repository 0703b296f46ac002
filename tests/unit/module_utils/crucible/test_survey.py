# SPDX-License-Identifier: GPL-3.0-or-later
"""The three regions of a volume put side by side, as ``crucible_facts`` told of them."""

from __future__ import annotations

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.errors import CrucibleError
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.facts import look
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.image import look_at_image, write_record
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger import Ledger, ledger_path
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.ledger_entries import Entry
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.region import read_definition
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.survey import FoundRegion, survey_volume
from regions_on_disk import UUID, extent_file, make_raw

VOLUME = "0cedae45-3d6e-4d90-b2cb-56f1a1a42a89"


@pytest.fixture
def regions(tmp_path):
    """Three regions; a function that looks at them and compares."""
    paths = [make_raw(tmp_path / f"r{number}", ((4, 1, False), (0, 0, False))) for number in range(3)]

    def survey(volume=None, region=UUID):
        found = [
            FoundRegion(
                {"host": f"ds{number}", "port": 8810, "path": str(path), "volume": "boot", "volume_id": VOLUME}
                | {"region": region},
                look(path).as_dict(),
            )
            for number, path in enumerate(paths)
        ]
        return survey_volume("boot", volume or {}, found)

    survey.paths = paths
    survey.ledgers = [Ledger(ledger_path(path), VOLUME) for path in paths]
    return survey


def record(ledger, *numbers):
    ledger.record([Entry(number, "start", "vm0", "alpha") for number in numbers])


def test_what_is_stored_and_what_was_handed_out_are_floors_with_their_places(regions):
    record(regions.ledgers[1], 7)
    seen = regions()
    assert (seen["last"], seen["generation"], seen["stored_generation"]) == (0, 7, 4)
    assert seen["lasts"] == [0, 7, 0]
    assert {"generation": 7, "source": "the ledger on ds1"} in seen["floors"]
    assert [floor["source"] for floor in seen["floors"] if floor["generation"] == 4] == [
        "the region on ds0",
        "the region on ds1",
        "the region on ds2",
    ]


def test_ledgers_agree_when_they_hold_the_same_numbers_in_whatever_order(regions):
    assert regions()["ledgers_agree"]
    for ledger, numbers in zip(regions.ledgers, ((1, 2), (2, 1), (1, 2)), strict=True):
        for number in numbers:
            record(ledger, number)
    assert regions()["ledgers_agree"]


@pytest.mark.parametrize("numbers", [(), (1,), (1, 3)], ids=["lost", "an old copy", "another number"])
def test_ledgers_disagree_when_one_lacks_a_number(regions, numbers):
    record(regions.ledgers[0], *numbers)
    record(regions.ledgers[1], 1, 2)
    record(regions.ledgers[2], 1, 2)
    assert not regions()["ledgers_agree"]


def test_regions_of_different_size_are_named_with_their_hosts(regions, tmp_path):
    regions.paths[1] = make_raw(tmp_path / "smaller", ((0, 0, False),))
    with pytest.raises(CrucibleError) as raised:
        regions()
    assert raised.value.message.startswith("The regions of boot differ: ")
    assert "ds1" in raised.value.message


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda paths: (paths[2] / "region.json").unlink(), "r2 on ds2 holds no region of boot; seed it first"),
        (lambda paths: extent_file(paths[0], 1).unlink(), "r0 on ds0: "),
        (lambda paths: ledger_path(paths[1]).write_text("no ledger\n"), "The ledger of "),
    ],
    ids=["missing", "incomplete", "no ledger"],
)
def test_a_source_of_truth_that_cannot_be_read_is_named_with_its_host(regions, spoil, words):
    spoil(regions.paths)
    with pytest.raises(CrucibleError) as raised:
        regions()
    assert words in raised.value.message


def test_three_regions_of_different_images_are_told_apart_though_no_metadata_of_theirs_does(regions):
    for number, path in enumerate(regions.paths):
        data = bytes([min(number, 1)]) * 512
        image = path.with_name(f"image{number}")
        image.write_bytes(data)
        write_record(path, look_at_image(image, read_definition(path).geometry, None))
    with pytest.raises(CrucibleError) as raised:
        regions()
    assert raised.value.message.startswith("The regions of boot were made from different images: ")
    assert all(f"on ds{number}" in raised.value.message for number in range(3))


def test_the_region_of_another_volume_is_named_with_what_was_expected(regions):
    other = "11111111-2222-4333-8444-555555555555"
    with pytest.raises(CrucibleError) as raised:
        regions(region=other)
    assert raised.value.message.endswith(f"r0 on ds0 holds region {UUID}; boot expects {other}.")


def test_a_wrong_number_in_the_inventory_is_named_and_the_regions_are_right(regions):
    with pytest.raises(CrucibleError) as raised:
        regions({"extent_count": 64})
    assert "crucible_volumes.boot.extent_count is 64; its three regions have 2." in raised.value.message


def test_a_key_for_regions_that_are_not_encrypted_is_refused_without_showing_it(regions):
    with pytest.raises(CrucibleError) as raised:
        regions({"key": "c2VjcmV0"})
    assert "crucible_volumes.boot has a key; its three regions are not encrypted." in raised.value.message
    assert "c2VjcmV0" not in raised.value.message


def test_regions_that_are_encrypted_need_a_key_in_the_inventory(regions, tmp_path):
    for number, path in enumerate(regions.paths):
        regions.paths[number] = make_raw(path.with_name(f"encrypted{number}"), ((4, 1, False),), encrypted=True)
    with pytest.raises(CrucibleError, match="boot has no key; its three regions are encrypted"):
        regions()
    assert regions({"key": "c2VjcmV0"})["encrypted"] is True
