# SPDX-License-Identifier: GPL-3.0-or-later
"""How the type of a field becomes bytes: one coding per wire type, built from the declarations of the messages.

An enum is a u32 number, then the fields of that variant; an option one byte, then the value; a vector a u64 count, then
the elements; a struct its fields and nothing else (seen on the wire).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import fields
from enum import IntEnum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from .basics import BlockContexts, Buffer, Mark, ReadContexts, SocketAddress
from .contexts import BLOCK_CONTEXTS, READ_CONTEXTS
from .errors import (
    ERROR_FIELDS,
    NEGOTIATION_FIELDS,
    CodecError,
    CrucibleError,
    ErrorKind,
    NegotiationError,
    NegotiationKind,
)
from .primitives import ADDRESS, BOOL, BYTES, COUNT, ID, NUMBER, TEXT, Coding, counted, number


def option(inner: Coding) -> Coding:
    """One byte, 0 or 1, then the value."""

    def read(data: Buffer, offset: int) -> tuple[Any, int]:
        there, offset = BOOL.read(data, offset)
        return inner.read(data, offset) if there else (None, offset)

    def write(value: Any, parts: list[Buffer]) -> None:
        BOOL.write(value is not None, parts)
        if value is not None:
            inner.write(value, parts)

    return Coding(read, write, 1)


def result(value_coding: Coding | None) -> Coding:
    """u32 0 and the value (nothing when there is no coding for it), or u32 1 and a CrucibleError."""

    def read(data: Buffer, offset: int) -> tuple[Any, int]:
        (failed,) = NUMBER.unpack_from(data, offset)
        if failed > 1:
            raise CodecError(f"A result must be 0 (good) or 1 (an error); found {failed}.")
        if failed:
            return ERROR.read(data, offset + 4)
        return value_coding.read(data, offset + 4) if value_coding else (None, offset + 4)

    def write(value: Any, parts: list[Buffer]) -> None:
        failed = isinstance(value, CrucibleError)
        parts.append(NUMBER.pack(failed))
        if failed:
            ERROR.write(value, parts)
        elif value_coding:
            value_coding.write(value, parts)

    return Coding(read, write, 4)


def vector(inner: Coding) -> Coding:
    """A u64 count, then the elements; plain numbers all at once."""

    def read(data: Buffer, offset: int) -> tuple[tuple[Any, ...], int]:
        count, offset = counted(data, offset, inner.least, "elements")
        if inner.item:
            return struct.unpack_from(f"<{count}{inner.item}", data, offset), offset + count * inner.least
        values = []
        for _unused in range(count):
            value, offset = inner.read(data, offset)
            values.append(value)
        return tuple(values), offset

    def write(values: tuple[Any, ...], parts: list[Buffer]) -> None:
        parts.append(COUNT.pack(len(values)))
        if inner.item:
            parts.append(struct.pack(f"<{len(values)}{inner.item}", *values))
            return
        for value in values:
            inner.write(value, parts)

    return Coding(read, write, 8)


Kind = TypeVar("Kind", bound=IntEnum)


def _choice(kinds: type[Kind], types: dict[Kind, tuple[object, ...]], make: Callable[[Kind, Any], Any]) -> Coding:
    """A u32 number, then the fields of that kind; ``make`` gets the kind and the tuple of its fields."""
    codings = {kind: tuple(coding_of(field) for field in types.get(kind, ())) for kind in kinds}

    def read(data: Buffer, offset: int) -> tuple[Any, int]:
        (number,) = NUMBER.unpack_from(data, offset)
        kind = kinds(number)
        details = []
        offset += 4
        for coding in codings[kind]:
            value, offset = coding.read(data, offset)
            details.append(value)
        return make(kind, tuple(details)), offset

    def write(value: Any, parts: list[Buffer]) -> None:
        if len(value.details) != len(codings[value.kind]):
            raise CodecError(f"{value.kind.name} carries {len(codings[value.kind])} details; found {value.details!r}.")
        parts.append(NUMBER.pack(value.kind))
        for coding, detail in zip(codings[value.kind], value.details, strict=True):
            coding.write(detail, parts)

    return Coding(read, write, 4)


def record(cls: type[Any]) -> Coding:
    """The fields of a dataclass, one after the other, in the order in which they are declared."""
    hints = get_type_hints(cls, include_extras=True)
    codings = [(field.name, coding_of(hints[field.name])) for field in fields(cls)]
    readers = [coding.read for _unused, coding in codings]
    writers = [(name, coding.write) for name, coding in codings]

    def read(data: Buffer, offset: int) -> tuple[Any, int]:
        values = []
        for read_field in readers:
            value, offset = read_field(data, offset)
            values.append(value)
        return cls(*values), offset

    def write(value: Any, parts: list[Buffer]) -> None:
        for name, write_field in writers:
            write_field(getattr(value, name), parts)

    return Coding(read, write, sum(coding.least for _unused, coding in codings))


def _read_bulk(data: Buffer, offset: int) -> tuple[Buffer, int]:
    count, offset = counted(data, offset, 1, "bytes of data")
    # The real receiver takes the last bytes of the frame, whatever stands between (read in its source).
    return memoryview(data)[len(data) - count :], len(data)


def _write_bulk(value: Buffer, parts: list[Buffer]) -> None:
    parts += (COUNT.pack(len(value)), value)


_MARKED = {
    Mark.U8: number("B"),
    Mark.U16: number("H"),
    Mark.U32: number("I"),
    Mark.U64: number("Q"),
    Mark.BULK: Coding(_read_bulk, _write_bulk, 8),
}
_PLAIN: dict[object, Coding] = {
    bool: BOOL,
    str: TEXT,
    bytes: BYTES,
    UUID: ID,
    SocketAddress: ADDRESS,
    BlockContexts: BLOCK_CONTEXTS,
    ReadContexts: READ_CONTEXTS,
}


def _result_of(choices: tuple[Any, ...]) -> Coding:
    (value,) = (choice for choice in choices if choice is not CrucibleError)
    return result(None if value is NoneType else coding_of(value))


@cache
def coding_of(kind: Any) -> Coding:
    """The coding of a declared type. Raises TypeError for a type that the wire does not have."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _result_of(get_args(arguments[0])) if arguments[1] is Mark.RESULT else _MARKED[arguments[1]]
    if origin is tuple:
        return vector(coding_of(arguments[0]))
    if origin in (Union, UnionType) and len(arguments) == 2 and arguments[1] is NoneType:
        return option(coding_of(arguments[0]))
    if origin is None and hasattr(kind, "__dataclass_fields__"):
        return record(kind)
    raise TypeError(f"The wire has no type {kind!r}.")


_PLAIN[NegotiationError] = _choice(NegotiationKind, NEGOTIATION_FIELDS, NegotiationError)
ERROR = _PLAIN[CrucibleError] = _choice(ErrorKind, ERROR_FIELDS, CrucibleError)
