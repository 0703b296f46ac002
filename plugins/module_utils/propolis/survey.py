# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking many servers at once what they hold, where one that is away or odd is an answer too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace

from ..failures import CollectionError
from .errors import NoAnswer, Unreachable
from .instance import DiskSession, Instance, MigrationRecord, MigrationStatus, Spec
from .redaction import redact
from .server import Server
from .spec_volume import has_key
from .values import Value

_AT_ONCE = 16


@dataclass(frozen=True)
class Place:
    """A server to ask: what people call it, and its address as they wrote it."""

    name: str
    address: str


@dataclass(frozen=True)
class Report:
    """What one server said. ``error`` is the first thing that went wrong; what was learnt before it is kept."""

    place: Place
    reachable: bool
    error: CollectionError | None = None
    dialect: str | None = None
    could_not_tell: tuple[str, ...] = ()
    instance: Instance | None = None
    migration: MigrationStatus | None = None
    disks: tuple[DiskSession, ...] = ()
    keys: Mapping[str, bool] = field(default_factory=dict)
    """By backend, whether a disk has the key that it was expected to have."""
    spec: object = None

    def as_dict(self) -> dict[str, object]:
        """The form that the module ``propolis_instance_info`` returns."""
        return {
            "name": self.place.name,
            "address": self.place.address,
            "reachable": self.reachable,
            "error": self.error.message if self.error else None,
            "failure": self.error.as_dict() if self.error else None,
            "dialect": self.dialect,
            "could_not_tell": list(self.could_not_tell),
            "instance": instance_as_dict(self.instance),
            "migration": _migration_as_dict(self.migration),
            "disks": [_disk_as_dict(disk) | {"key_fits": self.keys.get(disk.backend)} for disk in self.disks],
            "spec": self.spec,
        }


def survey(
    places: Sequence[Place],
    *,
    api: str,
    timeout: float,
    with_secrets: bool = False,
    keys: Mapping[str, str] | None = None,
) -> list[Report]:
    """Ask all servers at once; the reports come in the order of ``places``. ``timeout`` bounds each request.

    ``keys`` are those that volumes are expected to have, by the volume's UUID.
    """

    def ask(place: Place) -> Report:
        return look(place, api=api, timeout=timeout, with_secrets=with_secrets, keys=keys)

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return list(pool.map(ask, places))


def look(
    place: Place, *, api: str, timeout: float, with_secrets: bool = False, keys: Mapping[str, str] | None = None
) -> Report:
    """Ask one server everything. Never raises for what a server does: the report says it."""
    report = Report(place, reachable=True)
    try:
        server = Server.open(place.address, name=place.name, api=api, timeout=timeout)
        report = replace(report, dialect=server.dialect.label, could_not_tell=server.detected.could_not_tell)
        report = replace(report, instance=server.instance())
        if report.instance is not None:
            report = replace(report, migration=server.migration_status())
            report = replace(report, disks=tuple(server.disk_sessions()))
            document = server.spec_document(redacted=False)
            report = replace(report, spec=document if with_secrets else redact(document))
            if keys and document is not None:
                spec = server.dialect.read_spec(Value(document, place.name))
                report = replace(report, keys=_which_fit(spec, keys))
    except CollectionError as error:
        return replace(report, reachable=not isinstance(error, Unreachable | NoAnswer), error=error)
    return report


def _which_fit(spec: Spec | None, keys: Mapping[str, str]) -> dict[str, bool]:
    disks = {disk.backend: disk.volume for disk in (spec.crucible_disks if spec else ()) if disk.volume}
    expected = {backend: keys.get(str(volume.id)) for backend, volume in disks.items()}
    return {backend: has_key(disks[backend], key) for backend, key in expected.items() if key is not None}


def instance_as_dict(instance: Instance | None) -> dict[str, object] | None:
    """``{id, name, state}``, or None."""
    return {"id": instance.id, "name": instance.name, "state": instance.state.value} if instance else None


def _migration_as_dict(status: MigrationStatus | None) -> dict[str, object] | None:
    """``{in, out}``, each ``{id, state}`` or None; None where the server cannot be asked without an id (2023)."""
    return {"in": _record(status.incoming), "out": _record(status.outgoing)} if status else None


def _record(record: MigrationRecord | None) -> dict[str, object] | None:
    return {"id": record.id, "state": record.phase.value} if record else None


def _disk_as_dict(disk: DiskSession) -> dict[str, object]:
    described = asdict(disk)
    described["targets"] = [
        {
            "address": target.address,
            "repair_address": target.repair_address,
            "state": target.state,
            "step": target.step,
            "mode": target.mode,
        }
        for target in disk.targets
    ]
    return described
