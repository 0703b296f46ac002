# SPDX-License-Identifier: GPL-3.0-or-later
"""The seam between us and the ages of propolis-server: what each dialect must write, read and say of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import ApiError, BadDescription
from ..instance import (
    Change,
    DiskStatus,
    Instance,
    Metadata,
    MigrationRecord,
    MigrationStatus,
    Observation,
    Phase,
    Side,
    Spec,
    SpecDisk,
    State,
    Volume,
)
from ..spec_description import Description
from ..values import Value


@dataclass(frozen=True)
class Request:
    """One HTTP request of a dialect; ``body`` None means that none is sent."""

    method: str
    path: str
    body: object = field(default=None, repr=False)


@dataclass(frozen=True)
class MigrationTarget:
    """All that a destination may have to be told, whatever its age.

    ``source`` and ``spec`` are what the source says of its instance now; ``id`` and ``name`` are the instance's at
    the destination (another id where both servers share a host). ``volumes`` maps every Crucible backend of the
    spec to its new volume construction request; ``vnics`` maps NIC backends to host interfaces of the destination.
    ``source_address`` is a literal ``IP:port`` that the destination can reach.
    """

    id: str
    name: str
    migration_id: str
    source_address: str
    source: Instance
    spec: Spec
    volumes: Mapping[str, Volume] = field(repr=False)
    vnics: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse what costs the machine: a Crucible disk without a new request, or a request for no disk at all.

        Seen on the real program: a destination that re-uses the source's generation fails after the source is gone.
        """
        backends = {disk.backend: disk for disk in self.spec.crucible_disks}
        for backend, disk in backends.items():
            if backend not in self.volumes:
                raise BadDescription(
                    f"Disk {disk.name} of instance {self.source.name} has no new volume construction request; without "
                    "a higher generation the destination cannot open it and the instance would be lost."
                )
        for backend in sorted(set(self.volumes) - set(backends)):
            raise BadDescription(
                f"{backend} is not a Crucible backend of instance {self.source.name}; "
                f"it has {', '.join(sorted(backends)) or 'none'}."
            )
        for backend in sorted(set(self.vnics) - {nic.backend for nic in self.spec.nics}):
            raise BadDescription(f"{backend} is not a NIC backend of instance {self.source.name}.")


class Dialect(ABC):
    """How one age of server is spoken with. Holds no connection and no state."""

    label: str
    """How users choose it with the option ``api``."""
    api_version: str | None = None
    """The value of the header ``api-version``, where servers of this age want one."""
    marks_source: bool = False
    """Whether ``MigrateStart`` must be sent to the source first."""
    runs_after_migration: bool = True
    """Whether a destination runs the instance by itself; otherwise it must be told to, and opens its disks then."""
    monitor_tells_migration: bool = True
    """Whether the state monitor carries the phases of a migration."""
    source_keeps_status: bool = True
    """Whether a source still answers about a migration after it has dropped the instance."""
    reports_disks: bool = True
    """Whether disks have a status at all."""
    reports_generations: bool = True
    """Whether that status tells the generation of the live session; otherwise only the spec does."""

    @abstractmethod
    def ensure(self, id: str, name: str, description: Description) -> Request:
        """The request that makes an instance. Raises BadDescription for what this age cannot express."""

    @abstractmethod
    def ensure_migration_target(self, target: MigrationTarget) -> Request:
        """The request that makes a destination fetch an instance from its source. Raises BadDescription."""

    @abstractmethod
    def migration_status(self, migration_id: str | None, side: Side | None) -> Request | None:
        """The request for the status of a migration; None when this age cannot be asked without knowing both."""

    @abstractmethod
    def disk_status(self, disk: SpecDisk) -> Request | None:
        """The request for the status of a Crucible disk; None when this age has none."""

    @abstractmethod
    def read_instance(self, value: Value) -> Instance:
        """Read the answer to ``GET /instance``."""

    @abstractmethod
    def read_spec(self, value: Value) -> Spec | None:
        """Read the answer to ``GET /instance/spec``; None while a destination waits for its source's spec."""

    @abstractmethod
    def read_migration_status(self, value: Value, migration_id: str | None, side: Side | None) -> MigrationStatus:
        """Read the answer to ``migration_status``."""

    @abstractmethod
    def read_disk_status(self, value: Value) -> DiskStatus:
        """Read the answer to ``disk_status``."""

    @abstractmethod
    def explain(self, request: Request, error: ApiError) -> ApiError:
        """The telling class for a refusal: NoInstance, AlreadyInitialized, StateChangeRefused, OtherMigration."""

    def change_state(self, change: Change) -> Request:
        """The request that changes the state; the answer only means that it was queued."""
        return Request("PUT", "/instance/state", change.value)

    def monitor(self, generation: int) -> Request:
        """The long poll: answered as soon as the instance's publications have reached ``generation``."""
        return Request("GET", "/instance/state-monitor", {"gen": generation})

    def read_monitor(self, value: Value) -> Observation:
        """Read the answer to ``monitor``."""
        migration = read_both_sides(value.get("migration")) if value.has("migration") else None
        return Observation(value.get("gen").number(), value.get("state").choice(State), migration)


def read_both_sides(value: Value) -> MigrationStatus:
    """``{"migration_in": record or null, "migration_out": record or null}``."""
    return MigrationStatus(_record(value.get("migration_in")), _record(value.get("migration_out")))


def _record(value: Value) -> MigrationRecord | None:
    if value.is_null:
        return None
    return MigrationRecord(value.get("id").uuid(), value.get("state").choice(Phase))


def read_metadata(value: Value) -> Metadata | None:
    """The six labels of ``properties.metadata``; None where there are none."""
    if value.is_null:
        return None
    return Metadata(
        silo_id=value.get("silo_id").uuid(),
        project_id=value.get("project_id").uuid(),
        sled_id=value.get("sled_id").uuid(),
        sled_serial=value.get("sled_serial").text(),
        sled_revision=value.get("sled_revision").number(),
        sled_model=value.get("sled_model").text(),
    )
