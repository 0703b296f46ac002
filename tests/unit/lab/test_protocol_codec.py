# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames and messages: recorded frames byte by byte, all messages there and back, and bytes that mean nothing."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from ipaddress import ip_address
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from propolis_lab.protocol.basics import (
    EMPTY,
    BlockContext,
    EncryptedContext,
    EncryptionContext,
    Mark,
    ReadContext,
    SocketAddress,
    UnencryptedContext,
)
from propolis_lab.protocol.codec import MAX_FRAME, decode, encode, encode_parts, frame_length
from propolis_lab.protocol.errors import (
    ERROR_FIELDS,
    NEGOTIATION_FIELDS,
    CodecError,
    CrucibleError,
    ErrorKind,
    NegotiationError,
    NegotiationKind,
    ShortLengthError,
)
from propolis_lab.protocol.messages import (
    MESSAGES,
    ClosedExtent,
    ExtentFlush,
    ExtentLiveCloseAck,
    ExtentRepair,
    ExtentVersions,
    ExtentVersionsPlease,
    Flush,
    HereIAm,
    LastFlush,
    Message,
    PromoteToActive,
    ReadOnlyMismatch,
    ReadRequest,
    ReadResponse,
    RegionDefinition,
    RegionInfo,
    RegionInfoPlease,
    RepairAckId,
    Ruok,
    Write,
    WriteAck,
    YesItsMe,
    YouAreNowActive,
)

NIL = UUID(int=0)
SESSION = UUID("b69fc8a6-3997-41fe-ba7c-c95266ee8ea0")
IDS = (NIL, SESSION)
IDS_HEX = "10000000000000000000000000000000000000000000000010 00000000000000b69fc8a6399741feba7cc95266ee8ea0"
PATTERN = bytes((7 * i + 3) % 256 for i in range(512))
HASH = 0x6765EDDC80089B7B
LOCAL = ip_address("127.0.0.1")

GOLDEN: list[tuple[str, Message]] = [
    (
        "4e000000 00000000 0d000000" + IDS_HEX + "0100000000000000 00 00 0000000000000000",
        HereIAm(13, *IDS, 1, False, False, ()),
    ),
    ("16000000 01000000 0d000000 00000000 7f000001 ab61", YesItsMe(13, SocketAddress(LOCAL, 25003))),
    ("40000000 05000000" + IDS_HEX + "0100000000000000", PromoteToActive(*IDS, 1)),
    ("40000000 06000000" + IDS_HEX + "0100000000000000", YouAreNowActive(*IDS, 1)),
    ("08000000 09000000", Ruok()),
    ("08000000 19000000", RegionInfoPlease()),
    ("08000000 1b000000", ExtentVersionsPlease()),
    (
        "49000000 1a000000 0002000000000000 1000000000000000 09000000 04000000 1000000000000000"
        "12345678000040008000000000000003 00 0100000000000000 0100000000000000",
        RegionInfo(RegionDefinition(512, 16, 9, 4, UUID("12345678-0000-4000-8000-000000000003"), False)),
    ),
    (
        "64000000 1c000000" + 2 * ("0400000000000000" + 64 * "0") + "0400000000000000 00000000",
        ExtentVersions((0,) * 4, (0,) * 4, (False,) * 4),
    ),
    (
        "69020000 1e000000" + IDS_HEX + "e803000000000000 0000000000000000 0000000000000000 0100000000000000"
        "7b9b0880dced6567 00 0002000000000000" + PATTERN.hex(),
        Write(*IDS, 1000, (), 0, (BlockContext(HASH),), PATTERN),
    ),
    ("44000000 1f000000" + IDS_HEX + "e803000000000000 00000000", WriteAck(*IDS, 1000, None)),
    (
        "62000000 20000000" + IDS_HEX + "e903000000000000 0100000000000000 e803000000000000 0100000000000000"
        "0100000000000000 00 00",
        Flush(*IDS, 1001, (1000,), 1, 1),
    ),
    (
        "58000000 24000000" + IDS_HEX + "e803000000000000 0000000000000000 0000000000000000 0100000000000000",
        ReadRequest(*IDS, 1000, (), 0, 1),
    ),
    (
        "60020000 25000000" + IDS_HEX + "e803000000000000 00000000 0100000000000000 02000000 7b9b0880dced6567"
        "0002000000000000" + PATTERN.hex(),
        ReadResponse(*IDS, 1000, (UnencryptedContext(HASH),), PATTERN),
    ),
    (
        "64040000 25000000" + IDS_HEX + "e803000000000000 00000000 0200000000000000 02000000 7b9b0880dced6567 00000000"
        "0004000000000000" + PATTERN.hex() + 1024 * "0",
        ReadResponse(*IDS, 1000, (UnencryptedContext(HASH), EMPTY), PATTERN + bytes(512)),
    ),
    ("11000000 1d000000 01 e903000000000000", LastFlush(1001)),
    ("09000000 1d000000 00", LastFlush(None)),
    (
        "25000000 0d000000 0000000000000000 00000000 00 0300000000000000 0300000000000000",
        ExtentFlush(0, 0, 0, 3, 3),
    ),
    (
        "28000000 0e000000 0200000000000000 00000000 00 00000000 7f000001 2162 0100000000000000 01",
        ExtentRepair(2, 0, 0, SocketAddress(LOCAL, 25121), (1,)),
    ),
    ("10000000 0f000000 0100000000000000", RepairAckId(1)),
    (
        "55000000 16000000" + IDS_HEX + "c23e000000000000 00000000 0100000000000000 b605000000000000 00",
        ExtentLiveCloseAck(*IDS, 16066, ClosedExtent(1, 1462, False)),
    ),
    ("09000000 03000000 01", ReadOnlyMismatch(True)),
]


