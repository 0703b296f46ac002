# SPDX-License-Identifier: GPL-3.0-or-later
"""Cuts the bytes of a connection into frames, without any input or output of its own.

Small frames are cut out of one chunk that is used again and again; the bytes of a large one are received straight into
the buffer in which they stay. A length beyond the limit is refused before anything is made for it.
"""

from __future__ import annotations

from .basics import Buffer
from .codec import frame_length
from .errors import CodecError

CHUNK = 256 * 1024


class FrameCutter:
    """Give received bytes to ``space()``, say how many with ``advance()``, and get the frames that are complete."""

    def __init__(self) -> None:
        self._chunk = memoryview(bytearray(CHUNK))
        self._start = 0
        self._end = 0
        self._large: memoryview | None = None
        self._filled = 0
        self.error: CodecError | None = None
        """Set once by bytes that can't be a frame; there are no frames after it."""

    @property
    def partial(self) -> bool:
        """Whether bytes of a frame that is not complete are here."""
        return self._large is not None or self._end > self._start

    def space(self) -> memoryview:
        """Where the next received bytes must be put; never empty."""
        if self._large is not None:
            return self._large[self._filled :]
        return self._chunk[self._end :]

    def advance(self, count: int) -> list[Buffer]:
        """Take ``count`` bytes that were put into ``space()``; gives each complete frame without its length field."""
        if self._large is not None:
            self._filled += count
            if self._filled < len(self._large):
                return []
            body, self._large = self._large, None
            return [body]
        self._end += count
        bodies: list[Buffer] = []
        try:
            while self._end - self._start >= 4:
                length = frame_length(self._chunk[self._start : self._start + 4])
                if self._end - self._start < length:
                    self._make_room(length)
                    return bodies
                bodies.append(bytes(self._chunk[self._start + 4 : self._start + length]))
                self._start += length
        except CodecError as error:
            self.error = error
        self._make_room(4)
        return bodies

    def _make_room(self, length: int) -> None:
        """Let the frame of ``length`` bytes that begins at the start of what is left go on somewhere."""
        rest = self._end - self._start
        if length > CHUNK:
            self._large = memoryview(bytearray(length - 4))
            self._large[: rest - 4] = self._chunk[self._start + 4 : self._end]
            self._filled = rest - 4
            rest = 0
        elif self._start and rest:
            self._chunk[:rest] = bytes(self._chunk[self._start : self._end])
        self._start, self._end = 0, rest
