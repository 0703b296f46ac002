# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to blocks on their way to and from the downstairs: hashing, and AES-256-GCM-SIV when there is a key.

One encrypted message per block: 12 random bytes of nonce, no associated data, the tag of 16 bytes kept apart from the
ciphertext, which is as long as the block. The hash is XXH64 of the block, or of nonce, tag and ciphertext (all seen).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from xxhash import xxh64_intdigest

from ..protocol.basics import (
    EMPTY,
    BlockContext,
    Buffer,
    EmptyContext,
    EncryptedContext,
    EncryptionContext,
    ReadContext,
    UnencryptedContext,
)
from ..region.context import PlainContexts, block_hashes, pack_hashes

NONCE_BYTES = 12
TAG_BYTES = 16


class SpoiltDataError(Exception):
    """Blocks that are not what was written: a wrong hash, a context of the wrong kind, or data that can't be decrypted.

    ``decryption`` tells the last of these, which a wrong key gives, from the others.
    """

    def __init__(self, text: str, *, decryption: bool = False) -> None:
        super().__init__(text)
        self.decryption = decryption


@dataclass(frozen=True)
class Sealed:
    """Blocks as the downstairs store them: one context per block, and the data."""

    contexts: Sequence[BlockContext]
    data: bytes


class Seal:
    """Seals and opens blocks of ``block_size`` bytes; encrypts when there is a key."""

    def __init__(
        self,
        block_size: int,
        key: bytes | None = None,
        nonces: Callable[[], bytes] = lambda: os.urandom(NONCE_BYTES),
    ) -> None:
        self._size = block_size
        self._cipher = AESGCMSIV(key) if key is not None else None
        self._nonces = nonces
        self._empty = bytes(block_size)

    def close(self, data: bytes) -> Sealed:
        """Whole blocks of plain bytes, sealed."""
        size, view = self._size, memoryview(data)
        if self._cipher is None:
            return Sealed(PlainContexts.of(block_hashes(view, size), BlockContext), data)
        contexts, pieces = [], []
        for at in range(0, len(data), size):
            nonce = self._nonces()
            secret = self._cipher.encrypt(nonce, view[at : at + size], None)
            text, tag = secret[:size], secret[size:]
            contexts.append(BlockContext(xxh64_intdigest(nonce + tag + text), EncryptionContext(nonce, tag)))
            pieces.append(text)
        return Sealed(tuple(contexts), b"".join(pieces))

    def open(self, contexts: Sequence[ReadContext], data: Buffer) -> bytes:
        """The plain bytes of what a downstairs sent for ``len(contexts)`` blocks. Raises SpoiltDataError."""
        size, view = self._size, memoryview(data)
        if len(view) != len(contexts) * size:
            raise SpoiltDataError(f"{len(contexts)} blocks of {size} bytes expected; found {len(view)} bytes of data")
        if self._cipher is None:
            plain = bytes(view)
            if isinstance(contexts, PlainContexts):
                good = contexts.packed == pack_hashes(block_hashes(view, size))
            else:
                good = contexts.count(EMPTY) == len(contexts) and plain == bytes(len(plain))
            if not good:
                self._check_plain(contexts, view)
            return plain
        return b"".join(
            self._decrypt(number, context, view[number * size : (number + 1) * size])
            for number, context in enumerate(contexts)
        )

    def _check_plain(self, contexts: Sequence[ReadContext], view: memoryview) -> None:
        for number, (context, value) in enumerate(zip(contexts, block_hashes(view, self._size), strict=True)):
            if not isinstance(context, UnencryptedContext):
                self._check_empty(number, context, view[number * self._size : (number + 1) * self._size])
            elif context.hash != value:
                raise SpoiltDataError(f"the hash of block {number} of the answer does not fit its data")

    def _decrypt(self, number: int, context: ReadContext, block: memoryview) -> bytes:
        if not isinstance(context, EncryptedContext):
            self._check_empty(number, context, block)
            return self._empty
        assert self._cipher is not None  # noqa: S101 -- only called when there is a key
        try:
            return self._cipher.decrypt(context.nonce, bytes(block) + context.tag, None)
        except InvalidTag:
            text = f"block {number} of the answer can't be decrypted with the volume's key"
            raise SpoiltDataError(text, decryption=True) from None

    def _check_empty(self, number: int, context: ReadContext, block: memoryview) -> None:
        if not isinstance(context, EmptyContext):
            found = "encrypted" if isinstance(context, EncryptedContext) else "not encrypted"
            raise SpoiltDataError(f"block {number} of the answer is {found}, which the volume is not")
        if block != self._empty:
            raise SpoiltDataError(f"block {number} of the answer holds data but was never written")


def written(contexts: Sequence[ReadContext]) -> list[bool]:
    """Which of the blocks were ever written."""
    if isinstance(contexts, PlainContexts):
        return [True] * len(contexts)
    return [context is not EMPTY and not isinstance(context, EmptyContext) for context in contexts]