@pytest.mark.parametrize(
    ("hexadecimal", "message"), GOLDEN, ids=[type(message).__name__ for _unused, message in GOLDEN]
)
def test_a_recorded_frame_is_read_and_written_to_the_byte(hexadecimal: str, message: Message) -> None:
    frame = bytes.fromhex(hexadecimal)
    assert frame_length(frame) == len(frame)
    assert decode(frame[4:]) == message
    assert encode(message) == frame


def test_there_are_42_messages_with_the_tags_0_to_41() -> None:
    assert sorted(MESSAGES) == list(range(42))


# Any message, made from the declarations alone.

_NUMBERS = {Mark.U8: 8, Mark.U16: 16, Mark.U32: 32, Mark.U64: 64}
_NONCE, _TAG = st.binary(min_size=12, max_size=12), st.binary(min_size=16, max_size=16)
_PLAIN: dict[object, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    str: st.text(max_size=20),
    bytes: st.binary(max_size=40),
    UUID: st.uuids(),
    SocketAddress: st.builds(SocketAddress, st.ip_addresses(), st.integers(0, 65535)),
    BlockContext: st.builds(
        BlockContext, st.integers(0, 2**64 - 1), st.none() | st.builds(EncryptionContext, _NONCE, _TAG)
    ),
    ReadContext: st.just(EMPTY)
    | st.builds(EncryptedContext, _NONCE, _TAG)
    | st.builds(UnencryptedContext, st.integers(0, 2**64 - 1)),
}


