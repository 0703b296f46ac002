# SPDX-License-Identifier: GPL-3.0-or-later
"""The limit of open files, which a child process inherits from the task that starts it."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator

from .failures import CollectionError


class OpenFileLimitError(CollectionError):
    """This host does not allow as many open files as are needed. ``details``: needed, allowed."""

    default_code = "open_file_limit"


def check_open_files(what: str, needed: int) -> None:
    """Raise OpenFileLimitError when ``needed`` files could not be opened even with the highest limit we may set."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise OpenFileLimitError(
            f"{what} needs {needed} open files, this host allows {hard}; raise the hard limit (ulimit -H -n).",
            details={"needed": needed, "allowed": hard},
        )


@contextlib.contextmanager
def open_files(what: str, needed: int | None) -> Iterator[None]:
    """Have a soft limit of at least ``needed`` inside the block, what it was before after it. None changes nothing."""
    if needed is None:
        yield
        return
    check_open_files(what, needed)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
