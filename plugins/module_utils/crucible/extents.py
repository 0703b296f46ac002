# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading one extent of a region on disk: names, sizes and the stored generation, in both formats."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from .errors import RegionError
from .geometry import TRAILER_BYTES, Geometry

# Read in the program's source and seen on disk: dirty, generation, flush, version (2), two counters, padding.
_TRAILER = struct.Struct("<?QQIII3x")
_RAW_VERSION = 2
_SQLITE_VERSION = 1
_SQLITE_TIMEOUT = 5.0
_NEEDED_ROWS = ("ext_version", "gen_number", "flush_number", "dirty")


@dataclass(frozen=True)
class ExtentVersion:
    """What an extent remembers of its last flush. ``dirty``: written to since then."""

    generation: int
    flush: int
    dirty: bool


def extent_path(region: Path, number: int) -> Path:
    """The data file of an extent: three levels of upper-case hexadecimal, for example ``00/001/00A``."""
    return region / f"{number >> 24 & 0xFF:02X}" / f"{number >> 12 & 0xFFF:03X}" / f"{number & 0xFFF:03X}"


def database_path(region: Path, number: int) -> Path:
    """The SQLite file beside it, in regions of January 2023."""
    data = extent_path(region, number)
    return data.with_name(f"{data.name}.db")


def read_raw(path: Path, geometry: Geometry) -> ExtentVersion:
    """The trailer of a raw extent. Raises RegionError: missing, wrong size, or not a raw extent."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size != geometry.raw_extent_file_bytes:
                raise RegionError(
                    f"extent file {path} has {size} bytes, expected {geometry.raw_extent_file_bytes}",
                    details={"file": str(path), "found": size, "expected": geometry.raw_extent_file_bytes},
                )
            file.seek(size - TRAILER_BYTES)
            trailer = file.read(TRAILER_BYTES)
    except OSError as error:
        raise RegionError(f"extent file {path} cannot be read: {error.strerror}") from error
    return parse_trailer(trailer, path)


def parse_trailer(trailer: bytes, path: Path) -> ExtentVersion:
    """The last 32 bytes of a raw extent. Raises RegionError when they are not a trailer."""
    if len(trailer) != TRAILER_BYTES or trailer[0] > 1:
        raise RegionError(f"extent file {path} does not end in a trailer")
    dirty, generation, flush, version, _bonus_syncs, _defragmentations = _TRAILER.unpack(trailer)
    if version != _RAW_VERSION:
        raise RegionError(f"extent file {path} has format version {version} in its trailer, expected {_RAW_VERSION}")
    return ExtentVersion(generation, flush, dirty)


def read_sqlite(data: Path, database: Path, geometry: Geometry) -> ExtentVersion:
    """The metadata rows of an extent of January 2023. Raises RegionError.

    Opened with ``mode=ro`` and never ``immutable=1``: what a stopped or killed program flushed last is in the
    write-ahead log, and an immutable reader does not see it (seen: 0 where 21 is true).
    """
    try:
        size = data.stat().st_size
    except OSError as error:
        raise RegionError(f"extent file {data} cannot be read: {error.strerror}") from error
    if size != geometry.extent_bytes:
        raise RegionError(f"extent file {data} has {size} bytes, expected {geometry.extent_bytes}")
    rows = _metadata_rows(database)
    missing = [name for name in _NEEDED_ROWS if not isinstance(rows.get(name), int) or rows[name] < 0]
    if missing:
        raise RegionError(f"{database} has no number for {', '.join(missing)} in its metadata")
    if rows["ext_version"] != _SQLITE_VERSION:
        raise RegionError(f"{database} has format version {rows['ext_version']}, expected {_SQLITE_VERSION}")
    return ExtentVersion(rows["gen_number"], rows["flush_number"], bool(rows["dirty"]))


def _metadata_rows(database: Path) -> dict[str, int]:
    try:
        import sqlite3  # noqa: PLC0415 - only regions of 2023 need it, and some builds of Python lack it
    except ImportError as error:
        raise RegionError(f"{database}: this Python has no sqlite3, which regions of January 2023 need") from error
    try:
        connection = sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True, timeout=_SQLITE_TIMEOUT)
        try:
            return dict(connection.execute("select name, value from metadata limit 64"))
        finally:
            connection.close()
    except (sqlite3.Error, ValueError) as error:
        raise RegionError(
            f"{database} cannot be read: {error} (reading needs write permission in its directory while "
            "no -wal and -shm files are there)"
        ) from error
