# SPDX-License-Identifier: GPL-3.0-or-later
"""Volume construction requests as data: reading numbers and targets out of them, raising them, comparing two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..failures import shown
from .errors import CrucibleError, InvalidValueError
from .volume import check_generation

REQUEST_KEY = "volume_construction_request"
_MAX_DEPTH = 8
_SAME_IN_REGIONS = ("block_size", "blocks_per_extent", "extent_count")
_SAME_IN_OPTIONS = (
    "id", "lossy", "flush_timeout", "key", "cert_pem", "key_pem", "root_cert_pem", "control", "read_only",
)  # fmt: skip
_SECRET = frozenset({"key", "cert_pem", "key_pem", "root_cert_pem"})


def with_generation(request: Any, generation: Any) -> Any:
    """The same request with that number in every region that is written to; read-only parents keep theirs.

    ``request`` is a volume construction request, a disk request that holds one, or a list of either. A new value is
    returned, the given one is not touched. Raises InvalidValueError.
    """
    number = check_generation(generation)
    if isinstance(request, Mapping):
        if REQUEST_KEY in request:
            return {**request, REQUEST_KEY: _raised(request[REQUEST_KEY], number, 0)}
        return _raised(request, number, 0)
    if isinstance(request, Sequence) and not isinstance(request, str | bytes):
        return [with_generation(item, number) for item in request]
    raise InvalidValueError("request", type(request).__name__, "a volume construction request or a disk request")


def regions_of(request: Any) -> Iterator[Mapping[str, Any]]:
    """Every region of a request that is written to, in order. Raises InvalidValueError."""
    yield from _regions(request, 0)


def generation_of(request: Any) -> int:
    """The number of a request: that of its regions, which must agree. Raises InvalidValueError."""
    numbers = {check_generation(region.get("gen"), "gen") for region in regions_of(request)}
    if len(numbers) != 1:
        raise InvalidValueError("gen", sorted(numbers), "one number in all regions of the request")
    return numbers.pop()


def _raised(request: Any, number: int, depth: int) -> dict[str, Any]:
    kind = _kind(request, depth)
    if kind == "region":
        return {**request, "gen": number}
    if kind == "volume":
        volumes = [_raised(volume, number, depth + 1) for volume in _sub_volumes(request)]
        return {**request, "sub_volumes": volumes}
    return dict(request)


def _regions(request: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    kind = _kind(request, depth)
    if kind == "region":
        yield request
    elif kind == "volume":
        for volume in _sub_volumes(request):
            yield from _regions(volume, depth + 1)


def _kind(request: Any, depth: int) -> str:
    kind = request.get("type") if isinstance(request, Mapping) else None
    if kind not in ("volume", "region", "url", "file"):
        raise InvalidValueError(
            "type", kind, "volume, region, url or file, as a volume construction request has", code="invalid_request"
        )
    if depth > _MAX_DEPTH:
        raise InvalidValueError("sub_volumes", f"more than {_MAX_DEPTH} levels", "a volume of regions")
    return str(kind)


def _sub_volumes(request: Mapping[str, Any]) -> Sequence[Any]:
    found = request.get("sub_volumes")
    if isinstance(found, str) or not isinstance(found, Sequence):
        raise InvalidValueError("sub_volumes", type(found).__name__, "a list")
    return found


def migration_objections(original: Any, replacement: Any) -> list[str]:
    """Why a migration must not replace one request by the other; empty when it may.

    The rules of Crucible's own comparison (``compare_vcr_for_migration``), which Propolis does not apply during a
    migration: all as before, the same targets in the same order, and a higher number. Secrets are not shown.
    """
    try:
        return _volume_objections(original, replacement)
    except CrucibleError as error:
        return [error.message.rstrip(".")]


def _volume_objections(original: Any, replacement: Any) -> list[str]:
    kinds = _kind(original, 0), _kind(replacement, 0)
    if kinds != ("volume", "volume"):
        return [f"only volumes can be replaced: found {kinds[0]} and {kinds[1]}"]
    objections = _changed(original, replacement, ("id", "block_size"), "")
    if original.get("read_only_parent") is None and replacement.get("read_only_parent") is not None:
        objections.append("read_only_parent is added where there was none")
    before, after = _sub_volumes(original), _sub_volumes(replacement)
    if len(before) != len(after):
        return [*objections, f"sub_volumes: {len(after)} where there were {len(before)}"]
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        objections += _region_objections(old, new, f"sub_volumes[{number}].")
    return objections


def _region_objections(old: Any, new: Any, place: str) -> list[str]:
    kinds = _kind(old, 1), _kind(new, 1)
    if kinds != ("region", "region"):
        return [f"{place}type: {kinds[0]} and {kinds[1]} cannot be compared, expected two regions"]
    objections = _changed(old, new, _SAME_IN_REGIONS, place)
    options = old.get("opts"), new.get("opts")
    if not isinstance(options[0], Mapping) or not isinstance(options[1], Mapping):
        return [*objections, f"{place}opts is missing"]
    objections += _changed(options[0], options[1], (*_SAME_IN_OPTIONS, "target"), f"{place}opts.")
    if check_generation(new.get("gen"), f"{place}gen") <= check_generation(old.get("gen"), f"{place}gen"):
        objections.append(f"{place}gen is {new['gen']}, expected more than {old['gen']}")
    return objections


def _changed(old: Mapping[str, Any], new: Mapping[str, Any], names: Sequence[str], place: str) -> list[str]:
    return [
        f"{place}{name} differs"
        if name in _SECRET
        else f"{place}{name} is {shown(new.get(name))}, was {shown(old.get(name))}"
        for name in names
        if old.get(name) != new.get(name)
    ]
