# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between the machine that somebody describes and the one that a server runs: a live one never changes."""

from __future__ import annotations

from .instance import Spec, SpecDisk
from .spec import FIRST_DISK_DEVICE
from .spec_description import Description, DiskRequest
from .spec_volume import same_but_generation


def drift(wanted: Description, found: Spec) -> list[str]:
    """Each difference as a clause without secrets. Generations are left out: they differ after every move."""
    clauses = []
    for what, described, running in (
        ("cpus", wanted.cpus, found.cpus),
        ("memory_mib", wanted.memory_mib, found.memory_mib),
    ):
        if described != running:
            clauses.append(f"{what} is {running}, described as {described}")
    disks = {disk.name: disk for disk in found.crucible_disks}
    for request in wanted.disks:
        disk = disks.pop(request.name, None)
        clauses += [f"disk {request.name} is missing"] if disk is None else _disk_drift(request, disk)
    clauses += [f"disk {name} is not described" for name in disks]
    return clauses


def _disk_drift(request: DiskRequest, disk: SpecDisk) -> list[str]:
    clauses = []
    for what, described, running in (
        ("device", request.device, disk.device),
        ("slot", request.slot, disk.pci_path.device - FIRST_DISK_DEVICE),
        ("read_only", request.read_only, disk.read_only),
    ):
        if described != running:
            clauses.append(f"disk {request.name}: {what} is {running}, described as {described}")
    if disk.volume is not None and not same_but_generation(request.volume, disk.volume):
        clauses.append(f"disk {request.name}: its volume construction request is another than the described one")
    return clauses
