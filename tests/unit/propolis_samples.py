# SPDX-License-Identifier: GPL-3.0-or-later
"""The by-hand document's machine, as an inventory describes it and as each age of server wants and shows it.

The bodies were written down from what ``propolis-cli`` of either age sends for these parameters.
"""

from __future__ import annotations

import copy
import json
from typing import Any

VOLUME_ID = "0cedae45-3d6e-4d90-b2cb-56f1a1a42a89"
INSTANCE_ID = "1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a01"
DESTINATION_ID = "7b0d9d0c-52aa-4c70-bb0e-6b6c2f7f0b02"
MIGRATION_ID = "3a1f7a52-0d0f-4f8e-9b7b-5d4f4a0c1c03"
NIL = "00000000-0000-0000-0000-000000000000"
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
DESCRIPTION = "propolis-cli generated instance"

METADATA = {
    "silo_id": "c0a5e1f2-6f0e-4f0c-9a55-3f2f7e1c0001",
    "project_id": "c0a5e1f2-6f0e-4f0c-9a55-3f2f7e1c0002",
    "sled_id": "c0a5e1f2-6f0e-4f0c-9a55-3f2f7e1c0003",
    "sled_serial": "fake-serial",
    "sled_revision": 1,
    "sled_model": "fake-gimlet",
}
VOLUMES: dict[str, dict[str, Any]] = {
    "helios": {
        "id": VOLUME_ID,
        "block_size": 512,
        "blocks_per_extent": 64000,
        "extent_count": 64,
        "targets": ["172.20.3.73:8810", "172.20.3.73:8820", "172.20.3.73:8830"],
    },
    "data": {
        "id": "5b1f6a52-0d0f-4f8e-9b7b-5d4f4a0c1c05",
        "block_size": 4096,
        "blocks_per_extent": 100,
        "extent_count": 10,
        "targets": ["172.20.3.74:8810", "172.20.3.74:8820", "172.20.3.74:8830"],
        "key": KEY,
        "encrypted": True,
    },
}
DISK = {"volume": "helios", "name": "helios-blockdev", "device": "virtio", "slot": 1}
INSTANCE: dict[str, Any] = {
    "id": INSTANCE_ID,
    "vcpus": 4,
    "memory_mib": 1024,
    "description": DESCRIPTION,
    "metadata": METADATA,
    "disks": [DISK],
    "host": "alpha",
    "port": 8000,
}


def vcr(generation: int = 1) -> dict[str, Any]:
    """The volume construction request of the by-hand document."""
    return {
        "type": "volume",
        "id": VOLUME_ID,
        "block_size": 512,
        "sub_volumes": [
            {
                "type": "region",
                "block_size": 512,
                "blocks_per_extent": 64000,
                "extent_count": 64,
                "opts": {
                    "id": VOLUME_ID,
                    "target": ["172.20.3.73:8810", "172.20.3.73:8820", "172.20.3.73:8830"],
                    "lossy": False,
                    "flush_timeout": None,
                    "key": None,
                    "cert_pem": None,
                    "key_pem": None,
                    "root_cert_pem": None,
                    "control": None,
                    "read_only": False,
                },
                "gen": generation,
            }
        ],
        "read_only_parent": None,
    }


def disk_request(generation: int = 1) -> dict[str, Any]:
    """The disk request of the by-hand document."""
    return {
        "device": "virtio",
        "name": "helios-blockdev",
        "read_only": False,
        "slot": 1,
        "volume_construction_request": vcr(generation),
    }


def request_json(generation: int = 1) -> str:
    return json.dumps(vcr(generation), separators=(",", ":"))


def components() -> dict[str, Any]:
    """What propolis-cli of today makes of that disk request, besides the board."""
    path = {"bus": 0, "device": 17, "function": 0}
    return {
        "helios-blockdev": {
            "type": "virtio_disk",
            "component": {"backend_id": "helios-blockdev-backend", "pci_path": path},
        },
        "helios-blockdev-backend": {
            "type": "crucible_storage_backend",
            "component": {"request_json": request_json(), "readonly": False},
        },
        "com1": {"type": "serial_port", "component": {"num": "com1"}},
        "com2": {"type": "serial_port", "component": {"num": "com2"}},
        "com3": {"type": "serial_port", "component": {"num": "com3"}},
        "com4": {"type": "serial_port", "component": {"num": "com4"}},
        "pvpanic": {"type": "qemu_pvpanic", "component": {"enable_isa": True}},
    }


