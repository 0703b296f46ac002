# SPDX-License-Identifier: GPL-3.0-or-later
"""All volumes of an inventory together: what is wrong with one, and what two of them take from each other."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..failures import CollectionError
from .placement import PlacedTarget
from .volume import REPAIR_PORT_OFFSET, Volume

# A volume may leave extent_count to its image. Everything else about it can be checked with any number.
_ANY_EXTENT_COUNT = 1


def volume_problems(volumes: Mapping[str, Any], targets: Sequence[PlacedTarget]) -> list[str]:
    """Sentences on what cannot be, each naming the volume and the field; an empty list when all is well.

    ``targets`` are those of all volumes, as ``placed_targets`` gives them. No sentence holds a key.
    """
    addresses = {target.host: target.address for target in targets}
    problems: list[str] = []
    for name, volume in volumes.items():
        try:
            known = {"extent_count": _ANY_EXTENT_COUNT, **volume} if isinstance(volume, Mapping) else volume
            Volume.from_mapping(known, addresses)
        except CollectionError as error:
            problems.append(f"crucible_volumes.{name}: {error.message}")
    problems.extend(_shared_ids(volumes))
    problems.extend(_shared_ports(targets))
    return problems


def _shared_ids(volumes: Mapping[str, Any]) -> Iterator[str]:
    first: dict[str, str] = {}
    for name, volume in volumes.items():
        try:
            identity = str(uuid.UUID(str(volume["id"])))
        except (ValueError, TypeError, KeyError):
            continue  # said by the check of the volume itself
        other = first.setdefault(identity, name)
        if other != name:
            yield f"crucible_volumes.{name}.id is {identity}, which {other} has already; each volume needs its own."


def _shared_ports(targets: Sequence[PlacedTarget]) -> Iterator[str]:
    taken: dict[tuple[str, int], str] = {}
    for target in targets:
        place = f"{target.volume} on {target.host}"
        for port, use in ((target.port, "data"), (target.port + REPAIR_PORT_OFFSET, "repair")):
            other = taken.setdefault((target.address, port), f"the {use} port of {place}")
            if other != f"the {use} port of {place}":
                yield (
                    f"crucible_volumes.{target.volume}.targets[{target.index}].port is {target.port}: its {use} port "
                    f"{target.address}:{port} is {other} already; give it another port."
                )