def _errors(kinds: Any, types: Any, make: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(list(kinds)).flatmap(
        lambda kind: st.builds(make, st.just(kind), st.tuples(*map(_values, types.get(kind, ()))))
    )


def _values(kind: Any) -> st.SearchStrategy[Any]:
    if kind in _PLAIN:
        return _PLAIN[kind]
    if get_origin(kind) is Annotated:
        return _marked(*get_args(kind))
    if get_origin(kind) in (tuple, Sequence):
        return st.lists(_values(get_args(kind)[0]), max_size=5).map(tuple)
    return _records(kind) if is_dataclass(kind) else st.one_of(*map(_values, get_args(kind)))


def _marked(kind: Any, mark: Mark) -> st.SearchStrategy[Any]:
    if mark in _NUMBERS:
        return st.integers(0, 2 ** _NUMBERS[mark] - 1)
    return st.binary(max_size=1500) if mark is Mark.BULK else st.one_of(*map(_values, get_args(kind)))


def _records(cls: Any) -> st.SearchStrategy[Any]:
    hints = get_type_hints(cls, include_extras=True)
    return st.builds(cls, **{field.name: _values(hints[field.name]) for field in fields(cls)})


_PLAIN[NoneType] = st.none()
_PLAIN[NegotiationError] = _errors(NegotiationKind, NEGOTIATION_FIELDS, NegotiationError)
_PLAIN[CrucibleError] = _errors(ErrorKind, ERROR_FIELDS, CrucibleError)
MESSAGE: st.SearchStrategy[Message] = st.sampled_from(list(MESSAGES.values())).flatmap(_records)


@pytest.mark.parametrize("cls", MESSAGES.values(), ids=lambda cls: cls.__name__)
def test_every_kind_of_message_survives_the_way_there_and_back(cls: type[Message]) -> None:
    @given(_records(cls))
    def check(message: Message) -> None:
        frame = encode(message)
        assert frame_length(frame) == len(frame)
        assert b"".join(encode_parts(message)) == frame
        assert decode(frame[4:]) == message

    check()


@given(
    st.binary(max_size=300)
    | st.tuples(st.integers(0, 41), st.binary(max_size=300)).map(lambda pair: struct.pack("<I", pair[0]) + pair[1])
)
def test_any_bytes_are_a_message_or_a_codec_error(body: bytes) -> None:
    try:
        message = decode(body)
    except CodecError:
        return
    assert decode(encode(message)[4:]) == message


@given(MESSAGE, st.data())
def test_a_damaged_message_is_another_message_or_a_codec_error(message: Message, data: st.DataObject) -> None:
    body = bytearray(encode(message)[4:])
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] ^= data.draw(st.integers(1, 255))
    try:
        other = decode(bytes(body))
    except CodecError:
        return
    assert decode(encode(other)[4:]) == other


@given(MESSAGE, st.data())
def test_a_message_that_is_cut_short_is_a_codec_error(message: Message, data: st.DataObject) -> None:
    body = encode(message)[4:]
    with pytest.raises(CodecError):
        decode(body[: data.draw(st.integers(0, len(body) - 1))])


@given(MESSAGE.filter(lambda message: not hasattr(message, "data")), st.binary(min_size=1, max_size=9))
def test_bytes_after_the_last_field_are_ignored(message: Message, more: bytes) -> None:
    assert decode(encode(message)[4:] + more) == message


def test_bulk_data_are_the_last_bytes_of_the_frame_and_no_copy_of_them() -> None:
    body = bytearray(encode(Write(*IDS, 7, (), 3, (BlockContext(1),), bytes(512)))[4:])
    between = body[:-512] + b"??" + PATTERN
    message = decode(between)
    assert isinstance(message, Write)
    assert bytes(message.data) == PATTERN
    between[-1] = 0xEE
    assert message.data[-1] == 0xEE


@pytest.mark.parametrize("length", [0, 1, 3])
def test_a_length_below_its_own_size_is_told_apart_because_a_real_downstairs_aborts_on_it(length: int) -> None:
    with pytest.raises(ShortLengthError):
        frame_length(struct.pack("<I", length))


@pytest.mark.parametrize("length", [4, 7, MAX_FRAME + 1, 2**32 - 1])
def test_a_length_without_room_for_a_tag_or_above_the_limit_is_refused(length: int) -> None:
    with pytest.raises(CodecError):
        frame_length(struct.pack("<I", length))


