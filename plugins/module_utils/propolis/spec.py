# SPDX-License-Identifier: GPL-3.0-or-later
"""From a description of a machine to the InstanceSpec of today's servers, built the way ``propolis-cli`` builds it."""

from __future__ import annotations

import json
from dataclasses import asdict

from .errors import BadDescription
from .instance import Volume
from .spec_description import Description, DiskRequest

FIRST_DISK_DEVICE = 0x10  # the PCI device of disk slot 0 (propolis-cli, and the server of 2023)
FIRST_NIC_DEVICE = 0x08  # the PCI device of NIC slot 0
CLOUD_INIT_DEVICE = 0x18
SERIAL_NUMBER_BYTES = 20
SERIAL_PORTS = ("com1", "com2", "com3", "com4")


def instance_spec(description: Description, *, smbios: bool) -> dict[str, object]:
    """The ``InstanceSpec`` of the versioned API.

    ``smbios`` says whether the version knows that member (2.0.0 and later; 1.0.0 refuses unknown members).
    Every spec has com1: a server panics on one that has not.
    """
    spec: dict[str, object] = {
        "board": {
            "cpus": description.cpus,
            "memory_mb": description.memory_mib,
            "chipset": {"type": "i440_fx", "value": {"enable_pcie": description.enable_pcie}},
        },
        "components": _components(description),
    }
    if smbios:
        spec["smbios"] = asdict(description.smbios) if description.smbios else None
    elif description.smbios:
        raise BadDescription("spec.smbios needs a server of API 2.0.0 or later; this request is for 1.0.0.")
    return spec


def _components(description: Description) -> dict[str, object]:
    components: dict[str, object] = {}
    for disk in description.disks:
        components[disk.name] = _disk_device(disk)
        components[f"{disk.name}-backend"] = component(
            "crucible_storage_backend", **crucible_backend(disk.volume, disk.read_only)
        )
    for nic in description.nics:
        components[nic.name] = component(
            "virtio_nic",
            backend_id=f"{nic.name}-backend",
            interface_id=nic.interface_id,
            pci_path=_pci_path(FIRST_NIC_DEVICE + nic.slot),
        )
        components[f"{nic.name}-backend"] = component("virtio_network_backend", vnic_name=nic.name)
    if description.cloud_init is not None:
        components["cloud-init"] = component(
            "virtio_disk", backend_id="cloud-init-backend", pci_path=_pci_path(CLOUD_INIT_DEVICE)
        )
        components["cloud-init-backend"] = component(
            "blob_storage_backend", base64=description.cloud_init, readonly=True
        )
    for port in SERIAL_PORTS:
        components[port] = component("serial_port", num=port)
    if description.pvpanic:
        components["pvpanic"] = component("qemu_pvpanic", enable_isa=True)
    if description.boot_order:
        components["boot-settings"] = component(
            "boot_settings", order=[{"id": name} for name in description.boot_order]
        )
    return components


def component(kind: str, **payload: object) -> dict[str, object]:
    """A component of the spec: its type and what belongs to it."""
    return {"type": kind, "component": payload}


def crucible_backend(volume: Volume, read_only: bool) -> dict[str, object]:
    """What a Crucible backend holds: the volume construction request as one text. It has keys in it: secret."""
    return {"request_json": json.dumps(volume.request, separators=(",", ":")), "readonly": read_only}


def _disk_device(disk: DiskRequest) -> dict[str, object]:
    path = _pci_path(FIRST_DISK_DEVICE + disk.slot)
    backend = f"{disk.name}-backend"
    if disk.device == "virtio":
        return component("virtio_disk", backend_id=backend, pci_path=path)
    # The first 20 bytes of the name, padded with spaces as propolis-cli does.
    serial = list(disk.name.encode()[:SERIAL_NUMBER_BYTES].ljust(SERIAL_NUMBER_BYTES))
    return component("nvme_disk", backend_id=backend, pci_path=path, serial_number=serial)


def _pci_path(device: int) -> dict[str, int]:
    return {"bus": 0, "device": device, "function": 0}
