# SPDX-License-Identifier: GPL-3.0-or-later
"""The codings of block contexts, apart because a megabyte of small blocks brings two thousand of them.

A context of a write is hash u64 and an option of nonce and tag; one of a read is a u32 (0 empty, 1 encrypted, 2 plain),
then nonce and tag without a hash, or the hash (seen on the wire).
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from itertools import repeat
from typing import TypeVar

from .basics import (
    EMPTY,
    BlockContext,
    Buffer,
    EmptyContext,
    EncryptedContext,
    EncryptionContext,
    ReadContext,
    UnencryptedContext,
)
from .errors import CodecError
from .primitives import COUNT, NUMBER, Coding, counted

_HASH = struct.Struct("<QB")
Made = TypeVar("Made", BlockContext, UnencryptedContext)


def plain_contexts(cls: type[Made], hashes: Sequence[int]) -> list[Made]:
    """Contexts that hold a hash and nothing else.

    A frozen dataclass spends most of its making on asking whether it may set its fields; for the thousands of contexts
    of a large frame they are set directly, in a third of the time.
    """
    made = list(map(cls.__new__, repeat(cls, len(hashes))))
    deque(map(vars(cls)["hash"].__set__, made, hashes), 0)
    if cls is BlockContext:
        deque(map(vars(cls)["encryption"].__set__, made, repeat(None)), 0)
    return made


_NONCE_TAG = struct.Struct("<12s16s")
_ENCRYPTED_BLOCK = struct.Struct("<QB12s16s")


def _read_block_contexts(data: Buffer, offset: int) -> tuple[tuple[BlockContext, ...], int]:
    count, offset = counted(data, offset, _HASH.size, "block contexts")
    end = offset + count * _HASH.size
    if not any(data[offset + 8 : end : _HASH.size]):  # all plain: the usual case, worth a short cut
        return tuple(
            plain_contexts(BlockContext, [value for value, _unused in _HASH.iter_unpack(data[offset:end])])
        ), end
    contexts = []
    for _unused in range(count):
        value, encrypted = _HASH.unpack_from(data, offset)
        offset += _HASH.size
        if encrypted > 1:
            raise CodecError(f"An option must be 0 or 1; found {encrypted}.")
        if encrypted:
            contexts.append(BlockContext(value, EncryptionContext(*_NONCE_TAG.unpack_from(data, offset))))
            offset += _NONCE_TAG.size
        else:
            contexts.append(BlockContext(value))
    return tuple(contexts), offset


def _write_block_contexts(contexts: tuple[BlockContext, ...], parts: list[Buffer]) -> None:
    parts.append(COUNT.pack(len(contexts)))
    for context in contexts:
        if context.encryption is None:
            parts.append(_HASH.pack(context.hash, 0))
        else:
            parts.append(_ENCRYPTED_BLOCK.pack(context.hash, 1, *_fitting(*context.encryption)))


def _fitting(nonce: bytes, tag: bytes) -> tuple[bytes, bytes]:
    if (len(nonce), len(tag)) != (12, 16):
        raise CodecError(f"A nonce has 12 bytes and a tag 16; found {len(nonce)} and {len(tag)}.")
    return nonce, tag


_PLAIN_READ = struct.Struct("<IQ")
_ENCRYPTED_READ = struct.Struct("<I12s16s")


def _read_read_contexts(data: Buffer, offset: int) -> tuple[tuple[ReadContext, ...], int]:
    count, offset = counted(data, offset, 4, "read contexts")
    end = offset + count * _PLAIN_READ.size
    if count and end <= len(data) and bytes(data[offset : end : _PLAIN_READ.size]) == b"\2" * count:
        kinds, hashes = zip(*_PLAIN_READ.iter_unpack(data[offset:end]), strict=True)
        if kinds == (2,) * count:
            return tuple(plain_contexts(UnencryptedContext, hashes)), end
    contexts: list[ReadContext] = []
    for _unused in range(count):
        (kind,) = NUMBER.unpack_from(data, offset)
        if kind == 0:
            contexts.append(EMPTY)
            offset += 4
        elif kind == 1:
            contexts.append(EncryptedContext(*_NONCE_TAG.unpack_from(data, offset + 4)))
            offset += _ENCRYPTED_READ.size
        elif kind == 2:
            contexts.append(UnencryptedContext(COUNT.unpack_from(data, offset + 4)[0]))
            offset += _PLAIN_READ.size
        else:
            raise CodecError(f"The kind of a read context must be 0, 1 or 2; found {kind}.")
    return tuple(contexts), offset


def _write_read_contexts(contexts: tuple[ReadContext, ...], parts: list[Buffer]) -> None:
    parts.append(COUNT.pack(len(contexts)))
    for context in contexts:
        if isinstance(context, UnencryptedContext):
            parts.append(_PLAIN_READ.pack(2, context.hash))
        elif isinstance(context, EmptyContext):
            parts.append(b"\0\0\0\0")
        else:
            parts.append(_ENCRYPTED_READ.pack(1, *_fitting(context.nonce, context.tag)))


BLOCK_CONTEXTS = Coding(_read_block_contexts, _write_block_contexts, 8)
READ_CONTEXTS = Coding(_read_read_contexts, _write_read_contexts, 8)
