# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of regions: hashes, context slots, bitmaps, offsets, region.json, and extents of the real program."""

from __future__ import annotations

import json
import re
import stat
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from propolis_lab.region import Age, BlockContext, Definition, HashMismatch, Region, RegionError, context_of
from propolis_lab.region.bitmap import Bitmap, runs
from propolis_lab.region.context import (
    SLOT_SIZE,
    PlainContexts,
    block_hashes,
    check_contexts,
    contexts_in,
    pack_plain_slots,
    pack_slots,
    plain_stored_hashes,
    unpack_slots,
)
from propolis_lab.region.definition import read_definition, write_definition
from propolis_lab.region.layout import Layout, Metadata, extent_path
from shared import needs_shared, recordings
from xxhash import xxh64_intdigest

ID = UUID("12345678-0000-4000-8000-000000000001")
PATTERN = bytes((7 * index + 3) % 256 for index in range(512))
U64 = st.integers(0, 2**64 - 1)
CONTEXTS = st.builds(
    BlockContext,
    U64,
    st.none() | st.tuples(st.binary(min_size=12, max_size=12), st.binary(min_size=16, max_size=16)),
)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0xEF46DB3751D8E999),
        (bytes(512), 0x8BBF7F68E8C3B87C),
        (bytes(4096), 0xAC869B6F32D8BBDB),
        (PATTERN, 0x6765EDDC80089B7B),
    ],
)
def test_hashes_are_those_seen_on_the_wire(data: bytes, expected: int) -> None:
    assert context_of(data).hash == expected


@given(st.lists(U64, max_size=9), st.integers(-10, 10), st.integers(-10, 10), st.integers(1, 3))
def test_contexts_kept_as_hashes_are_what_a_tuple_of_contexts_is(
    hashes: list[int], first: int, after: int, step: int
) -> None:
    contexts, plain = tuple(map(BlockContext, hashes)), PlainContexts.of(hashes, BlockContext)
    assert (plain, len(plain), tuple(plain), repr(plain)) == (contexts, len(contexts), contexts, repr(contexts))
    assert contexts == plain
    assert plain == PlainContexts.of(hashes, BlockContext)
    assert plain[first:after:step] == contexts[first:after:step]
    assert hash(plain) == hash(contexts)
    assert plain != (*contexts, BlockContext(1))
    assert not hashes or plain != PlainContexts.of(hashes, lambda value: BlockContext(value ^ 1))
    for number in range(-len(contexts), len(contexts)):
        assert plain[number] == contexts[number]
    with pytest.raises(IndexError):
        plain[len(contexts)]


def test_a_hash_that_is_not_of_its_block_is_named_also_among_contexts_kept_as_hashes() -> None:
    hashes = block_hashes(PATTERN * 3, 512)
    assert check_contexts(PlainContexts.of(hashes, BlockContext), PATTERN * 3, 512) == hashes
    with pytest.raises(HashMismatch, match="block 1"):
        check_contexts(PlainContexts.of([hashes[0], 5, hashes[2]], BlockContext), PATTERN * 3, 512)


@given(st.lists(st.tuples(CONTEXTS, U64), max_size=20), U64)
def test_slots_read_back_as_they_were_written(entries: list[tuple[BlockContext, int]], flush: int) -> None:
    contexts = [context for context, _unused in entries]
    # The bytes of an unencrypted block have one hash only.
    stored = [context.hash if context.encryption is None else other for context, other in entries]
    slots = pack_slots(contexts, stored, flush)
    found = unpack_slots(slots)
    assert [(slot.context, slot.stored_hash) for slot in found if slot] == list(zip(contexts, stored, strict=True))
    assert contexts_in(slots) == contexts


@given(st.lists(U64, max_size=40), U64)
def test_slots_made_all_at_once_are_those_made_one_by_one(hashes: list[int], flush: int) -> None:
    encrypted = BlockContext(0, (bytes(12), bytes(16)))
    one_by_one = pack_slots([*(BlockContext(value) for value in hashes), encrypted], [*hashes, 0], flush)[:-SLOT_SIZE]
    assert pack_plain_slots(hashes, flush) == one_by_one
    assert plain_stored_hashes(one_by_one) == b"".join(value.to_bytes(8, "little") for value in hashes)


def test_stored_hashes_are_not_taken_at_once_from_empty_or_encrypted_slots() -> None:
    plain = pack_plain_slots([1], 0)
    encrypted = pack_slots([BlockContext(1, (bytes(12), bytes(16)))], [2], 0)
    assert plain_stored_hashes(plain + bytes(SLOT_SIZE)) is None
    assert plain_stored_hashes(plain + encrypted) is None


