# SPDX-License-Identifier: GPL-3.0-or-later
"""The codings of block contexts, apart because a megabyte of small blocks brings two thousand of them.

A context of a write is hash u64 and an option of nonce and tag; one of a read is a u32 (0 empty, 1 encrypted, 2 plain),
then nonce and tag without a hash, or the hash (seen on the wire).
"""

from __future__ import annotations

import struct

from propolis_lab.region.context import PlainContexts, put_columns, take_columns

from .basics import (
    EMPTY,
    BlockContext,
    BlockContexts,
    Buffer,
    EmptyContext,
    EncryptedContext,
    EncryptionContext,
    ReadContext,
    ReadContexts,
    UnencryptedContext,
)
from .errors import CodecError
from .primitives import COUNT, NUMBER, Coding, counted

_HASH = struct.Struct("<QB")
_NONCE_TAG = struct.Struct("<12s16s")
_ENCRYPTED_BLOCK = struct.Struct("<QB12s16s")


def _read_block_contexts(data: Buffer, offset: int) -> tuple[BlockContexts, int]:
    count, offset = counted(data, offset, _HASH.size, "block contexts")
    end = offset + count * _HASH.size
    rows = bytes(data[offset:end])
    if rows[8 :: _HASH.size] == bytes(count):  # all plain: the usual case, worth a short cut
        return PlainContexts(take_columns(rows, _HASH.size, 0), BlockContext), end
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


def _write_block_contexts(contexts: BlockContexts, parts: list[Buffer]) -> None:
    parts.append(COUNT.pack(len(contexts)))
    if isinstance(contexts, PlainContexts):
        rows = bytearray(_HASH.size * len(contexts))
        put_columns(rows, _HASH.size, 0, contexts.packed)
        parts.append(rows)
        return
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


def _read_read_contexts(data: Buffer, offset: int) -> tuple[ReadContexts, int]:
    count, offset = counted(data, offset, 4, "read contexts")
    end = offset + count * _PLAIN_READ.size
    if count and end <= len(data):
        rows = bytes(data[offset:end])
        kinds = (b"\2" * count, bytes(count), bytes(count), bytes(count))
        if all(rows[byte :: _PLAIN_READ.size] == kind for byte, kind in enumerate(kinds)):
            return PlainContexts(take_columns(rows, _PLAIN_READ.size, 4), UnencryptedContext), end
    if bytes(data[offset : offset + 4 * count]) == bytes(4 * count):
        return (EMPTY,) * count, offset + 4 * count
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


def _write_read_contexts(contexts: ReadContexts, parts: list[Buffer]) -> None:
    parts.append(COUNT.pack(len(contexts)))
    if isinstance(contexts, PlainContexts):
        rows = bytearray(_PLAIN_READ.size * len(contexts))
        rows[0 :: _PLAIN_READ.size] = b"\2" * len(contexts)
        put_columns(rows, _PLAIN_READ.size, 4, contexts.packed)
        parts.append(rows)
        return
    for context in contexts:
        if isinstance(context, UnencryptedContext):
            parts.append(_PLAIN_READ.pack(2, context.hash))
        elif isinstance(context, EmptyContext):
            parts.append(b"\0\0\0\0")
        else:
            parts.append(_ENCRYPTED_READ.pack(1, *_fitting(context.nonce, context.tag)))


BLOCK_CONTEXTS = Coding(_read_block_contexts, _write_block_contexts, 8)
READ_CONTEXTS = Coding(_read_read_contexts, _write_read_contexts, 8)
