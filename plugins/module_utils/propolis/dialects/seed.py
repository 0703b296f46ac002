# SPDX-License-Identifier: GPL-3.0-or-later
"""The dialect of January 2023: disk requests, devices from the server's TOML, MigrateStart, and Run after a move."""

from __future__ import annotations

from ..errors import ApiError, BadDescription, NoInstance, NoMigration, OtherMigration, StateChangeRefused
from ..instance import (
    NIL_UUID,
    DiskStatus,
    Instance,
    MigrationRecord,
    MigrationStatus,
    PciPath,
    Phase,
    Side,
    Spec,
    SpecDisk,
    SpecNic,
    State,
)
from ..spec import FIRST_NIC_DEVICE
from ..spec_description import SLOTS, Description
from ..spec_volume import read_volume
from ..values import Value
from .base import Dialect, MigrationTarget, Request

LABEL = "2023-01"

_STATUS_PATH = "/instance/migrate/status"
_CLOUD_INIT_NAME = "cloud-init"
# What the migration status endpoint says in its 400 answers (read in the source of the server of that date).
_NO_MIGRATION = "no migration is currently in progress"
_OTHER_MIGRATION = "unexpected Uuid"


class SeedDialect(Dialect):
    """Servers of the by-hand document (2023-01-19). The API had no versions then."""

    label = LABEL
    marks_source = True
    runs_after_migration = False
    monitor_tells_migration = False
    source_keeps_status = False
    reports_disks = False
    reports_generations = False

    def ensure(self, id: str, name: str, description: Description) -> Request:
        self._refuse_unknown(description)
        return Request(
            "PUT",
            "/instance",
            {
                "properties": _properties(id, name, description.description, description.cpus, description.memory_mib),
                "nics": [{"name": nic.name, "slot": nic.slot} for nic in description.nics],
                "disks": [disk.to_json() for disk in description.disks],
                "migrate": None,
                "cloud_init_bytes": description.cloud_init,
            },
        )

    @staticmethod
    def _refuse_unknown(description: Description) -> None:
        """What a server of this age would leave out without a word is refused here."""
        for member, given, instead in (
            ("boot_order", description.boot_order, "the firmware's own order is used"),
            ("smbios", description.smbios, "there is no such input"),
            ("enable_pcie", description.enable_pcie, "set enable-pcie in the chipset table of the server's config"),
        ):
            if given:
                raise BadDescription(f"spec.{member} is not known to servers of January 2023: {instead}.")

    def ensure_migration_target(self, target: MigrationTarget) -> Request:
        """A destination of this age builds its own spec and refuses to go on when it differs from the source's."""
        target.check()
        if any(disk.name == _CLOUD_INIT_NAME for disk in target.spec.disks):
            raise BadDescription(
                f"Instance {target.source.name} was made with a cloud-init disk, which a server of January 2023 cannot "
                "be told about in a migration; its two ends would differ."
            )
        cpus, memory = target.source.cpus, target.source.memory_mib
        return Request(
            "PUT",
            "/instance",
            {
                "properties": _properties(
                    target.id,
                    target.name,
                    target.source.description,
                    target.spec.cpus if cpus is None else cpus,
                    target.spec.memory_mib if memory is None else memory,
                ),
                "nics": [
                    {"name": target.vnics.get(nic.backend, nic.vnic), "slot": nic.pci_path.device - FIRST_NIC_DEVICE}
                    for nic in target.spec.nics
                    if nic.pci_path.device - FIRST_NIC_DEVICE in SLOTS  # others can only come from the config
                ],
                "disks": [
                    {
                        "device": disk.device,
                        "name": disk.name,
                        "read_only": disk.read_only,
                        "slot": disk.slot,
                        "volume_construction_request": dict(target.volumes[disk.backend].request),
                    }
                    for disk in target.spec.crucible_disks
                ],
                "migrate": {
                    "migration_id": target.migration_id,
                    "src_addr": target.source_address,
                    "src_uuid": target.source.id,
                },
                "cloud_init_bytes": None,
            },
        )

    def migration_status(self, migration_id: str | None, side: Side | None) -> Request | None:
        if migration_id is None or side is None:
            return None  # a server of this age answers for one id only, and does not say which end it is
        return Request("GET", _STATUS_PATH, {"migration_id": migration_id})

    def disk_status(self, disk: SpecDisk) -> Request | None:
        return None

    def read_instance(self, value: Value) -> Instance:
        instance = value.get("instance")
        properties = instance.get("properties")
        return Instance(
            id=properties.get("id").uuid(),
            name=properties.get("name").text(),
            state=instance.get("state").choice(State),
            description=properties.get("description").text(),
            cpus=properties.get("vcpus").number(),
            memory_mib=properties.get("memory").number(),
        )

    def read_spec(self, value: Value) -> Spec | None:
        devices = value.get("spec").get("devices")
        backends = value.get("spec").get("backends")
        board = devices.get("board")
        return Spec(
            cpus=board.get("cpus").number(),
            memory_mib=board.get("memory_mb").number(),
            disks=tuple(
                _disk(name, device, backends.get("storage_backends"))
                for name, device in devices.get("storage_devices").members()
            ),
            nics=tuple(
                _nic(name, device, backends.get("network_backends"))
                for name, device in devices.get("network_devices").members()
            ),
            immovable=tuple(name for name, _bridge in devices.get("pci_pci_bridges").members()),
        )

    def read_migration_status(self, value: Value, migration_id: str | None, side: Side | None) -> MigrationStatus:
        """``{"state": phase}``; which migration and which end it is only the caller knows."""
        record = MigrationRecord(migration_id or NIL_UUID, value.get("state").choice(Phase))
        return MigrationStatus(incoming=record) if side is Side.IN else MigrationStatus(outgoing=record)

    def read_disk_status(self, value: Value) -> DiskStatus:
        raise value.wrong("nothing: servers of January 2023 have no disk status")

    def explain(self, request: Request, error: ApiError) -> ApiError:
        """These servers hide the reason of a 500; for all requests but the first it means that there is no instance."""
        if error.status == 500 and (request.method, request.path) != ("PUT", "/instance"):
            return NoInstance.like(error)
        if request.path == _STATUS_PATH and _NO_MIGRATION in error.api_message:
            return NoMigration.like(error)
        if request.path == _STATUS_PATH and _OTHER_MIGRATION in error.api_message:
            return OtherMigration.like(error)
        if request.path == "/instance/state" and error.status == 400:
            return StateChangeRefused.like(error)
        return error


