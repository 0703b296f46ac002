# SPDX-License-Identifier: GPL-3.0-or-later
"""Making one region: decide what is to be done without touching anything, then do it, verify it, remember it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..failures import CollectionError
from ..limits import check_open_files, open_files
from ..occupants import users_of
from .claim import Claim, set_aside
from .errors import CrucibleError, ForeignRegionError, ImageError, NoRegionError, RegionError
from .geometry import Difference, Geometry
from .image import (
    Image,
    ImageRecord,
    data_sha256,
    first_difference,
    look_at_image,
    parse_checksum,
    read_record,
    write_record,
)
from .output import ImportReport
from .program import DownstairsProgram
from .region import DEFINITION_FILE, Region, read_region

# Files of others that may lie in an empty region's directory: a file system's own, and the keys of a TLS downstairs.
_HARMLESS = {"lost+found", ".zfs"}
_FILES_BESIDE_EXTENTS = 13


@dataclass(frozen=True)
class Wanted:
    """The region that is to be there. ``checksum`` is ``sha256:...``; ``clone_source`` is IP:port of a repair API.

    ``verify``: the data of one that is there are read, and compared with its image as long as no guest has written.
    """

    path: Path
    uuid: str
    geometry: Geometry
    image: Path | None = None
    checksum: str | None = None
    clone_source: str | None = None
    verify: bool = False


@dataclass(frozen=True)
class Plan:
    """What has to be done. ``adopt``: the region is there and holds the image, only the record of it is missing.

    ``interrupted``: an earlier run died while it made the region; what it left is set aside before a new one is made.
    """

    action: Literal["none", "create", "adopt"]
    region: Region | None = None
    image: Image | None = None
    interrupted: bool = False
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Seeded:
    """The region after the work; ``report`` is what the program said about an import."""

    region: Region
    report: ImportReport | None
    record: ImageRecord | None
    set_aside: Path | None


def plan(wanted: Wanted, program: DownstairsProgram) -> Plan:
    """Look and decide; changes nothing. Raises CrucibleError for everything that stands in the way."""
    wanted.geometry.validated()
    checksum = parse_checksum(wanted.checksum)
    claim = Claim(wanted.path)
    interrupted = claim.left_behind()
    try:
        region = read_region(wanted.path)
    except NoRegionError:
        region = None
    except RegionError:
        if not interrupted:
            raise
        region = None
    if region is not None and not interrupted:
        return _plan_for_existing(wanted, region, checksum)
    if interrupted:
        _check_unused(wanted.path, region)
    else:
        _check_empty(wanted.path)
    image = _check_creation(wanted, program, checksum)
    return Plan("create", image=image, interrupted=interrupted)


def carry_out(wanted: Wanted, todo: Plan, program: DownstairsProgram) -> Seeded:
    """Do what ``plan`` decided. What a failure leaves half-made is set aside and named. Raises CrucibleError."""
    if todo.action != "create":
        region = todo.region or read_region(wanted.path)
        record = read_record(wanted.path)
        if todo.action == "adopt" and todo.image is not None:
            record = write_record(wanted.path, todo.image)
        return Seeded(region, None, record, None)
    claim = Claim(wanted.path)
    with claim.held(wanted.uuid, left_behind=todo.interrupted):
        aside = _make_room(wanted.path, todo)
        try:
            with open_files(f"region {wanted.path}", _open_files_of(wanted.geometry)):
                report = program.create(
                    wanted.path, wanted.uuid, wanted.geometry,
                    image=wanted.image, clone_source=wanted.clone_source,
                )  # fmt: skip
            region = _verify(wanted, todo.image, report)
            record = write_record(wanted.path, todo.image) if todo.image else None
        except CollectionError as error:
            raise _with_leftover(error, wanted.path) from error
        claim.fulfilled()
        return Seeded(region, report, record, aside)


def _plan_for_existing(wanted: Wanted, region: Region, checksum: str | None) -> Plan:
    differences = differences_from(wanted, region)
    if differences:
        table = "; ".join(str(difference) for difference in differences)
        raise ForeignRegionError(
            f"{wanted.path} holds another region: {table}. Nothing was changed; take another path, or remove that "
            "region with state=absent if nobody needs it.",
            details={"differences": [difference.as_dict() for difference in differences]},
        )
    if not region.complete:
        raise RegionError(
            f"{wanted.path} is half-made or damaged, and not by this run: {'; '.join(region.problems)}. If nothing "
            f"uses it, move it away (mv {wanted.path} {wanted.path}.old) and run again.",
            code="region_incomplete",
            details={"problems": list(region.problems)},
        )
    if wanted.image is None:
        return Plan("none", region)
    return _plan_for_image(wanted, region, wanted.image, checksum)


def _plan_for_image(wanted: Wanted, region: Region, path: Path, checksum: str | None) -> Plan:
    record = read_record(wanted.path)
    if record is not None:
        if checksum is None and not record.is_of(path) and path.exists():
            checksum = look_at_image(path, wanted.geometry, None).sha256
        if checksum is not None and checksum != record.sha256:
            raise ImageError(
                f"{wanted.path} was made from the image with sha256 {record.sha256} ({record.source}), now {checksum} "
                "is asked for; a region is never overwritten: take another path, or remove it with state=absent.",
                code="other_image",
                details={"found": record.sha256, "expected": checksum},
            )
        if wanted.verify and region.max_generation == 0 and not region.dirty:
            _check_data(region, record)
        return Plan("none", region)
    if region.never_flushed and region.max_generation == 0 and not users_of(region.path):
        raise RegionError(
            f"{wanted.path} looks like an interrupted import: {region.never_flushed} extents were written to and never "
            f"flushed. If nothing uses it, move it away (mv {wanted.path} {wanted.path}.old) and run again.",
            code="region_incomplete",
        )
    if region.max_generation > 0 or region.dirty:
        note = f"Nothing tells which image {wanted.path} was made from: a guest wrote to it before it was recorded."
        return Plan("none", region, warnings=[note])
    image = look_at_image(path, wanted.geometry, checksum)
    found = data_sha256(region, image.size)
    if found != image.sha256:
        raise ImageError(
            f"{wanted.path} holds other data than {path}: the first {image.size} bytes have sha256 {found}, expected "
            f"{image.sha256}; it is not overwritten: take another path, or remove it with state=absent.",
            code="other_image",
            details={"found": found, "expected": image.sha256},
        )
    return Plan("adopt", region, image)


def _check_data(region: Region, record: ImageRecord) -> None:
    """Raise RegionError when a region that no guest has written to holds other data than were imported."""
    found = data_sha256(region, record.size)
    if found != record.sha256:
        raise RegionError(
            f"{region.path}: its first {record.size} bytes have sha256 {found}, and the image that was imported "
            f"({record.source}) has {record.sha256}; no guest has written to it, so it was changed by something else. "
            "Remove it with state=absent and make it anew.",
            code="data_changed",
            details={"found": found, "expected": record.sha256},
        )


def differences_from(wanted: Wanted, region: Region) -> list[Difference]:
    """Field by field, what an existing region has instead of what is wanted."""
    uuid = region.definition.uuid
    different = [] if uuid == wanted.uuid else [Difference("uuid", uuid, wanted.uuid)]
    return different + region.definition.geometry.differences_from(wanted.geometry)


def _check_unused(path: Path, region: Region | None) -> None:
    """Raise RegionError when what an interrupted run left is in use; ``region`` is None when it cannot be read."""
    users = users_of(path)
    if not users and (region is None or region.max_generation == 0):
        return
    why = f"{users[0]} has it open" if users else f"generation {region.max_generation if region else 0} is stored in it"
    advice = f"if it is whole, remove {Claim(path).path}"
    if users and " create " in users[0].command:
        advice = f"wait until that process has ended, or end it (kill {users[0].pid})"
    raise RegionError(
        f"{path} was being made when an earlier run was interrupted, but it is in use: {why}. Nothing was changed; "
        f"{advice} and run again.",
        code="region_in_use",
    )


def _check_empty(path: Path) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise RegionError(f"path: {path} is a file, expected a directory or nothing.")
    strangers = sorted(
        entry.name for entry in path.iterdir() if entry.name not in _HARMLESS and entry.suffix not in {".pem"}
    )
    if strangers:
        raise RegionError(
            f"path: {path} holds other files ({', '.join(strangers[:3])}) and no {DEFINITION_FILE}; a region needs a "
            "directory of its own.",
            code="directory_not_empty",
            details={"files": strangers[:20]},
        )


def _open_files_of(geometry: Geometry) -> int:
    return 4 * geometry.extent_count + _FILES_BESIDE_EXTENTS


def _check_creation(wanted: Wanted, program: DownstairsProgram, checksum: str | None) -> Image | None:
    program.check_present()
    check_open_files(f"region {wanted.path}", _open_files_of(wanted.geometry))
    if wanted.image is None:
        return None
    if wanted.geometry.encrypted:
        raise ImageError(
            "image: cannot be imported into an encrypted region, because the program has no key and stores it in "
            "clear, which no upstairs can read afterwards; write the image through an upstairs instead.",
            code="image_and_encryption",
        )
    image = look_at_image(wanted.image, wanted.geometry, checksum)
    _check_space(wanted, image)
    return image


def _check_space(wanted: Wanted, image: Image) -> None:
    place = next(parent for parent in (wanted.path, *wanted.path.parents) if parent.exists())
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize
    needed = wanted.geometry.bytes_on_disk(image.size)
    if free < needed:
        raise RegionError(
            f"path: importing {image.path} into {wanted.path} needs {needed} bytes with its metadata, {place} has "
            f"{free} free; nothing was changed.",
            code="disk_full",
            details={"needed": needed, "free": free},
        )


def _make_room(path: Path, todo: Plan) -> Path | None:
    """Set aside what an interrupted run left. Raises RegionError when a region appeared since the plan was made."""
    if todo.interrupted and path.exists():
        return set_aside(path)
    if (path / DEFINITION_FILE).exists():
        Claim(path).fulfilled()
        raise RegionError(f"{path}: somebody made a region there meanwhile; run again.", code="being_made")
    return None


def _verify(wanted: Wanted, image: Image | None, report: ImportReport | None) -> Region:
    """The region as it is on disk now. Raises RegionError or ImageError when it is not what was asked for."""
    region = read_region(wanted.path)
    differences = differences_from(wanted, region)
    if differences or not region.complete:
        found = [*map(str, differences), *region.problems]
        raise RegionError(
            f"{wanted.path} was made, but not as asked for: {'; '.join(found)}.", code="region_incomplete"
        )
    if image is None:
        return region
    filled = -(-image.size // wanted.geometry.extent_bytes)
    unflushed = [
        number for number, version in enumerate(region.versions[:filled]) if not version.flush or version.dirty
    ]
    if unflushed or (report is not None and report.extents != filled):
        raise ImageError(
            f"{wanted.path}: the import is not complete: extent {unflushed[0] if unflushed else filled} of the "
            f"{filled} that the image fills was not flushed.",
            code="import_incomplete",
        )
    difference = first_difference(image.path, region)
    if difference is not None:
        raise ImageError(
            f"{wanted.path} does not hold {image.path}: they differ at byte {difference}; was the image changed "
            "meanwhile?",
            code="import_incomplete",
            details={"byte": difference},
        )
    return region


def _with_leftover(error: CollectionError, path: Path) -> CollectionError:
    """The same error, told with what became of the half-made region."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        Claim(path).fulfilled()
        return error
    moved = set_aside(path)
    Claim(path).fulfilled()
    told = f"the half-made region is now {moved}" if moved else f"the half-made region in {path} was removed"
    message = f"{error.message.rstrip('.')}; {told}."
    return CrucibleError(
        message, code=error.code, details={**error.details, "quarantined": str(moved) if moved else None}
    )
