# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims of unfinished work and records of images, where the disk does not do what is asked."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from pathlib import Path

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.claim import Claim, set_aside
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.errors import ImageError, RegionError
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.geometry import Geometry
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.image import (
    data_sha256,
    first_difference,
    look_at_image,
    read_record,
    record_path,
    write_record,
)
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.region import read_region
from hypothesis import given
from hypothesis import strategies as st
from regions_on_disk import extent_file, make_raw

DATA = bytes(range(256)) * 60
SHAPE = Geometry(512, 16, 3)


def refusing(number):
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.fixture
def image(tmp_path):
    (tmp_path / "disk.raw").write_bytes(DATA)
    return look_at_image(tmp_path / "disk.raw", SHAPE, None)


def test_a_claim_that_is_kept_is_left_behind_and_one_that_is_fulfilled_is_not(tmp_path):
    claim = Claim(tmp_path / "r")
    assert claim.left_behind() is False
    with claim.held("u", left_behind=False):
        assert json.loads(claim.path.read_text()) == {"uuid": "u", "pid": os.getpid()}
    assert claim.left_behind() is True
    with claim.held("u", left_behind=True):
        claim.fulfilled()
    assert claim.left_behind() is False


def test_a_claim_in_use_is_told(tmp_path):
    claim = Claim(tmp_path / "r")
    with claim.held("u", left_behind=False):
        with pytest.raises(RegionError, match="another run is making this region right now"):
            claim.left_behind()
        with pytest.raises(RegionError, match="another run is making this region right now"):
            claim.held("u", left_behind=True).__enter__()
        with pytest.raises(RegionError, match="another run has worked on this region meanwhile"):
            claim.held("u", left_behind=False).__enter__()


def test_a_claim_that_was_replaced_between_opening_and_locking_is_told(tmp_path, monkeypatch):
    claim = Claim(tmp_path / "r")
    claim.path.write_text("")
    real = os.open

    def replaced(path, *arguments, **options):
        handle = real(path, *arguments, **options)
        claim.path.unlink()
        claim.path.write_text("")
        return handle

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", replaced)
        with pytest.raises(RegionError, match="another run has worked on this region meanwhile"):
            claim.held("u", left_behind=True).__enter__()


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "disk_full"), (errno.EROFS, "read_only_disk")])
def test_a_claim_that_cannot_be_made_is_told(tmp_path, monkeypatch, number, code):
    claim = Claim(tmp_path / "r")
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refusing(number))
        for attempt in (claim.left_behind, claim.held("u", left_behind=False).__enter__):
            with pytest.raises(RegionError, match="no region was made") as caught:
                attempt()
            assert caught.value.code == code
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refusing(number))
        with pytest.raises(RegionError, match="no region was made"):
            claim.held("u", left_behind=False).__enter__()


def test_regions_set_aside_in_one_second_get_different_names(tmp_path):
    names = set()
    for _round in range(3):
        (tmp_path / "r").mkdir()
        names.add(set_aside(tmp_path / "r"))
    assert len(names) == 3


def test_a_region_that_cannot_be_set_aside_is_told(tmp_path, monkeypatch):
    (tmp_path / "r").mkdir()
    monkeypatch.setattr(Path, "rename", refusing(errno.EACCES))
    with pytest.raises(RegionError, match="is half-made and cannot be set aside: Permission denied"):
        set_aside(tmp_path / "r")


def test_a_record_is_read_back_and_knows_its_file(tmp_path, image):
    record = write_record(tmp_path / "r", image)
    assert read_record(tmp_path / "r") == record
    assert record.is_of(image.path)
    image.path.write_bytes(DATA + b"x")
    assert not record.is_of(image.path)
    image.path.unlink()
    assert not record.is_of(image.path)


@given(
    st.binary()
    | st.dictionaries(st.sampled_from(["sha256", "size", "source", "modified"]), st.integers() | st.text() | st.none())
    .map(json.dumps)
    .map(str.encode)
)
def test_any_record_is_a_record_or_an_error_of_ours(tmp_path_factory, raw):
    region = tmp_path_factory.getbasetemp() / "fuzzed"
    record_path(region).write_bytes(raw)
    with contextlib.suppress(ImageError):
        assert isinstance(read_record(region).size, int)


def test_records_that_cannot_be_read_or_written_are_told(tmp_path, image, monkeypatch):
    record_path(tmp_path / "r").mkdir()
    with pytest.raises(ImageError, match=r"r\.image cannot be read: Is a directory"):
        read_record(tmp_path / "r")
    with pytest.raises(ImageError, match=r"nowhere/r\.image cannot be written: No such file"):
        write_record(tmp_path / "nowhere" / "r", image)


def test_the_first_byte_that_differs_is_found(tmp_path, image):
    for position in (0, 8191, 8192, len(DATA) - 1):
        changed = bytearray(DATA)
        changed[position] ^= 255
        region = read_region(make_raw(tmp_path / f"r{position}", data=bytes(changed)))
        assert first_difference(image.path, region) == position
    same = read_region(make_raw(tmp_path / "same", data=DATA))
    assert first_difference(image.path, same) is None
    assert data_sha256(same, len(DATA)) == hashlib.sha256(DATA).hexdigest() == image.sha256


def test_a_missing_extent_is_named_when_data_are_compared(tmp_path, image):
    region = read_region(make_raw(tmp_path / "r", data=DATA))
    extent_file(tmp_path / "r", 1).unlink()
    for compare in (lambda: first_difference(image.path, region), lambda: data_sha256(region, len(DATA))):
        with pytest.raises(ImageError, match="00/000/001 cannot be read: No such file"):
            compare()


def test_an_extent_that_is_too_short_differs_where_it_ends(tmp_path, image):
    region = read_region(make_raw(tmp_path / "r", data=DATA))
    os.truncate(extent_file(tmp_path / "r", 0), 100)
    assert first_difference(image.path, region) == 100
    assert data_sha256(region, len(DATA)) != image.sha256


@pytest.mark.parametrize("text", ["[" * 100_000, '{"sha256": "", "size": 1e999, "source": "", "modified": 1}'])
def test_a_record_that_python_cannot_hold_is_damaged(tmp_path, text):
    record_path(tmp_path / "r").write_text(text)
    with pytest.raises(ImageError, match="is damaged"):
        read_record(tmp_path / "r")