def test_the_limit_itself_is_a_good_length() -> None:
    assert frame_length(struct.pack("<I", MAX_FRAME)) == MAX_FRAME


@pytest.mark.parametrize("tag", [14, 28, 30, 37, 38, 41])
def test_a_count_that_the_frame_cannot_hold_is_refused_before_anything_is_made_for_it(tag: int) -> None:
    ids = struct.pack("<Q16sQ16sQ", 16, NIL.bytes, 16, SESSION.bytes, 1)
    start = {14: bytes(8 + 4 + 1 + 10), 28: b"", 30: ids, 37: ids + bytes(4), 38: ids, 41: bytes(4)}[tag]
    body = struct.pack("<I", tag) + start + struct.pack("<Q", 2**61) + bytes(64)
    tracemalloc.start()
    try:
        with pytest.raises(CodecError, match="needs more than"):
            decode(body)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


MANY = 20_000


@pytest.mark.parametrize(
    "message",
    [
        ExtentRepair(1, 0, 0, SocketAddress(LOCAL, 1), (1,) * MANY),
        ExtentVersions((2**63,) * MANY, (2**63,) * MANY, (True,) * MANY),
        ReadRequest(*IDS, 1, tuple(range(2**40, 2**40 + MANY)), 0, 1),
        Write(*IDS, 1, (), 0, tuple(BlockContext(2**63 + number) for number in range(MANY)), b""),
        Write(*IDS, 1, (), 0, tuple(BlockContext(2**63, (bytes(12), bytes(16))) for _unused in range(MANY)), b""),
        ReadResponse(*IDS, 1, (EMPTY,) * MANY, b""),
        ReadResponse(*IDS, 1, tuple(UnencryptedContext(2**63 + number) for number in range(MANY)), b""),
        ReadResponse(*IDS, 1, (EncryptedContext(bytes(12), bytes(16)),) * MANY, b""),
        Write(*IDS, 1, (), 0, (), bytes(1_000_000)),
    ],
    ids=["clients", "versions", "jobs", "hashes", "sealed", "empty", "hashes read", "sealed read", "data"],
)
def test_what_is_made_of_a_frame_is_in_proportion_to_the_frame(message: Message) -> None:
    body = encode(message)[4:]
    tracemalloc.start()
    try:
        found = decode(body)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(body)
    finally:
        tracemalloc.stop()
    assert found == message


@pytest.mark.parametrize(
    "message",
    [
        ReadRequest(*IDS, -1, (), 0, 1),
        ReadRequest(*IDS, 2**64, (), 0, 1),
        replace(HereIAm(13, *IDS, 1, False, False), upstairs_id="no id"),  # type: ignore[arg-type]
        Write(*IDS, 1, (), 0, (BlockContext(1, (b"short", bytes(16))),), b""),
        Write(*IDS, 1, (), 0, (), bytes(MAX_FRAME)),
        WriteAck(*IDS, 1, CrucibleError(ErrorKind.IO_ERROR)),
    ],
    ids=["negative", "too large", "no id", "short nonce", "above the limit", "error without its text"],
)
def test_a_message_that_does_not_fit_the_wire_is_refused_with_our_own_error(message: Message) -> None:
    with pytest.raises(CodecError):
        encode(message)


@pytest.mark.parametrize(
    ("hexadecimal", "what"),
    [
        ("2a000000", "tag"),
        ("03000000 02", "truth value"),
        ("1d000000 02 0000000000000000", "truth value"),
        ("08000000 0f00000000000000" + 32 * "0", "id must have 16 bytes"),
        ("01000000 0d000000 02000000 7f000001 ab61", "family of an address"),
        ("10000000 0000000000000000 00000000 2a000000", "not a valid ErrorKind"),
    ],
)
def test_a_wrong_field_is_named(hexadecimal: str, what: str) -> None:
    with pytest.raises(CodecError, match=what):
        decode(bytes.fromhex(hexadecimal))
