# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a downstairs has the region that a request describes, with the text with which the real upstairs aborts."""

from __future__ import annotations

from uuid import UUID

from ..protocol.messages import ExtentVersions, RegionDefinition
from .errors import ActivationError
from .request import RegionRequest
from .session import Session
from .target import Target

CALLER_SEES = "BlockOpWaiter recv channel disconnected"
"""What is left for the caller when the real upstairs has aborted in a thread of its own (seen)."""


def expected(request: RegionRequest) -> RegionDefinition:
    """The definition that a request demands; its id is open."""
    return RegionDefinition(
        block_size=request.block_size,
        blocks_per_extent=request.blocks_per_extent,
        block_shift=request.block_size.bit_length() - 1,
        extent_count=request.extent_count,
        uuid=UUID(int=0),
        encrypted=request.options.key is not None,
    )


def shown(definition: RegionDefinition) -> str:
    """A definition as the real programs print it."""
    return (
        f"RegionDefinition {{ block_size: {definition.block_size}, extent_size: Block {{ value: "
        f"{definition.blocks_per_extent}, shift: {definition.block_shift} }}, extent_count: {definition.extent_count}, "
        f"uuid: {definition.uuid}, encrypted: {str(definition.encrypted).lower()}, database_read_version: "
        f"{definition.database_read_version}, database_write_version: {definition.database_write_version} }}"
    )


def judge(session: Session, target: Target, found: RegionDefinition, *, same_region: bool) -> None:
    """Raises ActivationError when the region of a downstairs is not the one that the request describes.

    ``same_region`` demands the id that the target had before.
    """
    wanted = expected(session.request)
    fields = ("block_size", "blocks_per_extent", "block_shift", "extent_count", "encrypted")
    wrong = [name for name in fields if getattr(wanted, name) != getattr(found, name)]
    if wrong:
        details = ", ".join(f"{name} {getattr(wanted, name)} expected, {getattr(found, name)} found" for name in wrong)
        panic = (
            f"{session.session_id} [{target.index}] New downstairs region info mismatch: ExpectingFromDownstairs("
            f"{shown(wanted)}) vs. {shown(found)}"
        )
        text = f"The region of the downstairs {target.address} does not fit the request: {details}\n{panic}"
        raise ActivationError(text, real=CALLER_SEES, panics=True)
    if same_region and target.region_id is not None and target.region_id != found.uuid:
        text = f"The downstairs {target.address} came back with another region"
        raise ActivationError(f"{text}: {target.region_id} expected, {found.uuid} found", real=CALLER_SEES, panics=True)


def check_versions(session: Session, target: Target, versions: ExtentVersions) -> None:
    """Raises ActivationError when a downstairs does not tell as many versions as there are extents."""
    count = session.request.extent_count
    for name, found in (
        ("generations", versions.generations),
        ("flush numbers", versions.flush_numbers),
        ("dirty bits", versions.dirty),
    ):
        if len(found) != count:
            text = f"The downstairs {target.address} gave {len(found)} {name} of extents, expected {count}"
            raise ActivationError(text, real=CALLER_SEES, panics=True)