def test_a_slot_whose_marks_mean_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="marks 7 and 0"):
        unpack_slots(b"\x07" + bytes(SLOT_SIZE - 1))


def test_a_context_must_belong_to_its_block() -> None:
    good = context_of(PATTERN)
    assert check_contexts([good], PATTERN, 512) == [good.hash]
    with pytest.raises(HashMismatch, match="in block 1 "):
        check_contexts([good, good], PATTERN + bytes(512), 512)


def test_the_context_of_an_encrypted_block_covers_nonce_tag_and_ciphertext() -> None:
    nonce, tag = bytes(range(12)), bytes(range(16))
    good = BlockContext(xxh64_intdigest(nonce + tag + PATTERN), (nonce, tag))
    assert check_contexts([good], PATTERN, 512) == block_hashes(PATTERN, 512)
    with pytest.raises(HashMismatch):
        check_contexts([BlockContext(context_of(PATTERN).hash, (nonce, tag))], PATTERN, 512)


@given(st.lists(st.booleans(), min_size=1, max_size=200), st.data())
def test_a_bitmap_flips_what_it_is_told_and_nothing_else(bits: list[bool], data: st.DataObject) -> None:
    bitmap = Bitmap(len(bits))
    for index, bit in enumerate(bits):
        if bit:
            bitmap.fill(index, 1)
    start = data.draw(st.integers(0, len(bits) - 1))
    count = data.draw(st.integers(1, len(bits) - start))
    mask = data.draw(st.integers(0, (1 << count) - 1))
    bitmap.toggle(start, count, mask)
    expected = [
        bit ^ (start <= index < start + count and bool(mask >> (index - start) & 1)) for index, bit in enumerate(bits)
    ]
    assert [bool(bitmap.get(index, 1)) for index in range(len(bits))] == expected
    assert Bitmap(len(bits), bytes(bitmap)).get(0, len(bits)) == bitmap.get(0, len(bits))
    packed = bytearray((len(bits) + 7) // 8)
    for index, bit in enumerate(expected):
        packed[index // 8] |= bit << (index % 8)
    assert bytes(bitmap) == packed


@given(st.lists(st.booleans(), max_size=100))
def test_runs_cover_all_bits_and_no_two_neighbours_are_equal(bits: list[bool]) -> None:
    found = list(runs(sum(bit << index for index, bit in enumerate(bits)), len(bits)))
    assert [bool(bit) for _unused, length, bit in found for _unused in range(length)] == bits
    assert all(left[0] + left[1] == right[0] and left[2] != right[2] for left, right in pairwise(found))


@pytest.mark.parametrize(
    ("block_size", "blocks", "size"), [(512, 16, 9762), (512, 64000, 38920032), (4096, 100, 419245)]
)
def test_extent_files_have_the_recorded_sizes(block_size: int, blocks: int, size: int) -> None:
    assert Layout(block_size, blocks).file_size == size


@given(st.booleans(), U64, U64, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_metadata_reads_back_as_it_was_written(
    dirty: bool, generation: int, flush: int, syncs: int, moves: int
) -> None:
    metadata = Metadata(dirty, generation, flush, bonus_syncs=syncs, defragmentations=moves)
    assert len(metadata.pack()) == 32
    assert Metadata.unpack(metadata.pack()) == metadata


@pytest.mark.parametrize(
    ("extent", "name"), [(0, "00/000/000"), (26, "00/000/01A"), (4096, "00/001/000"), (1 << 24, "01/000/000")]
)
def test_extents_are_named_in_upper_case_hexadecimal(extent: int, name: str) -> None:
    assert extent_path(Path("r"), extent) == Path("r") / name


@pytest.mark.parametrize("age", Age)
def test_region_json_says_what_the_region_is_and_only_its_owner_may_read_it(tmp_path: Path, age: Age) -> None:
    definition = Definition(4096, 10, 3, ID, True)
    write_definition(tmp_path, definition, age)
    path = tmp_path / "region.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().endswith("}\n")
    assert ("database_read_version" in json.loads(path.read_text())) == (age is Age.TODAY)
    assert read_definition(tmp_path) == (definition, age)
    assert [entry.name for entry in tmp_path.iterdir()] == ["region.json"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{\n", "EOF while parsing an object at line 2 column 0"),
        ("", "EOF while parsing a value at line 1 column 0"),
        ('{"block_size":', "EOF while parsing a value at line 1 column 14"),
        ("[]", "invalid type: sequence, expected a map at line 1 column 2"),
        ("nonsense", "expected value at line 1 column 1"),
        ('{"block_size": "512"}', 'invalid type: string "512", expected u64 at line 1 column 21'),
        ('{"block_size": -1}', "invalid value: integer `-1`, expected u64 at line 1 column 18"),
        ('{"block_size": 512}', "missing field `extent_size` at line 1 column 19"),
        ("{} x", "missing field `block_size`|trailing characters"),
    ],
)
def test_a_damaged_region_json_is_refused_with_the_place(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "region.json").write_text(text)
    with pytest.raises(RegionError) as caught:
        read_definition(tmp_path, Age.TODAY)
    assert caught.value.message == f'Error parse "{tmp_path}/region.json"'
    assert re.search(complaint.replace("`", "."), caught.value.cause or "")


@pytest.mark.parametrize(
    ("definition", "complaint"),
    [
        (Definition(1536, 10, 0, ID), "block size must be a power of two, not 1536"),
        (Definition(256, 10, 0, ID), "minimum block size is 512 bytes, not 256"),
        (Definition(512, 0, 0, ID), "extent size must be at least 1 block"),
        (Definition(512, 2000000, 0, ID), "extent size 2000000 x 512 bytes = 1024000000, bigger than 536870912"),
    ],
)
def test_impossible_shapes_are_refused(definition: Definition, complaint: str) -> None:
    with pytest.raises(RegionError, match=re.escape(complaint)):
        definition.check()


@needs_shared
@pytest.mark.parametrize("stage", ["1-fresh", "2-import", "3-write-gen1", "4-overwrite-gen2", "5-dirty-gen3-unflushed"])
def test_extents_have_the_bytes_of_recorded_ones(tmp_path: Path, stage: str) -> None:
    region = Region.create(tmp_path / "r", Definition(512, 16, 0, ID))
    region.extend(1)
    complement = bytes(255 - byte for byte in PATTERN)
    number = int(stage[0])
    if number == 2:
        image = _recorded(stage)[:2048]
        region.import_blocks(0, block_hashes(image, 512), memoryview(image))
        region.flush(1, 0)
    if number >= 3:
        region.write(0, [context_of(PATTERN)], PATTERN)
        region.flush(1, 1)
    if number >= 4:
        region.write(0, [context_of(complement)], complement)
        region.flush(2, 2)
    if number >= 5:
        for block in (0, 2):
            region.write(block, [context_of(PATTERN)], PATTERN)
    region.close()
    assert (tmp_path / "r" / "00" / "000" / "000").read_bytes() == _recorded(stage)


@needs_shared
def test_a_recorded_dirty_extent_is_read_by_asking_its_data(tmp_path: Path) -> None:
    Region.create(tmp_path / "r", Definition(512, 16, 0, ID)).extend(1)
    (tmp_path / "r" / "00" / "000" / "000").write_bytes(_recorded("6-dirty-block0-twice"))
    region = Region.open(tmp_path / "r")
    assert region.versions()[0].dirty
    contexts, data = region.read(0, 3)
    assert [None if context is None else context.hash for context in contexts] == [
        0xFED9C4D29F14D9EB,
        None,
        0x6765EDDC80089B7B,
    ]
    assert block_hashes(data, 512)[0] == 0xFED9C4D29F14D9EB
    region.flush(3, 3)
    region.close()
    assert (tmp_path / "r" / "00" / "000" / "000").read_bytes() == _recorded("7-after-reopen-and-reconcile")


@needs_shared
def test_the_slot_of_a_recorded_encrypted_block_is_written_alike(tmp_path: Path) -> None:
    recorded = _recorded("8-encrypted-gen1")
    nonce, tag = bytes.fromhex("6cae8f8f3e17f98a67f84b0c"), bytes.fromhex("4dd6d1d3c65e8b275b0de57d5eb30f04")
    region = Region.create(tmp_path / "r", Definition(512, 16, 0, ID, encrypted=True))
    region.extend(1)
    block = recorded[:512]
    region.write(0, [BlockContext(xxh64_intdigest(nonce + tag + block), (nonce, tag))], block)
    region.flush(1, 1)
    region.close()
    assert (tmp_path / "r" / "00" / "000" / "000").read_bytes() == recorded


def _recorded(stage: str) -> bytes:
    """The bytes of an ``od`` listing in which repeated lines stand as ``*``."""
    data = bytearray()
    text = (recordings / "transcripts" / "protocol" / "extents" / f"{stage}.txt").read_text()
    for offset, line in re.findall(r"(?m)^(\d{7})(.*)$", text):
        while len(data) < int(offset):
            data += data[-16:]
        del data[int(offset) :]
        data += bytes.fromhex(line)
    return bytes(data)
