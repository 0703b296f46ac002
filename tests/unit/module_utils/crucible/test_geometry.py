# SPDX-License-Identifier: GPL-3.0-or-later
"""Shapes of regions: what is allowed, what differs, what they need."""

from __future__ import annotations

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.errors import InvalidValueError
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.geometry import Geometry, disagreements
from hypothesis import given
from hypothesis import strategies as st

SEED = Geometry(512, 64000, 64)


def test_the_by_hand_geometry_has_two_billion_bytes():
    assert SEED.validated().bytes == 2097152000


@pytest.mark.parametrize(
    ("block_size", "blocks", "size"),
    [(512, 100, 60845), (512, 64000, 38920032), (4096, 100, 419245), (4096, 16384, 68683808), (512, 16, 9762)],
)
def test_raw_extent_files_have_the_sizes_seen_on_disk(block_size, blocks, size):
    assert Geometry(block_size, blocks, 1).raw_extent_file_bytes == size


@pytest.mark.parametrize("size", [0, -512, 1, 256, 511, 513, 1536, 6144, 65536])
def test_a_block_size_that_is_no_power_of_two_from_512_to_32768_is_refused(size):
    with pytest.raises(InvalidValueError, match=f"block_size: found {size}, expected a power of two from 512 to 32768"):
        Geometry(size, 16, 1).validated()


@pytest.mark.parametrize("size", [512, 1024, 2048, 4096, 8192, 16384, 32768])
def test_the_other_block_sizes_are_allowed(size):
    assert Geometry(size, 16, 1).validated().block_size == size


@pytest.mark.parametrize(
    ("geometry", "field"),
    [
        (Geometry(512, 0, 1), "blocks_per_extent"),
        (Geometry(512, 1048577, 1), "blocks_per_extent"),
        (Geometry(4096, 131073, 1), "blocks_per_extent"),
        (Geometry(512, 16, 0), "extent_count"),
        (Geometry(512, 16, 1 << 32), "extent_count"),
    ],
)
def test_a_shape_that_no_region_can_have_is_refused_with_its_field(geometry, field):
    with pytest.raises(InvalidValueError) as caught:
        geometry.validated()
    assert caught.value.details["field"] == field


def test_differences_are_told_field_by_field():
    found = Geometry(512, 64000, 65, True).differences_from(SEED)
    assert [str(one) for one in found] == ["extent_count is 65, expected 64", "encrypted is True, expected False"]
    assert found[0].as_dict() == {"field": "extent_count", "found": 65, "expected": 64}
    assert SEED.differences_from(SEED) == []


def test_hosts_that_do_not_agree_are_named_with_their_values():
    assert disagreements({"ds0": SEED, "ds1": SEED, "ds2": Geometry(512, 64000, 65)}) == [
        "extent_count is 64 at ds0, ds1 but 65 at ds2"
    ]
    assert disagreements({"ds0": SEED, "ds1": SEED}) == []


@given(st.sampled_from([512, 4096]), st.integers(1, 5000), st.integers(1, 10**9))
def test_a_region_needs_more_than_its_data_by_what_the_metadata_of_its_format_adds(block_size, blocks, data):
    needed = Geometry(block_size, blocks, 1).bytes_on_disk(data)
    whole = -(-data // block_size) * block_size
    extents = -(-data // (block_size * blocks))
    assert needed >= whole * (1 + 96 / block_size)
    assert needed <= whole * (1 + 97 / block_size) + extents * 20480
