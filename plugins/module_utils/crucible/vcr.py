# SPDX-License-Identifier: GPL-3.0-or-later
"""Raising the generation of volume construction requests, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .errors import InvalidValueError
from .volume import check_generation

REQUEST_KEY = "volume_construction_request"
_MAX_DEPTH = 8


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


def _raised(request: Any, number: int, depth: int) -> dict[str, Any]:
    kind = _kind(request, depth)
    if kind == "region":
        return {**request, "gen": number}
    if kind == "volume":
        volumes = [_raised(volume, number, depth + 1) for volume in _sub_volumes(request)]
        return {**request, "sub_volumes": volumes}
    return dict(request)


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
