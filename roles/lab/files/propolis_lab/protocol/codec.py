# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole messages to frames and back. A frame is a u32 length that counts itself, a u32 tag, and the fields."""

from __future__ import annotations

import struct

from .basics import Buffer
from .coding import record
from .errors import CodecError, ShortLengthError
from .messages import MESSAGES, Message
from .primitives import NUMBER

MAX_FRAME = 100 * 1024 * 1024
"""Frames that say that they are longer are refused by both sides (seen), here before anything is made for them."""

__all__ = ["MAX_FRAME", "CodecError", "ShortLengthError", "decode", "encode", "encode_parts", "frame_length"]

_CODINGS = {tag: record(cls) for tag, cls in MESSAGES.items()}
_HEAD = struct.Struct("<II")


def frame_length(prefix: Buffer) -> int:
    """The length of the frame that begins with these 4 bytes, the 4 included.

    Raises ShortLengthError below 4, CodecError below 8 (there is no room for a tag) and above MAX_FRAME.
    """
    (length,) = NUMBER.unpack_from(prefix)
    if length < 4:
        raise ShortLengthError(f"The length of a frame counts its own 4 bytes; found {length}.")
    if length < 8:
        raise CodecError(f"A frame has at least 8 bytes (length and tag); found a length of {length}.")
    if length > MAX_FRAME:
        raise CodecError(f"frame is {length} bytes, more than maximum {MAX_FRAME}")  # the real program's words
    return int(length)


def decode(body: Buffer) -> Message:
    """The message in the bytes of a frame after its length.

    Bulk data in it is a view of ``body``, not a copy. Bytes after the last field are ignored, as the real programs do.
    Raises CodecError for anything that is not a message.
    """
    try:
        (tag,) = NUMBER.unpack_from(body)
        coding = _CODINGS.get(tag)
        if coding is None:
            raise CodecError(f"The tag of a message must be one of 0 to {max(_CODINGS)}; found {tag}.")
        message: Message = coding.read(body, 4)[0]
    except CodecError:
        raise
    except (struct.error, IndexError) as error:
        raise CodecError(f"The frame of {len(body)} bytes ends inside its message: {error}.") from error
    except ValueError as error:  # an enum number or a text that does not exist
        raise CodecError(f"A field of the message can't be read: {error}.") from error
    return message


def encode_parts(message: Message) -> list[Buffer]:
    """The frame of a message as head and, apart so that it needs no copy, its bulk data if it has any.

    Raises CodecError for a message whose fields don't fit the wire.
    """
    parts: list[Buffer] = []
    try:
        _CODINGS[message.tag].write(message, parts)
        bulk = parts.pop() if hasattr(message, "data") else b""
        fields = b"".join(parts)
        size = 8 + len(fields) + len(bulk)
        head = _HEAD.pack(size, message.tag) + fields
    except (struct.error, TypeError, AttributeError, KeyError) as error:
        raise CodecError(f"{type(message).__name__} can't be sent: {error}.") from error
    if size > MAX_FRAME:
        raise CodecError(f"{type(message).__name__} takes {size} bytes; a frame has at most {MAX_FRAME}.")
    return [head, bulk] if len(bulk) else [head]


def encode(message: Message) -> bytes:
    """The whole frame of a message, its length included. Raises CodecError as ``encode_parts``."""
    return b"".join(encode_parts(message))
