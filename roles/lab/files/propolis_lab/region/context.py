# SPDX-License-Identifier: GPL-3.0-or-later
"""Block contexts, their hashes and the 48-byte slots that hold them in raw extents.

Hash everywhere: XXH64 with seed 0. Of an unencrypted block it is taken over the block, of an encrypted one over nonce,
tag and ciphertext. A slot (little-endian, zero filled): u8 1 = present; u64 hash; u8 1 = encrypted, then nonce (12)
and tag (16); u64 hash of the stored bytes; u16 low bits of the extent's last flush number. Seen on the real program.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

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
    if all(context.encryption is None for context in contexts):
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
    column = array("Q", hashes)
    packed = column.tobytes() if _LITTLE_ENDIAN else _swapped(column)
    slots[0::SLOT_SIZE] = b"\x01" * len(hashes)
    for byte in range(8):
        slots[_HASH_AT + byte :: SLOT_SIZE] = packed[byte::8]
        slots[_PLAIN_STORED_HASH_AT + byte :: SLOT_SIZE] = packed[byte::8]
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


def contexts_in(slots: Buffer) -> list[BlockContext | None]:
    """The contexts of consecutive blocks; None where a slot is empty."""
    if not any(slots[0::SLOT_SIZE]):
        return [None] * (len(slots) // SLOT_SIZE)
    return [None if slot is None else slot.context for slot in unpack_slots(slots)]


def plain_stored_hashes(slots: bytes) -> bytes | None:
    """The hashes of stored bytes, 8 bytes each, when all slots are present and unencrypted; None otherwise."""
    count = len(slots) // SLOT_SIZE
    if slots[0::SLOT_SIZE] != b"\x01" * count or any(slots[_ENCRYPTED_AT::SLOT_SIZE]):
        return None
    packed = bytearray(8 * count)
    for byte in range(8):
        packed[byte::8] = slots[_PLAIN_STORED_HASH_AT + byte :: SLOT_SIZE]
    return bytes(packed)


def _swapped(column: array[int]) -> bytes:
    column.byteswap()
    return column.tobytes()


_LITTLE_ENDIAN = array("H", [1]).tobytes() == b"\x01\x00"
