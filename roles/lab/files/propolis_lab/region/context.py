# SPDX-License-Identifier: GPL-3.0-or-later
"""Block contexts, their hashes and the 48-byte slots that hold them in raw extents.

Hash everywhere: XXH64 with seed 0. Of an unencrypted block it is taken over the block, of an encrypted one over nonce,
tag and ciphertext. A slot (little-endian, zero filled): u8 1 = present; u64 hash; u8 1 = encrypted, then nonce (12)
and tag (16); u64 hash of the stored bytes; u16 low bits of the extent's last flush number. Seen on the real program.
"""

from __future__ import annotations

import operator
import struct
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, overload

from xxhash import xxh64_intdigest

from propolis_lab.region.errors import HashMismatch
from propolis_lab.region.files import Buffer

SLOT_SIZE = 48
NONCE_SIZE = 12
TAG_SIZE = 16
_PLAIN = struct.Struct("<BQBQH28x")
_ENCRYPTED = struct.Struct("<BQB12s16sQH")
_HASH_AT = 1
_ENCRYPTED_AT = 9
_PLAIN_STORED_HASH_AT = 10
_FLUSH_AT = 18
_EMPTY = bytes(SLOT_SIZE)


@dataclass(frozen=True, slots=True)
class BlockContext:
    """What the upstairs knows about one block: ``hash`` (u64) and, when encrypted, nonce (12 bytes) and tag (16)."""

    hash: int
    encryption: tuple[bytes, bytes] | None = None


Context = TypeVar("Context")


class PlainContexts(Sequence[Context], Generic[Context]):
    """The contexts of unencrypted blocks, kept as their hashes alone; each is made when it is asked for.

    ``packed`` is 8 bytes for each block, little-endian; ``make`` makes a context of a hash. A megabyte of small blocks
    has two thousand contexts that nobody looks at one by one.
    """

    __slots__ = ("make", "packed")

    def __init__(self, packed: bytes, make: Callable[[int], Context]) -> None:
        self.packed = packed
        self.make = make

    @classmethod
    def of(cls, hashes: Sequence[int], make: Callable[[int], Context]) -> PlainContexts[Context]:
        return cls(pack_hashes(hashes), make)

    def __len__(self) -> int:
        return len(self.packed) // 8

    @overload
    def __getitem__(self, index: int) -> Context: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Context]: ...

    def __getitem__(self, index: int | slice) -> Context | Sequence[Context]:
        if isinstance(index, slice):
            first, after, step = index.indices(len(self))
            if step == 1:
                return PlainContexts(self.packed[8 * first : 8 * max(first, after)], self.make)
            return tuple(self[number] for number in range(first, after, step))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        at = 8 * (index % len(self))
        return self.make(int.from_bytes(self.packed[at : at + 8], "little"))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PlainContexts) and other.make is self.make:
            return self.packed == other.packed
        return isinstance(other, Sequence) and len(other) == len(self) and all(map(operator.eq, self, other))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def pack_hashes(hashes: Sequence[int]) -> bytes:
    """8 bytes each, little-endian."""
    column = array("Q", hashes)
    if not _LITTLE_ENDIAN:
        column.byteswap()
    return column.tobytes()


