# SPDX-License-Identifier: GPL-3.0-or-later
"""The output of a console as it comes in: where we are in the history, what is searched, and the file that keeps it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import TracebackType

from ..failures import shown
from .errors import BadDescription, PropolisError

# How much output is kept for searching. A pattern can only match within so many bytes.
KEPT = 1024 * 1024
TAIL = 2000  # characters of the last output that results and failures carry
_OVERLAP = 64 * 1024  # bytes before new output that are searched again: a match may span what came before


class CaptureFailed(PropolisError):
    """The file that shall keep the output cannot be written."""

    default_code = "capture_failed"


def compile_pattern(text: str) -> re.Pattern[str]:
    """The pattern that is waited for; lines count (``^`` and ``$``). Raises BadDescription."""
    try:
        return re.compile(text, re.MULTILINE)
    except (re.error, RecursionError, OverflowError) as error:
        raise BadDescription(f"expect is {shown(text)}, which is not a regular expression: {error}.") from None


class Output:
    """Bytes of one console in their order; a context manager, because it may hold a file open.

    ``capture`` names a file that gets every byte, made anew with mode 0600: consoles show secrets.
    """

    def __init__(self, pattern: re.Pattern[str] | None, capture: Path | None = None) -> None:
        self._pattern = pattern
        self._path = capture
        self._file: int | None = None
        self._kept = bytearray()
        self._searched = 0
        self.received = 0

    def __enter__(self) -> Output:
        if self._path is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                self._file = os.open(self._path, flags, 0o600)
                os.fchmod(self._file, 0o600)
            except OSError as error:
                raise self._failed(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def add(self, data: bytes) -> None:
        """Take in the next bytes."""
        self.received += len(data)
        self._kept += data
        surplus = len(self._kept) - KEPT
        if surplus > 0:
            del self._kept[:surplus]
            self._searched = max(self._searched - surplus, 0)
        if self._file is None:
            return
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            raise self._failed(error) from error

    def search(self) -> re.Match[str] | None:
        """The first match in what has come in; None when there is none (yet), or no pattern."""
        if self._pattern is None:
            return None
        start = max(self._searched - _OVERLAP, 0)
        # A line that was cut by the window would let ^ match in its middle.
        if start:
            start = self._kept.find(b"\n", start) + 1 or start
        self._searched = len(self._kept)
        return self._pattern.search(bytes(self._kept[start:]).decode(errors="replace"))

    @property
    def tail(self) -> str:
        """The end of what has come in, as text."""
        return bytes(self._kept[-4 * TAIL :]).decode(errors="replace")[-TAIL:]

    def _failed(self, error: OSError) -> CaptureFailed:
        return CaptureFailed(
            f"The console's output cannot be written to {self._path}: {error.strerror}.",
            details={"path": str(self._path)},
        )
