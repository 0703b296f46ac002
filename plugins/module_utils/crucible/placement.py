# SPDX-License-Identifier: GPL-3.0-or-later
"""Which downstairs of which volume belongs on which host: an inventory's volumes as one flat list of targets."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..failures import CollectionError, shown

DEFAULT_ROOT = "/var/lib/crucible"


class BadPlacement(CollectionError):
    """The inventory's volumes name a host or a port that cannot be."""

    default_code = "bad_placement"


@dataclass(frozen=True)
class PlacedTarget:
    """One target of one volume, with all that its host needs to know.

    ``path`` is the region directory, ``region`` the uuid that the region gets (derived from the volume's id and the
    place in the list, unless the inventory gives one), ``service`` the name of the downstairs' service.
    """

    volume: str
    volume_id: str
    index: int
    host: str
    address: str
    port: int
    path: str
    region: str
    service: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a playbook."""
        return asdict(self)


def placed_targets(volumes: Mapping[str, Any], hostvars: Mapping[str, Any]) -> list[PlacedTarget]:
    """Every target of every volume, in the order of the inventory; raise BadPlacement for one that cannot be placed.

    A target's address is its own ``address``, else its host's ``crucible_downstairs_address``, else ``ansible_host``.
    """
    if not isinstance(volumes, Mapping):
        raise BadPlacement(f"crucible_volumes is {shown(volumes)}; expected a mapping of volumes by name.")
    return [
        _placed(name, volume, index, target, hostvars)
        for name, volume in volumes.items()
        for index, target in enumerate(_targets(name, volume))
    ]


def _targets(name: str, volume: Any) -> Sequence[Any]:
    targets = volume.get("targets", []) if isinstance(volume, Mapping) else None
    if isinstance(targets, str) or not isinstance(targets, Sequence):
        raise BadPlacement(
            f"crucible_volumes.{name} is {shown(volume)}; expected a mapping with id, geometry and a list of targets."
            if not isinstance(volume, Mapping)
            else f"crucible_volumes.{name}.targets is {shown(targets)}; expected a list of three targets."
        )
    return targets


def _placed(name: str, volume: Mapping[str, Any], index: int, target: Any, hostvars: Mapping[str, Any]) -> PlacedTarget:
    place = f"crucible_volumes.{name}.targets[{index}]"
    if not isinstance(target, Mapping) or "host" not in target or "port" not in target:
        raise BadPlacement(
            f"{place} is {shown(target)}; expected a host of the inventory and a port: {{host: ds0, port: 8810}}."
        )
    host = str(target["host"])
    if host not in hostvars:
        raise BadPlacement(f"{place}.host is {shown(host)}, which is not a host of the inventory.")
    if "id" not in volume:
        raise BadPlacement(f"crucible_volumes.{name} has no id; expected a uuid.")
    try:
        port = int(target["port"])
        volume_id = uuid.UUID(str(volume["id"]))
        region = uuid.UUID(str(target["uuid"])) if "uuid" in target else uuid.uuid5(volume_id, str(index))
    except (ValueError, TypeError, OverflowError) as error:
        found = f"{place}.port is {shown(target['port'])} and crucible_volumes.{name}.id is {shown(volume['id'])}"
        own = f", {place}.uuid is {shown(target['uuid'])}" if "uuid" in target else ""
        raise BadPlacement(f"{found}{own}; expected a port number and a uuid.") from error
    facts = hostvars[host]
    address = target.get("address") or facts.get("crucible_downstairs_address") or facts.get("ansible_host") or host
    root = facts.get("crucible_downstairs_root") or DEFAULT_ROOT
    return PlacedTarget(
        volume=name,
        volume_id=str(volume_id),
        index=index,
        host=host,
        address=str(address),
        port=port,
        path=f"{str(root).rstrip('/')}/{name}/{port}",
        region=str(region),
        service=f"crucible-downstairs-{name}-{port}",
    )
