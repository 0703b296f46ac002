# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab's guest reads from and writes to its disks: boot sectors and heartbeats."""

from __future__ import annotations

import struct
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from propolis_lab.guest.bootsector import PROBE_BYTES, bootable, describe
from propolis_lab.guest.heartbeat import RING_BYTES, Heartbeat, NoRoomError, Ring, decode

RECORDS = st.builds(
    Heartbeat,
    number=st.integers(1, 2**64 - 1),
    tick=st.integers(0, 2**64 - 1),
    nanoseconds=st.integers(0, 2**64 - 1),
    boot=st.integers(0, 2**64 - 1),
    instance=st.uuids(),
    generation=st.integers(0, 2**64 - 1),
)


def disk(**parts: bytes) -> bytes:
    """The first bytes of a disk with pieces at offsets, named `at_<offset>`."""
    start = bytearray(PROBE_BYTES)
    for name, piece in parts.items():
        offset = int(name.removeprefix("at_"))
        start[offset : offset + len(piece)] = piece
    return bytes(start)


def partition(kind: int, *, active: bool = False) -> bytes:
    return bytes([0x80 if active else 0, 0, 0, 0, kind]) + bytes(11)


def test_an_empty_disk_is_not_bootable() -> None:
    assert describe(disk(), 512) == ["no bootable medium: no 55aa signature, no GPT, no ISO 9660"]
    assert not bootable(disk())


def test_a_master_boot_record_is_told_with_its_partitions() -> None:
    start = disk(at_446=partition(0x83, active=True) + partition(0x82), at_510=b"\x55\xaa")
    assert describe(start, 512) == ["MBR, signature 55aa, 2 partitions, 1 active"]
    assert bootable(start)


@pytest.mark.parametrize("block_size", [512, 4096])
def test_a_gpt_is_found_behind_its_protective_record(block_size: int) -> None:
    header = b"EFI PART" + bytes(72) + struct.pack("<I", 128)
    start = disk(at_446=partition(0xEE), at_510=b"\x55\xaa", **{f"at_{block_size}": header})
    assert describe(start, block_size) == ["protective MBR, signature 55aa", "GPT with room for 128 partitions"]


def test_an_iso_image_is_told_with_its_label() -> None:
    start = disk(at_32768=b"\x01CD001\x01\x00", at_32808=b"GRUB_RESCUE".ljust(32))
    assert describe(start, 512) == ["ISO 9660 volume 'GRUB_RESCUE'"]
    assert bootable(start)


@given(st.binary(max_size=600).map(lambda data: data.ljust(PROBE_BYTES, b"\0")), st.sampled_from([512, 4096]))
def test_any_disk_is_described_in_at_least_one_line(start: bytes, block_size: int) -> None:
    assert all(describe(start, block_size))


@given(RECORDS, st.sampled_from([512, 1024, 4096, 32768]))
def test_a_heartbeat_fills_one_block_and_is_read_back(record: Heartbeat, block_size: int) -> None:
    slot = record.encode(block_size)
    assert len(slot) == block_size
    assert decode(slot) == record


@given(RECORDS, st.integers(0, 67), st.integers(1, 255))
def test_a_damaged_heartbeat_is_no_heartbeat(record: Heartbeat, position: int, change: int) -> None:
    slot = bytearray(record.encode(512))
    slot[position] ^= change
    assert decode(bytes(slot)) is None


def write(content: bytearray, ring: Ring, numbers: range) -> None:
    for number in numbers:
        record = Heartbeat(number, number, 0, 1, UUID(int=1), 1)
        place = ring.offset(number) - ring.start
        content[place : place + ring.block_size] = record.encode(ring.block_size)


@given(st.integers(1, 1000), st.sampled_from([512, 4096]))
def test_the_newest_heartbeat_is_found_however_often_the_ring_went_round(count: int, block_size: int) -> None:
    ring = Ring(1 << 20, block_size)
    content = bytearray(RING_BYTES)
    write(content, ring, range(max(1, count - 2 * ring.slots), count + 1))
    last = ring.last(bytes(content))
    assert last is not None
    assert last.number == count


def test_the_ring_is_the_end_of_the_disk() -> None:
    ring = Ring(1 << 20, 512)
    assert (ring.start, ring.slots) == ((1 << 20) - 65536, 128)
    assert ring.offset(0) == ring.offset(128) == ring.start
    assert ring.offset(127) + 512 == 1 << 20


def test_an_empty_ring_has_no_last_heartbeat() -> None:
    assert Ring(1 << 20, 512).last(bytes(RING_BYTES)) is None


def test_a_torn_record_of_ours_does_not_stop_the_guest_from_writing() -> None:
    ring = Ring(1 << 20, 512)
    content = bytearray(RING_BYTES)
    write(content, ring, range(1, 4))
    content[3 * 512 + 20] ^= 1
    last = ring.last(bytes(content))
    assert last is not None
    assert last.number == 2


def test_the_data_of_others_is_never_overwritten() -> None:
    content = bytearray(RING_BYTES)
    content[1000:1004] = b"data"
    with pytest.raises(NoRoomError, match="other data"):
        Ring(1 << 20, 512).last(bytes(content))


def test_a_disk_that_is_too_small_has_no_room() -> None:
    with pytest.raises(NoRoomError, match="less than 131072"):
        Ring(RING_BYTES, 512)


def test_heartbeats_of_two_instances_are_told_apart() -> None:
    first, second = uuid4(), uuid4()
    slots = [Heartbeat(1, 1, 1, 1, instance, 1).encode(512) for instance in (first, second)]
    assert [record.instance for slot in slots if (record := decode(slot))] == [first, second]
