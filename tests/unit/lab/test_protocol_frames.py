# SPDX-License-Identifier: GPL-3.0-or-later
"""Cutting received bytes into frames, however they arrive."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from propolis_lab.protocol.codec import MAX_FRAME
from propolis_lab.protocol.errors import ShortLengthError
from propolis_lab.protocol.frames import CHUNK, FrameCutter


def _framed(bodies: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(body) + 4) + body for body in bodies)


def _feed(cutter: FrameCutter, data: bytes, piece: int) -> list[bytes]:
    found = []
    while data:
        space = cutter.space()
        count = min(piece, len(space), len(data))
        space[:count] = data[:count]
        found += [bytes(body) for body in cutter.advance(count)]
        data = data[count:]
    return found


@given(st.lists(st.binary(min_size=4, max_size=50), max_size=30), st.integers(1, 70))
def test_frames_come_out_as_they_went_in_however_they_are_torn(bodies: list[bytes], piece: int) -> None:
    cutter = FrameCutter()
    assert _feed(cutter, _framed(bodies), piece) == bodies
    assert not cutter.partial


@pytest.mark.parametrize("size", [CHUNK - 5, CHUNK - 4, CHUNK - 3, CHUNK, 3 * CHUNK + 17])
@pytest.mark.parametrize("piece", [1000, CHUNK])
def test_a_frame_about_as_large_as_the_chunk_or_larger_comes_out_whole(size: int, piece: int) -> None:
    bodies = [b"first", bytes(range(256)) * (size // 256) + bytes(size % 256), b"last"]
    cutter = FrameCutter()
    assert _feed(cutter, _framed(bodies), piece) == bodies


def test_frames_before_a_bad_length_come_out_and_the_error_is_kept() -> None:
    cutter = FrameCutter()
    assert _feed(cutter, _framed([b"good"]) + struct.pack("<I", 2), 100) == [b"good"]
    assert isinstance(cutter.error, ShortLengthError)


def test_a_length_of_4_gib_is_refused_and_not_allocated() -> None:
    cutter = FrameCutter()
    tracemalloc.start()
    try:
        _feed(cutter, struct.pack("<I", 2**32 - 1) + b"GET ", 8)
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()
    assert str(cutter.error) == f"frame is 4294967295 bytes, more than maximum {MAX_FRAME}"
