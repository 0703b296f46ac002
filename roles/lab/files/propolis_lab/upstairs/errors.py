# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors that an upstairs hands to whoever reads and writes through it."""

from __future__ import annotations


class UpstairsError(Exception):
    """Base of them all.

    ``real`` is the text that the real upstairs gives where that differs; ``panics`` says that it aborts instead.
    """

    def __init__(self, text: str, *, real: str | None = None, panics: bool = False) -> None:
        super().__init__(text)
        self.real = text if real is None else real
        self.panics = panics


class RequestError(UpstairsError):
    """A volume construction request that nothing can be built from."""


class ActivationError(UpstairsError):
    """An activation that cannot succeed. Whoever wants the volume must activate again, with other values."""


class IoError(UpstairsError):
    """A read, write or flush that failed, or that was refused because the upstairs is not active."""


class ReplaceError(UpstairsError):
    """A replacement of a volume construction request that is not allowed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Invalid downstairs replace {reason}")


NOT_ACTIVE = "Upstairs is not active"
NO_LONGER_ACTIVE = "No longer active"
TOO_MANY_FAILED = "IO Error: 2 out of 3 downstairs failed to complete this IO"
