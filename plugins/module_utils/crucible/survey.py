# SPDX-License-Identifier: GPL-3.0-or-later
"""The three regions of each volume put side by side: the geometry they agree on, and the numbers that are used up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import ForeignRegionError, GeometryMismatchError, LedgerError, NoRegionError, RegionError
from .geometry import Geometry, disagreements
from .volume import TARGETS

_GEOMETRY = ("block_size", "blocks_per_extent", "extent_count", "encrypted")


@dataclass(frozen=True)
class FoundRegion:
    """One region as ``crucible_facts`` reports it (``found``), and the target that it belongs to (``target``)."""

    target: Mapping[str, Any]
    found: Mapping[str, Any]

    @property
    def host(self) -> str:
        return str(self.target["host"])

    def geometry(self) -> Geometry:
        """Raises RegionError when there is no whole region of the right uuid at its place."""
        place = f"{self.target['path']} on {self.host}"
        if self.found["uuid"] is None:
            raise NoRegionError(f"{place} holds no region of {self.target['volume']}; seed it first.")
        if self.found["problems"]:
            raise RegionError(f"{place}: {'; '.join(self.found['problems'])}.")
        if self.found["uuid"] != self.target["region"]:
            raise ForeignRegionError(
                f"{place} holds region {self.found['uuid']}; {self.target['volume']} expects {self.target['region']}."
            )
        if self.found["ledger"]["problem"]:
            raise LedgerError(f"The ledger of {place} cannot be used: {self.found['ledger']['problem']}.")
        return Geometry(*(self.found[name] for name in _GEOMETRY))


def different_images(name: str, images: Sequence[tuple[str, str]]) -> str | None:
    """The sentence on regions of volume ``name`` that hold different images, None where they agree.

    ``images`` are pairs of a host and the sha256 of the image that its region was made from. What was imported was
    compared with that image, so these are also the checksums of the data as long as no guest has written to them.
    """
    if len({checksum for _host, checksum in images}) <= 1:
        return None
    listed = ", ".join(f"{checksum} on {host}" for host, checksum in images)
    return f"The regions of {name} were made from different images: {listed}."


def survey_volume(name: str, volume: Mapping[str, Any], regions: Sequence[FoundRegion]) -> dict[str, Any]:
    """What the regions of volume ``name`` agree on, and the floors of its next generation.

    ``volume`` is its entry in the inventory; ``regions`` are in the order of its targets. ``last`` is the newest number
    of the first target's ledger, where numbers are handed out; ``lasts`` are those of all three in the order of the
    targets, 0 for a ledger that is empty or lost; ``floors`` are all other numbers that are used up;
    ``ledgers_agree`` is False when a ledger was lost, or lacks what another one has.
    Raises RegionError, ForeignRegionError, GeometryMismatchError, LedgerError.
    """
    if len(regions) != TARGETS:
        raise RegionError(f"{name} has {len(regions)} targets; expected {TARGETS}.")
    geometries = {f"{region.host}:{region.target['port']}": region.geometry() for region in regions}
    if differences := disagreements(geometries):
        raise GeometryMismatchError(f"The regions of {name} differ: {'; '.join(differences)}.")
    images = [(region.host, str(region.found["image"]["sha256"])) for region in regions if region.found["image"]]
    if problem := different_images(name, images):
        raise GeometryMismatchError(problem)
    geometry = next(iter(geometries.values()))
    for field, found in geometry.as_dict().items():
        if field in volume and volume[field] != found:
            raise GeometryMismatchError(
                f"crucible_volumes.{name}.{field} is {volume[field]}; its three regions have {found}. The regions are "
                "right: correct the inventory."
            )
    if (volume.get("key") is not None) != geometry.encrypted:
        has = (
            "has no key; its three regions are encrypted"
            if geometry.encrypted
            else "has a key; its three regions are not encrypted"
        )
        raise GeometryMismatchError(f"crucible_volumes.{name} {has}. The regions are right: correct the inventory.")
    return {"volume_id": regions[0].target["volume_id"], **geometry.as_dict(), **_numbers(regions)}


def _numbers(regions: Sequence[FoundRegion]) -> dict[str, Any]:
    ledgers: list[int] = []
    floors: list[dict[str, Any]] = []
    for region in regions:
        last, stored = int(region.found["ledger"]["last"]), int(region.found["max_generation"])
        ledgers.append(last)
        for number, place in ((last, "ledger"), (stored, "region")):
            if number > 0:
                floors.append({"generation": number, "source": f"the {place} on {region.host}"})
    return {
        "last": ledgers[0],
        "lasts": ledgers,
        "generation": max(ledgers),
        "ledgers_agree": len({region.found["ledger"]["digest"] for region in regions}) == 1,
        "newest": max((region.found["ledger"]["newest"] or {} for region in regions), key=_generation) or None,
        "stored_generation": max(int(region.found["max_generation"]) for region in regions),
        "floors": floors,
    }


def _generation(entry: Mapping[str, Any]) -> int:
    return int(entry.get("generation", 0))