def take_columns(rows: bytes, row: int, first: int) -> bytes:
    """The 8 bytes from ``first`` on of each row of ``row`` bytes, byte by byte of all rows at once."""
    packed = bytearray(len(rows) // row * 8)
    for byte in range(8):
        packed[byte::8] = rows[first + byte :: row]
    return bytes(packed)


def put_columns(rows: bytearray, row: int, first: int, packed: bytes) -> None:
    """The reverse of ``take_columns``."""
    for byte in range(8):
        rows[first + byte :: row] = packed[byte::8]


@dataclass(frozen=True, slots=True)
class Slot:
    """A present context slot: the context and the hash of the bytes that it was written with."""

    context: BlockContext
    stored_hash: int


def block_hashes(data: Buffer, block_size: int) -> list[int]:
    """The hash of each block's bytes."""
    view = memoryview(data)
    return [xxh64_intdigest(view[at : at + block_size]) for at in range(0, len(view), block_size)]


def context_of(data: Buffer) -> BlockContext:
    """The context of one unencrypted block."""
    return BlockContext(xxh64_intdigest(data))


def check_contexts(contexts: Sequence[BlockContext], data: Buffer, block_size: int) -> list[int]:
    """The hashes of the blocks' bytes, after each context was held against its block.

    Raises HashMismatch when one does not belong to its block.
    """
    stored = block_hashes(data, block_size)
    if isinstance(contexts, PlainContexts) and contexts.packed == pack_hashes(stored):
        return stored
    view = memoryview(data)
    for index, (context, stored_hash) in enumerate(zip(contexts, stored, strict=True)):
        expected = stored_hash
        if context.encryption is not None:
            nonce, tag = context.encryption
            block = view[index * block_size : (index + 1) * block_size]
            expected = xxh64_intdigest(b"".join((nonce, tag, block)))
        if context.hash != expected:
            raise HashMismatch(
                f"hash mismatch in block {index} of the write: {context.hash:016x} is not {expected:016x}"
            )
    return stored


def pack_slots(contexts: Sequence[BlockContext], stored_hashes: Sequence[int], flush_number: int) -> bytes:
    """The slots of consecutive blocks."""
    flush_id = flush_number & 0xFFFF
    if isinstance(contexts, PlainContexts) or all(context.encryption is None for context in contexts):
        return pack_plain_slots(stored_hashes, flush_number)
    parts = []
    for context, stored in zip(contexts, stored_hashes, strict=True):
        if context.encryption is None:
            parts.append(_PLAIN.pack(1, context.hash, 0, stored, flush_id))
        else:
            parts.append(_ENCRYPTED.pack(1, context.hash, 1, *context.encryption, stored, flush_id))
    return b"".join(parts)


def pack_plain_slots(hashes: Sequence[int], flush_number: int) -> bytes:
    """The slots of unencrypted blocks, whose two hashes are the same.

    Byte k of all slots is set in one step: an import writes millions of them.
    """
    slots = bytearray(SLOT_SIZE * len(hashes))
    packed = pack_hashes(hashes)
    slots[0::SLOT_SIZE] = b"\x01" * len(hashes)
    put_columns(slots, SLOT_SIZE, _HASH_AT, packed)
    put_columns(slots, SLOT_SIZE, _PLAIN_STORED_HASH_AT, packed)
    low, high = (flush_number & 0xFFFF).to_bytes(2, "little")
    if low or high:
        slots[_FLUSH_AT::SLOT_SIZE] = bytes([low]) * len(hashes)
        slots[_FLUSH_AT + 1 :: SLOT_SIZE] = bytes([high]) * len(hashes)
    return bytes(slots)


def unpack_slot(slot: Buffer) -> Slot | None:
    """One slot; None when it is empty. Raises ValueError when its bytes mean nothing."""
    if slot[0] == 0:
        return None
    if slot[0] != 1 or slot[_ENCRYPTED_AT] > 1:
        raise ValueError(f"a context slot has the marks {slot[0]} and {slot[_ENCRYPTED_AT]}, where 0 or 1 belong")
    if slot[_ENCRYPTED_AT]:
        _unused, hash_, _unused, nonce, tag, stored, _unused = _ENCRYPTED.unpack(slot)
        return Slot(BlockContext(hash_, (nonce, tag)), stored)
    _unused, hash_, _unused, stored, _unused = _PLAIN.unpack(slot)
    return Slot(BlockContext(hash_), stored)


def unpack_slots(slots: Buffer) -> list[Slot | None]:
    """The slots of consecutive blocks."""
    view = memoryview(slots)
    return [unpack_slot(view[at : at + SLOT_SIZE]) for at in range(0, len(view), SLOT_SIZE)]


def contexts_in(slots: bytes) -> Sequence[BlockContext | None]:
    """The contexts of consecutive blocks; None where a slot is empty."""
    if not any(slots[0::SLOT_SIZE]):
        return [None] * (len(slots) // SLOT_SIZE)
    if _all_plain(slots):
        return PlainContexts(take_columns(slots, SLOT_SIZE, _HASH_AT), BlockContext)
    return [None if slot is None else slot.context for slot in unpack_slots(slots)]


def plain_stored_hashes(slots: bytes) -> bytes | None:
    """The hashes of stored bytes, 8 bytes each, when all slots are present and unencrypted; None otherwise."""
    return take_columns(slots, SLOT_SIZE, _PLAIN_STORED_HASH_AT) if _all_plain(slots) else None


def _all_plain(slots: bytes) -> bool:
    count = len(slots) // SLOT_SIZE
    return slots[0::SLOT_SIZE] == b"\x01" * count and slots[_ENCRYPTED_AT::SLOT_SIZE] == bytes(count)


_LITTLE_ENDIAN = array("H", [1]).tobytes() == b"\x01\x00"
