# SPDX-License-Identifier: GPL-3.0-or-later
"""The image that a region is made from: checks before anything is changed, comparison after, and what is remembered."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

from ..files import write_atomically
from .errors import ImageError, InvalidValueError
from .extents import extent_path
from .geometry import Geometry
from .region import Region

_CHECKSUM = re.compile(r"sha256:([0-9a-fA-F]{64})")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Image:
    """A file that was looked at. ``sha256`` is in hexadecimal, lower case; ``modified`` in nanoseconds."""

    path: Path
    size: int
    modified: int
    sha256: str


@dataclass(frozen=True)
class ImageRecord:
    """``<region path>.image``: which image a region was made from, because no metadata of the region shows it."""

    sha256: str
    size: int
    source: str
    modified: int

    def is_of(self, path: Path) -> bool:
        """Whether the file is the very one that was imported, without reading it: same place, size and time."""
        try:
            found = path.stat()
        except OSError:
            return False
        return (str(path), found.st_size, found.st_mtime_ns) == (self.source, self.size, self.modified)


def parse_checksum(text: str | None) -> str | None:
    """The hexadecimal part of ``sha256:...``. Raises InvalidValueError."""
    if text is None:
        return None
    found = _CHECKSUM.fullmatch(text)
    if not found:
        raise InvalidValueError("image.checksum", text, "'sha256:' and 64 hexadecimal digits")
    return found[1].lower()


def extents_needed(path: Path | None, extent_bytes: int) -> int:
    """As many extents as an image fills, and one to spare. Raises InvalidValueError without an image, ImageError."""
    if path is None:
        raise InvalidValueError("extent_count", None, "a number, as there is no image whose size would tell it")
    try:
        return -(-path.stat().st_size // extent_bytes) + 1
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ImageError:
    return ImageError(f"image.src: {path} cannot be read: {error.strerror}; nothing was changed.")


def look_at_image(path: Path, geometry: Geometry, checksum: str | None) -> Image:
    """Check that an image can be imported into a region of that shape, and hash it. Raises ImageError.

    The program takes a larger image too, and then silently makes the region larger than asked for.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ImageError(f"image.src: {path} is not a regular file; import needs one, its size is taken from it.")
        if found.st_size == 0:
            raise ImageError(f"image.src: {path} is empty; was it copied completely?")
        if found.st_size > geometry.bytes:
            fitting = -(-found.st_size // geometry.extent_bytes)
            raise ImageError(
                f"image.src: {path} has {found.st_size} bytes, the region has room for {geometry.bytes}; "
                f"set extent_count to at least {fitting} (the program would make the region larger without a word).",
                code="image_too_large",
                details={"image_bytes": found.st_size, "region_bytes": geometry.bytes, "extent_count": fitting},
            )
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error
    if checksum is not None and sha256 != checksum:
        raise ImageError(
            f"image.checksum: {path} has sha256 {sha256}, expected {checksum}; nothing was changed.",
            code="checksum_mismatch",
            details={"found": sha256, "expected": checksum},
        )
    return Image(path, found.st_size, found.st_mtime_ns, sha256)


def first_difference(image: Path, region: Region) -> int | None:
    """The first byte in which a region's data is not the image; None when all of it is. Raises ImageError."""
    extent_bytes = region.definition.geometry.extent_bytes
    position = 0
    try:
        size = image.stat().st_size
        with image.open("rb") as source:
            while position < size:
                number, start = divmod(position, extent_bytes)
                with extent_path(region.path, number).open("rb") as extent:
                    end = min(position - start + extent_bytes, size)
                    while position < end:
                        wanted = source.read(min(_CHUNK, end - position))
                        stored = extent.read(len(wanted))
                        if wanted != stored or not wanted:
                            return position + _common(wanted, stored)
                        position += len(wanted)
    except OSError as error:
        raise ImageError(f"{error.filename or image} cannot be read: {error.strerror}.") from error
    return None


def _common(one: bytes, other: bytes) -> int:
    return next(
        (index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def data_sha256(region: Region, size: int) -> str:
    """The sha256 of the first ``size`` bytes of a region's data. Raises ImageError."""
    digest = hashlib.sha256()
    geometry = region.definition.geometry
    left = size
    try:
        for number in range(geometry.extent_count):
            with extent_path(region.path, number).open("rb") as extent:
                room = min(left, geometry.extent_bytes)
                while room:
                    chunk = extent.read(min(_CHUNK, room))
                    if not chunk:
                        break
                    digest.update(chunk)
                    room -= len(chunk)
                    left -= len(chunk)
    except OSError as error:
        raise ImageError(f"{error.filename} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()


def record_path(region: Path) -> Path:
    return region.with_name(f"{region.name}.image")


def read_record(region: Path) -> ImageRecord | None:
    """What was remembered when the region was made; None when nothing was. Raises ImageError."""
    path = record_path(region)
    try:
        found = json.loads(path.read_bytes())
        return ImageRecord(
            str(found["sha256"]), int(found["size"]), str(found["source"]), int(found["modified"])
        )  # fmt: skip
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ImageError(f"{path} is damaged; remove it when you know which image {region} was made from.") from error


def write_record(region: Path, image: Image) -> ImageRecord:
    """Remember the image. Raises ImageError."""
    record = ImageRecord(image.sha256, image.size, str(image.path), image.modified)
    try:
        write_atomically(record_path(region), (json.dumps(asdict(record)) + "\n").encode(), mode=0o644)
    except OSError as error:
        raise ImageError(f"{record_path(region)} cannot be written: {error.strerror}.") from error
    return record
