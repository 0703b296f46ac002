# SPDX-License-Identifier: GPL-3.0-or-later
"""Volume construction requests: reading them from a server's spec, and refusing bad ones before a server sees them.

The form is that of ``crucible-client-types``: a tagged union of ``volume``, ``region``, ``url`` and ``file``.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping

from .address import Address
from .errors import BadAddress, BadDescription, NotPropolis
from .instance import Region, Volume
from .values import Value

_DEEPEST = 8  # volumes inside volumes; no tool makes more than two
_KEY_BYTES = 32
_HIGHEST_GENERATION = 2**63 - 1


def read_volume(value: Value) -> Volume:
    """Read a volume construction request that a server gave; raise NotPropolis where it is not one."""
    raw = value.raw
    if not isinstance(raw, dict):
        raise value.wrong("a volume construction request")
    identity = value.get("id").uuid() if value.has("id") else None
    regions = tuple(_regions(value, 0))
    if identity is None and regions:
        identity = regions[0].upstairs_id
    return Volume(identity, regions, raw)


def read_embedded_volume(value: Value) -> Volume:
    """The same from a text that holds the JSON of the request (``request_json`` of a Crucible backend)."""
    try:
        raw = json.loads(value.text())
    except (ValueError, RecursionError):
        raise value.wrong("the JSON text of a volume construction request") from None
    return read_volume(Value(raw, value.source, value.place))


def _regions(value: Value, depth: int) -> Iterator[Region]:
    if depth > _DEEPEST:
        raise value.wrong(f"at most {_DEEPEST} volumes inside each other")
    kind = value.get("type").text()
    if kind == "volume":
        for sub_volume in value.get("sub_volumes").entries():
            yield from _regions(sub_volume, depth + 1)
    elif kind == "region":
        opts = value.get("opts")
        yield Region(
            upstairs_id=opts.get("id").uuid(),
            generation=value.get("gen").number(),
            targets=tuple(target.text() for target in opts.get("target").entries()),
            block_size=value.get("block_size").number(),
            blocks_per_extent=value.get("blocks_per_extent").number(),
            extent_count=value.get("extent_count").number(),
            read_only=opts.get("read_only").boolean(),
            encrypted=not opts.get("key").is_null,
        )
    elif kind not in ("url", "file"):
        raise value.get("type").wrong("volume, region, url or file")


def check_volume(raw: object, what: str) -> Volume:
    """Read a volume construction request that a user gave, and refuse what a real server dies of or never starts with.

    Seen on the real programs: two targets, a target twice and a key that is not base64 of 32 bytes panic or hang
    the server. Raises BadDescription; ``what`` names the disk in its sentence. No key is ever repeated in it.
    """
    if not isinstance(raw, Mapping):
        raise BadDescription(f"{what}: a volume construction request is a dictionary, found {type(raw).__name__}.")
    try:
        volume = read_volume(Value(_plain(raw), what))
    except NotPropolis as error:
        raise BadDescription(
            f"{what}: {error.details.get('place') or 'the request'} must be {error.details.get('expected')}, "
            f"found {error.details.get('found')}."
        ) from None
    for region in volume.regions:
        _check_region(region, what)
    for key in _keys(volume.request):
        _check_key(key, what)
    return volume


def _plain(raw: object) -> object:
    """Copies of plain dictionaries and lists, whatever mapping types a caller's templating engine uses."""
    if isinstance(raw, Mapping):
        return {str(key): _plain(member) for key, member in raw.items()}
    if isinstance(raw, list | tuple):
        return [_plain(entry) for entry in raw]
    return raw


def _check_region(region: Region, what: str) -> None:
    if len(region.targets) != 3:
        raise BadDescription(f"{what} has {len(region.targets)} targets; a Crucible volume has exactly three.")
    if len(set(region.targets)) != 3:
        raise BadDescription(
            f"{what} has the same target twice ({', '.join(region.targets)}); three regions are needed."
        )
    for target in region.targets:
        try:
            literal = Address.parse(target).is_literal and "/" not in target
        except BadAddress:
            literal = False
        if not literal:
            raise BadDescription(
                f"{what} has the target {target!r}; servers take IP:PORT only, host names are refused."
            )
    if not 1 <= region.generation <= _HIGHEST_GENERATION:
        raise BadDescription(
            f"{what} has generation {region.generation}; generations start at 1 and each start needs a new, higher one."
        )
    for name, number in (
        ("block_size", region.block_size),
        ("blocks_per_extent", region.blocks_per_extent),
        ("extent_count", region.extent_count),
    ):
        if number < 1:
            raise BadDescription(f"{what} has {name} {number}; it must be at least 1.")
    if region.block_size & (region.block_size - 1) or not 512 <= region.block_size <= 32768:
        raise BadDescription(
            f"{what} has block_size {region.block_size}; Crucible takes powers of two from 512 to 32768."
        )


def has_key(volume: Volume, key: str) -> bool:
    """Whether something of a volume is sealed with this key. Its read-only parent may have another one."""
    return key in _keys(volume.request)


def _keys(request: Mapping[str, object]) -> Iterator[object]:
    """Every ``opts.key`` in the request, parents too."""
    opts = request.get("opts")
    if isinstance(opts, Mapping) and opts.get("key") is not None:
        yield opts["key"]
    sub_volumes = request.get("sub_volumes")
    for inner in [*(sub_volumes if isinstance(sub_volumes, list) else []), request.get("read_only_parent")]:
        if isinstance(inner, Mapping):
            yield from _keys(inner)


def _check_key(key: object, what: str) -> None:
    try:
        decoded = base64.b64decode(key, validate=True) if isinstance(key, str) else b""
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) != _KEY_BYTES:
        raise BadDescription(f"{what} has a key that is not the base64 of exactly {_KEY_BYTES} bytes.")