def instance_spec() -> dict[str, Any]:
    board = {"cpus": 4, "memory_mb": 1024, "chipset": {"type": "i440_fx", "value": {"enable_pcie": False}}}
    return {"board": board, "components": components(), "smbios": None}


def properties(id: str = INSTANCE_ID) -> dict[str, Any]:
    return {"id": id, "name": "vm0", "description": DESCRIPTION, "metadata": dict(METADATA)}


def ensure_today() -> dict[str, Any]:
    return {"properties": properties(), "init": {"method": "Spec", "value": {"spec": instance_spec()}}}


def migrate_today() -> dict[str, Any]:
    replacement = {"request_json": request_json(2), "readonly": False}
    return {
        "properties": properties(DESTINATION_ID),
        "init": {
            "method": "MigrationTarget",
            "value": {
                "migration_id": MIGRATION_ID,
                "src_addr": "172.20.3.73:8000",
                "replace_components": {
                    "helios-blockdev-backend": {"component": "CrucibleStorageBackend", "spec": replacement}
                },
            },
        },
    }


def seed_properties(id: str = INSTANCE_ID) -> dict[str, Any]:
    return {
        "id": id,
        "name": "vm0",
        "description": DESCRIPTION,
        "image_id": NIL,
        "bootrom_id": NIL,
        "memory": 1024,
        "vcpus": 4,
    }


def ensure_seed() -> dict[str, Any]:
    return {
        "properties": seed_properties(),
        "nics": [{"name": "vnic_prop0", "slot": 0}],
        "disks": [disk_request()],
        "migrate": None,
        "cloud_init_bytes": None,
    }


def migrate_seed() -> dict[str, Any]:
    return {
        "properties": seed_properties(DESTINATION_ID),
        "nics": [{"name": "vnic_prop1", "slot": 0}],
        "disks": [disk_request(2)],
        "migrate": {"migration_id": MIGRATION_ID, "src_addr": "172.20.3.73:8000", "src_uuid": INSTANCE_ID},
        "cloud_init_bytes": None,
    }


def seed_spec() -> dict[str, Any]:
    """What a server of 2023 says of the instance that ``ensure_seed`` makes."""
    return {
        "devices": {
            "board": {"cpus": 4, "memory_mb": 1024, "chipset": {"i440_fx": {"enable_pcie": False}}},
            "storage_devices": {
                "helios-blockdev": {
                    "kind": "virtio",
                    "backend_name": "helios-blockdev",
                    "pci_path": {"bus": 0, "device": 17, "function": 0},
                }
            },
            "network_devices": {
                "vnic-0.8.0": {
                    "backend_name": "vnic-0.8.0-backend",
                    "pci_path": {"bus": 0, "device": 8, "function": 0},
                }
            },
            "serial_ports": {f"com{number}": {"num": f"com{number}"} for number in range(1, 5)},
            "pci_pci_bridges": {},
        },
        "backends": {
            "storage_backends": {"helios-blockdev": {"kind": {"crucible": {"req": vcr()}}, "readonly": False}},
            "network_backends": {"vnic-0.8.0-backend": {"kind": {"virtio": {"vnic_name": "vnic_prop0"}}}},
        },
    }


def volume_info(
    state: str = "active", generation: int = 1, last_target: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A disk status of API 5.0.0, in the form that real servers were seen to give."""
    targets = [
        {
            "region_id": f"9a3a5d3e-1111-4a1a-8a1a-00000000{port}",
            "target_addr": f"172.20.3.73:{port}",
            "repair_addr": f"172.20.3.73:{port + 4000}",
            "state": {"type": "active"},
        }
        for port in (8810, 8820, 8830)
    ]
    targets[2] |= last_target or {}
    upstairs = {
        "state": state,
        "block_size": 512,
        "upstairs_id": VOLUME_ID,
        "session_id": "5f5b8f8e-2222-4b2b-9b2b-000000000001",
        "generation": generation,
        "read_only": False,
        "encrypted": False,
        "reconcile_in_progress": False,
        "live_repair_in_progress": False,
        "targets": targets,
    }
    return {"volume_info": {"volume": {"sub_volumes": [{"upstairs": upstairs}], "read_only_parent": None}}}


def without(value: dict[str, Any], *path: str) -> dict[str, Any]:
    """A deep copy of ``value`` without the member at ``path``."""
    changed = copy.deepcopy(value)
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    return changed
