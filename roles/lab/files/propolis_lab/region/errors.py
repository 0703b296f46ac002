# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be wrong with a region; the texts are those of the real program."""

from __future__ import annotations


class RegionError(Exception):
    """A region cannot be made, opened, read or written.

    ``message`` is the line after ``Error: ``; ``cause``, when there is one, is what the real program prints indented
    under ``Caused by:``.
    """

    def __init__(self, message: str, cause: str | None = None) -> None:
        super().__init__(message if cause is None else f"{message}: {cause}")
        self.message = message
        self.cause = cause


class HashMismatch(RegionError):
    """The context that came with a block does not belong to the block's bytes; nothing was written."""


class OutOfBounds(RegionError):
    """Blocks or an extent were named that the region does not have."""


class ReadOnlyRegion(RegionError):
    """Somebody asked to change a region that was opened read-only."""


class ExtentClosed(RegionError):
    """An extent that is closed for repair was read or written."""


class DatabaseUnopened(RegionError):
    """The database of a 2023 extent cannot be opened; the real program writes this to its log too."""


def os_error_text(error: OSError) -> str:
    """``No such file or directory (os error 2)``: an operating system error as the real programs show it."""
    return f"{error.strerror} (os error {error.errno})"


def quoted(path: object) -> str:
    """A path between double quotes, with what would end them escaped."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
