# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether one volume construction request may replace another while the volume runs, with the real refusals.

Rules and texts were read in the real program's source; generation, extent_count, several targets and "no difference"
were also seen.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol.basics import SocketAddress
from .errors import ReplaceError
from .request import Piece, RegionRequest, VolumeRequest, listed


@dataclass(frozen=True)
class Difference:
    """What a replacement changes in a piece: a higher generation, and at most one target."""

    generation: bool = False
    target: tuple[RegionRequest, SocketAddress, SocketAddress] | None = None
    """The region as it was, the address that goes, the one that comes."""
    nested: bool = False
    """The target belongs to a volume inside the volume."""


def compare(old: VolumeRequest, new: VolumeRequest) -> Difference:
    """What ``new`` changes in ``old``: generations only (target None), or one target.

    Raises ReplaceError when nothing differs or when the difference is not allowed.
    """
    pieces, parent = _volume(old, new)
    targets = [piece for piece in (*pieces, parent) if piece.target]
    if len(targets) > 1:
        raise ReplaceError("Multiple target changes")
    if targets:
        if targets[0].nested:
            raise ReplaceError("Unsupported multi level CompareResult: a target of a volume inside the volume changes")
        return targets[0]
    if any(piece.generation for piece in pieces):
        return Difference(generation=True)
    raise ReplaceError("ROP has generation bump!" if parent.generation else "The VCRs have no difference")


def compare_for_migration(old: VolumeRequest, new: VolumeRequest) -> None:
    """Raises ReplaceError unless ``new`` is ``old`` with a higher generation and the same targets.

    No real program asks for it when a machine moves; it is here for those who want to know beforehand.
    """
    if compare(old, new).target:
        raise ReplaceError("VCR targets are different")


def _volume(old: VolumeRequest, new: VolumeRequest) -> tuple[list[Difference], Difference]:
    if old.id != new.id:
        raise ReplaceError(f"ID mismatch {old.id} vs. {new.id}")
    if old.block_size != new.block_size:
        raise ReplaceError("block_size mismatch")
    if len(old.sub_volumes) != len(new.sub_volumes):
        raise ReplaceError("subvolume len mismatch")
    pieces = [_piece(a, b) for a, b in zip(old.sub_volumes, new.sub_volumes, strict=True)]
    if new.read_only_parent is None:
        return pieces, Difference()
    if old.read_only_parent is None:
        raise ReplaceError("VCR added where there should not be one")
    return pieces, _piece(old.read_only_parent, new.read_only_parent)


def _piece(old: Piece, new: Piece) -> Difference:
    if isinstance(old, RegionRequest) and isinstance(new, RegionRequest):
        return _region(old, new)
    if isinstance(old, VolumeRequest) and isinstance(new, VolumeRequest):
        pieces, parent = _volume(old, new)
        targets = [piece for piece in (*pieces, parent) if piece.target]
        if len(targets) > 1:
            raise ReplaceError("Multiple target changes")
        target = targets[0].target if targets else None
        return Difference(any(piece.generation for piece in pieces), target, nested=target is not None)
    raise ReplaceError("Cannot replace VCR")


def _region(old: RegionRequest, new: RegionRequest) -> Difference:
    for name in ("block_size", "blocks_per_extent", "extent_count"):
        if getattr(old, name) != getattr(new, name):
            raise ReplaceError(f"sub_volume {name} mismatch")
    if new.generation < old.generation:
        raise ReplaceError(f"New sub_volume generation too low {old.generation} vs. {new.generation}")
    for name in ("id", "lossy", "flush_timeout", "cert_pem", "root_cert_pem", "control", "read_only"):
        a, b = getattr(old.options, name), getattr(new.options, name)
        if a != b:
            raise ReplaceError(f"sub_volume opts {name} mismatch {a} vs. {b}")
    for name in ("key", "key_pem"):
        if getattr(old.options, name) != getattr(new.options, name):
            raise ReplaceError(f"sub_volume opts {name} invalid")
    before, after = old.options.targets, new.options.targets
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    if len(changed) > 1:
        raise ReplaceError(f"sub_volume multiple different targets: {listed(before)} vs. {listed(after)}")
    target = (old, *changed[0]) if changed else None
    return Difference(new.generation > old.generation, target)
