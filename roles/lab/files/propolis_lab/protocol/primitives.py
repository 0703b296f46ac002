# SPDX-License-Identifier: GPL-3.0-or-later
"""The codings of single values: numbers, truth values, ids, texts, buffers, addresses.

Little-endian integers of fixed width; bool one byte, 0 or 1; counts u64; a UUID is preceded by its length 16 (all seen
on the wire). A count is checked against the bytes that are there before anything is made for it: memory stays in
proportion to the frame.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from uuid import UUID

from .basics import Buffer, SocketAddress
from .errors import CodecError

COUNT = struct.Struct("<Q")
NUMBER = struct.Struct("<I")
_UUID = struct.Struct("<Q16s")


@dataclass(frozen=True, slots=True)
class Coding:
    """``read(bytes, offset)`` gives the value and the offset after it; ``write(value, parts)`` appends bytes.

    ``least`` is the smallest number of bytes that a value takes; ``item`` the struct code of plain numbers. Reading
    raises CodecError or struct.error, writing also TypeError and AttributeError for values of a wrong type.
    """

    read: Callable[[Buffer, int], tuple[Any, int]]
    write: Callable[[Any, list[Buffer]], None]
    least: int
    item: str = ""


def counted(data: Buffer, offset: int, least: int, what: str) -> tuple[int, int]:
    """The count at ``offset`` of things of at least ``least`` bytes each, refused when the frame can't hold them."""
    (count,) = COUNT.unpack_from(data, offset)
    offset += 8
    if count * least > len(data) - offset:
        raise CodecError(f"A count of {count} {what} needs more than the {len(data) - offset} bytes left in the frame.")
    return count, offset


def number(code: str) -> Coding:
    form = struct.Struct("<" + code)

    def read(data: Buffer, offset: int) -> tuple[int, int]:
        return form.unpack_from(data, offset)[0], offset + form.size

    return Coding(read, lambda value, parts: parts.append(form.pack(value)), form.size, code)


def _read_bool(data: Buffer, offset: int) -> tuple[bool, int]:
    if data[offset] > 1:
        raise CodecError(f"A truth value must be 0 or 1; found {data[offset]}.")
    return data[offset] == 1, offset + 1


def _write_bool(value: bool, parts: list[Buffer]) -> None:
    parts.append(b"\1" if value else b"\0")


@lru_cache(maxsize=512)
def _uuid(raw: bytes) -> UUID:
    return UUID(bytes=raw)  # the same few ids come with every message


def _read_uuid(data: Buffer, offset: int) -> tuple[UUID, int]:
    length, raw = _UUID.unpack_from(data, offset)
    if length != 16:
        raise CodecError(f"An id must have 16 bytes; found a length of {length}.")
    return _uuid(raw), offset + 24


def _write_uuid(value: UUID, parts: list[Buffer]) -> None:
    parts.append(_UUID.pack(16, value.bytes))


def _read_bytes(data: Buffer, offset: int) -> tuple[bytes, int]:
    count, offset = counted(data, offset, 1, "bytes")
    return bytes(data[offset : offset + count]), offset + count


def _write_bytes(value: bytes, parts: list[Buffer]) -> None:
    parts += (COUNT.pack(len(value)), value)


def _read_text(data: Buffer, offset: int) -> tuple[str, int]:
    raw, offset = _read_bytes(data, offset)
    return raw.decode(), offset


def _write_text(value: str, parts: list[Buffer]) -> None:
    _write_bytes(value.encode(), parts)


def _read_address(data: Buffer, offset: int) -> tuple[SocketAddress, int]:
    (family,) = NUMBER.unpack_from(data, offset)
    if family == 0:
        raw, port = struct.unpack_from("<4sH", data, offset + 4)
        return SocketAddress(IPv4Address(raw), port), offset + 10
    if family == 1:
        raw, port = struct.unpack_from("<16sH", data, offset + 4)
        return SocketAddress(IPv6Address(raw), port), offset + 22
    raise CodecError(f"The family of an address must be 0 (IPv4) or 1 (IPv6); found {family}.")


def _write_address(value: SocketAddress, parts: list[Buffer]) -> None:
    parts += (NUMBER.pack(int(value.ip.version == 6)), value.ip.packed, struct.pack("<H", value.port))


BOOL = Coding(_read_bool, _write_bool, 1)
TEXT = Coding(_read_text, _write_text, 8)
BYTES = Coding(_read_bytes, _write_bytes, 8)
ID = Coding(_read_uuid, _write_uuid, 24)
ADDRESS = Coding(_read_address, _write_address, 10)