def _properties(id: str, name: str, description: str, cpus: int, memory_mib: int) -> dict[str, object]:
    # The two image ids are required and used by nobody: propolis-cli sends nil UUIDs too.
    return {
        "id": id,
        "name": name,
        "description": description,
        "image_id": NIL_UUID,
        "bootrom_id": NIL_UUID,
        "memory": memory_mib,
        "vcpus": cpus,
    }


def _pci_path(value: Value) -> PciPath:
    return PciPath(value.get("bus").number(), value.get("device").number(), value.get("function").number())


def _disk(name: str, device: Value, backends: Value) -> SpecDisk:
    """A device and the backend that it names. Backends are tagged by their only member: crucible, file or in_memory."""
    backend_name = device.get("backend_name").text()
    backend = backends.get(backend_name)
    kind = backend.get("kind")
    crucible = kind.has("crucible")
    return SpecDisk(
        name=name,
        backend=backend_name,
        device=device.get("kind").text(),
        kind="crucible" if crucible else "file" if kind.has("file") else "blob",
        pci_path=_pci_path(device.get("pci_path")),
        read_only=backend.get("readonly").boolean(),
        volume=read_volume(kind.get("crucible").get("req")) if crucible else None,
    )


def _nic(name: str, device: Value, backends: Value) -> SpecNic:
    backend_name = device.get("backend_name").text()
    kind = backends.get(backend_name).get("kind")
    return SpecNic(
        name=name,
        backend=backend_name,
        vnic=(kind.get("virtio") if kind.has("virtio") else kind.get("dlpi")).get("vnic_name").text(),
        pci_path=_pci_path(device.get("pci_path")),
    )
