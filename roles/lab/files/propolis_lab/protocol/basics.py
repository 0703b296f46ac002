# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of the basic types of the wire, with which the fields of messages are declared.

All integers are little-endian and of fixed width (seen on the real program). How each type becomes bytes stands in
``coding.py``; here are only the marks by which it is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, NamedTuple, TypeAlias

from propolis_lab.region.context import BlockContext  # what is stored beside a block travels as it is

__all__ = [
    "EMPTY",
    "MESSAGE_VERSION",
    "U8",
    "U16",
    "U32",
    "U64",
    "BlockContext",
    "BlockContexts",
    "Buffer",
    "Bulk",
    "EmptyContext",
    "EncryptedContext",
    "EncryptionContext",
    "Mark",
    "ReadContext",
    "ReadContexts",
    "SocketAddress",
    "UnencryptedContext",
]

MESSAGE_VERSION = 13
"""The version that today's programs speak, and the only one that they accept."""


class Mark(Enum):
    """Tells apart wire types that are one type in Python."""

    U8 = auto()
    U16 = auto()
    U32 = auto()
    U64 = auto()
    BULK = auto()  # u64 length, then the last bytes of the frame
    RESULT = auto()  # u32 0 and the value, or u32 1 and the error


U8: TypeAlias = Annotated[int, Mark.U8]
U16: TypeAlias = Annotated[int, Mark.U16]
U32: TypeAlias = Annotated[int, Mark.U32]
U64: TypeAlias = Annotated[int, Mark.U64]
Buffer: TypeAlias = bytes | bytearray | memoryview
Bulk: TypeAlias = Annotated[Buffer, Mark.BULK]


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """An IP address and a port, for instance where a downstairs serves its extents for repair."""

    ip: IPv4Address | IPv6Address
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if self.ip.version == 6 else f"{self.ip}:{self.port}"


class EncryptionContext(NamedTuple):
    """What decrypting one block takes besides the key: nonce (12 bytes) and tag (16 bytes)."""

    nonce: bytes
    tag: bytes


@dataclass(frozen=True, slots=True)
class EmptyContext:
    """The answer about a block that was never written; its data is zeros."""


@dataclass(frozen=True, slots=True)
class EncryptedContext:
    """The answer about an encrypted block: nonce and tag, and no hash."""

    nonce: bytes
    tag: bytes


@dataclass(frozen=True, slots=True)
class UnencryptedContext:
    """The answer about a plain block: XXH64 of its bytes."""

    hash: int


ReadContext: TypeAlias = EmptyContext | EncryptedContext | UnencryptedContext
BlockContexts: TypeAlias = Sequence[BlockContext]
ReadContexts: TypeAlias = Sequence[ReadContext]
EMPTY = EmptyContext()
