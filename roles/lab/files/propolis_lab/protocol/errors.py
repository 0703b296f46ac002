# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors that travel inside messages (numbers as read in the real program's source), and the codec's own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias
from uuid import UUID

from .basics import U32, U64


class CodecError(ValueError):
    """Bytes that are not a frame of the protocol, or a message that cannot become one."""


class ShortLengthError(CodecError):
    """A frame length of 0 to 3, less than the length field itself: a real downstairs aborts on it (seen)."""


class ErrorKind(IntEnum):
    """The variants of a CrucibleError in the order of their wire numbers."""

    GENERIC_ERROR = 0
    IO_ERROR = 1
    UNSUPPORTED = 2
    DISCONNECT = 3
    DATA_LOCK_ERROR = 4
    RW_LOCK_ERROR = 5
    RECV_DISCONNECTED = 6
    SEND_ERROR = 7
    OFFSET_UNALIGNED = 8
    DATA_LEN_UNALIGNED = 9
    BLOCK_SIZE_MISMATCH = 10
    INVALID_NUMBER_OF_BLOCKS = 11
    OFFSET_INVALID = 12
    UPSTAIRS_ACTIVATE_IN_PROGRESS = 13
    UPSTAIRS_DEACTIVATING = 14
    UPSTAIRS_INACTIVE = 15
    UUID_MISMATCH = 16
    ENCRYPTION_ERROR = 17
    DECRYPTION_ERROR = 18
    HASH_MISMATCH = 19
    LBA_RANGE_OVERLAP = 20
    SUBVOLUME_SIZE_MISMATCH = 21
    SUBVOLUME_TYPE_MISMATCH = 22
    CANNOT_SERVE_BLOCKS = 23
    CANNOT_RECEIVE_BLOCKS = 24
    SNAPSHOT_FAILED = 25
    MODIFYING_READ_ONLY_REGION = 26
    INVALID_EXTENT = 27
    REPAIR_REQUEST_ERROR = 28
    REPAIR_FILES_INVALID = 29
    REPAIR_STREAM_ERROR = 30
    GENERATION_NUMBER_INVALID = 31
    NO_LONGER_ACTIVE = 32
    REGION_ASSEMBLE_ERROR = 33
    PROPERTY_NOT_AVAILABLE = 34
    REPLACE_REQUEST_INVALID = 35
    MISSING_CONTEXT_SLOT = 36
    BAD_METADATA = 37
    BAD_CONTEXT_SLOT = 38
    MISSING_BLOCK_CONTEXT = 39
    REGION_INCOMPATIBLE = 40
    NEGOTIATION_ERROR = 41


class NegotiationKind(IntEnum):
    """The variants of a NegotiationError in the order of their wire numbers."""

    OUT_OF_ORDER = 0
    GENERATION_ZERO_IS_ILLEGAL = 1
    GENERATION_NUMBER_TOO_LOW = 2
    INCOMPATIBLE_VERSION = 3
    ENCRYPTION_MISMATCH = 4
    READ_ONLY_MISMATCH = 5
    UPSTAIRS_ID_MISMATCH = 6
    SESSION_ID_MISMATCH = 7


@dataclass(frozen=True, slots=True)
class NegotiationError:
    """Why a negotiation failed. ``details`` are (requested, actual) or (expected, actual) where the kind has them."""

    kind: NegotiationKind
    details: tuple[int | bool | UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class CrucibleError:
    """An error as it travels: its kind and what the kind carries (a text, block and extent, or a NegotiationError)."""

    kind: ErrorKind
    details: tuple[str | int | NegotiationError, ...] = ()

    def __str__(self) -> str:
        name = self.kind.name.replace("_", " ").capitalize()
        return f"{name}: {', '.join(str(detail) for detail in self.details)}" if self.details else name


FieldTypes: TypeAlias = tuple[object, ...]

NEGOTIATION_FIELDS: dict[NegotiationKind, FieldTypes] = {
    NegotiationKind.GENERATION_NUMBER_TOO_LOW: (U64, U64),
    NegotiationKind.INCOMPATIBLE_VERSION: (U32, U32),
    NegotiationKind.ENCRYPTION_MISMATCH: (bool, bool),
    NegotiationKind.READ_ONLY_MISMATCH: (bool, bool),
    NegotiationKind.UPSTAIRS_ID_MISMATCH: (UUID, UUID),
    NegotiationKind.SESSION_ID_MISMATCH: (UUID, UUID),
}
"""What follows the number of a NegotiationError; nothing for kinds that are not listed."""

_WITH_TEXT = (0, 1, 2, 5, 7, 11, 17, 23, 24, 25, 28, 29, 30, 34, 35, 37, 38, 40)
ERROR_FIELDS: dict[ErrorKind, FieldTypes] = {
    **{ErrorKind(number): (str,) for number in _WITH_TEXT},
    ErrorKind.MISSING_CONTEXT_SLOT: (U64, U32),
    ErrorKind.NEGOTIATION_ERROR: (NegotiationError,),
}
"""What follows the number of a CrucibleError; nothing for kinds that are not listed."""
