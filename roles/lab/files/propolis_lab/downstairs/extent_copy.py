# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetches the files of an extent from the downstairs that has the good copy, for reconciliation and live repair.

The order of the questions, the header and the limits of time are the real program's: which files, the files, and last
whether the source still has its extent closed.
"""

from __future__ import annotations

from collections.abc import Callable

import aiohttp

from propolis_lab.protocol.basics import SocketAddress
from propolis_lab.protocol.errors import CrucibleError, ErrorKind
from propolis_lab.region import Age, Region

_LIMIT = aiohttp.ClientTimeout(total=15, connect=15)
_HEADERS = {"api-version": "1.0.0", "accept": "*/*"}
_TYPES = {"": "data", ".db": "db", ".db-shm": "db_shm", ".db-wal": "db_wal"}
# The program of 2023 serves these two in each other's place (seen); whoever copies must know.
_SWAPPED_2023 = {".db-shm": "db_wal", ".db-wal": "db_shm"}


class CopyError(Exception):
    """The copy failed; ``error`` is what the upstairs is told."""

    def __init__(self, kind: ErrorKind, text: str) -> None:
        super().__init__(text)
        self.error = CrucibleError(kind, (text,))


async def fetch_extent(
    source: SocketAddress, extent: int, region: Region, note: Callable[[str], None]
) -> dict[str, bytes]:
    """File names and contents of ``extent`` at the repair service ``source``; ``note`` gets what the real program logs.

    Raises CopyError.
    """
    name = region.extent_file(extent).name
    base = f"http://{source}"
    async with aiohttp.ClientSession(timeout=_LIMIT, headers=_HEADERS, auto_decompress=False) as session:
        listed = await _json(session, f"{base}/extent/{extent}/files", "Failed to get list of files to repair")
        suffixes = _suffixes(listed, name, region.age)
        limit = _size_limit(region, extent)
        contents = {}
        for suffix in suffixes:
            kind = _TYPES[suffix] if region.age is Age.TODAY else _SWAPPED_2023.get(suffix, _TYPES[suffix])
            contents[name + suffix] = await _file(session, f"{base}/newextent/{extent}/{kind}", limit)
        if region.age is Age.TODAY:
            _check_size(contents[name], limit)
            note(f"Verify extent {extent} still ready for copy")
            ready = await _json(
                session,
                f"{base}/extent/{extent}/repair-ready",
                "Failed to verify extent is still valid for repair",
            )
            if ready is not True:
                raise CopyError(ErrorKind.REPAIR_REQUEST_ERROR, f"Extent {extent} is no longer closed at the source")
    return contents


def _suffixes(listed: object, name: str, age: Age) -> list[str]:
    """The endings of the files that make up the extent, checked: one file today, a database beside it in 2023."""
    allowed = [[""]] if age is Age.TODAY else [["", ".db"], ["", ".db", ".db-shm", ".db-wal"]]
    for suffixes in allowed:
        if listed == [name + suffix for suffix in suffixes]:
            return suffixes
    raise CopyError(ErrorKind.REPAIR_FILES_INVALID, f"Invalid repair file list: {listed!r}")


def _size_limit(region: Region, extent: int) -> int | None:
    """A raw extent of the same shape has the same size to the byte; that of a database is anybody's guess."""
    return region.extent_file(extent).stat().st_size if region.age is Age.TODAY else None


def _check_size(content: bytes, expected: int | None) -> None:
    if expected is not None and len(content) != expected:
        raise CopyError(
            ErrorKind.REPAIR_FILES_INVALID, f"The source sent {len(content)} bytes of an extent file of {expected}"
        )


async def _json(session: aiohttp.ClientSession, url: str, complaint: str) -> object:
    try:
        async with session.get(url) as response:
            if response.status != 200:
                raise CopyError(ErrorKind.REPAIR_REQUEST_ERROR, f"{complaint} Error Response: status {response.status}")
            found: object = await response.json()
            return found
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        # The text of the real program, as recorded; which of the two sides failed it does not tell either.
        text = f"{complaint} Communication Error: error sending request for url ({url})"
        raise CopyError(ErrorKind.REPAIR_REQUEST_ERROR, text) from error


async def _file(session: aiohttp.ClientSession, url: str, limit: int | None) -> bytes:
    content = bytearray()
    try:
        async with session.get(url) as response:
            if response.status != 200:
                raise CopyError(ErrorKind.REPAIR_REQUEST_ERROR, f"The source answered {response.status} to {url}")
            async for chunk in response.content.iter_any():
                content += chunk
                if limit is not None and len(content) > limit:
                    raise CopyError(ErrorKind.REPAIR_FILES_INVALID, f"{url} sends more than {limit} bytes")
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise CopyError(ErrorKind.REPAIR_STREAM_ERROR, f"The stream of {url} broke: {error!r}") from error
    return bytes(content)
