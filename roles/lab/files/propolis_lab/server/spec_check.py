# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the components of a spec fit together: what the real server refuses with 400 before it makes anything.

The four texts about backends, PCI paths and serial ports were seen on the real program; the others were read in its
source.
"""

from __future__ import annotations

from propolis_lab.server.instance_spec import Component, InstanceSpec, PciPath

STORAGE_DEVICES = ("virtio_disk", "nvme_disk")
STORAGE_BACKENDS = ("crucible_storage_backend", "file_storage_backend", "blob_storage_backend")
_NETWORK_BACKENDS = ("virtio_network_backend", "dlpi_network_backend")
_FALCON = ("soft_npu_pci_port", "soft_npu_port", "soft_npu_p9", "p9fs")
_ONE_ONLY = {
    "qemu_pvpanic": "pvpanic device already specified",
    "boot_settings": "boot settings were already specified",
    "virtio_socket": "vsock device already specified",
}


class SpecError(Exception):
    """The spec is not one that a VM can be made of; the text is the reason."""


def check(spec: InstanceSpec) -> None:
    """Raise SpecError for the first thing that does not fit; devices are looked at in the order of their names."""
    paths: set[PciPath] = set()
    used: set[str] = set()
    ports: set[str] = set()
    for name, component in sorted(spec.components.items()):
        _check_supported(name, component)
        _check_backend(spec, name, component, used)
        _check_place(component, paths)
        if component.kind == "serial_port":
            number = component.text("num")
            if number in ports:
                raise SpecError(f"serial port {number.capitalize()} is already specified")
            ports.add(number)
    for kind, text in _ONE_ONLY.items():
        if len(spec.of_kind(kind)) > 1:
            raise SpecError(text)
    for name in spec.of_kind(*STORAGE_BACKENDS, *_NETWORK_BACKENDS):
        if name not in used:
            raise SpecError(f"backend {name} not used by any device")
    for settings in spec.of_kind("boot_settings").values():
        for entry in settings.fields["order"]:
            if entry["id"] not in spec.of_kind(*STORAGE_DEVICES, "virtio_nic"):
                raise SpecError(f"boot option {entry['id']} is not an attached device")
    _check_cpuid(spec)


def _check_supported(name: str, component: Component) -> None:
    if component.kind in _FALCON:
        raise SpecError(f"support for component {name} compiled out via falcon")
    if component.kind == "migration_failure_injector":
        raise SpecError(f"support for component {name} compiled out via failure-injection")


def _check_backend(spec: InstanceSpec, name: str, component: Component, used: set[str]) -> None:
    backend = component.backend_id
    if backend is None:
        return
    storage = component.kind in STORAGE_DEVICES
    found = spec.components.get(backend)
    if found is None or found.kind not in (STORAGE_BACKENDS if storage else _NETWORK_BACKENDS):
        raise SpecError(f"{'storage' if storage else 'network'} backend {backend} not found for device {name}")
    used.add(backend)


def _check_place(component: Component, paths: set[PciPath]) -> None:
    path = component.pci_path
    if path is None:
        return
    if path in paths:
        raise SpecError(f"a PCI device is already attached at {path}")
    paths.add(path)


def _check_cpuid(spec: InstanceSpec) -> None:
    if spec.board.cpuid is None:
        return
    seen: set[tuple[int, int | None]] = set()
    for entry in spec.board.cpuid["entries"]:
        key = (entry["leaf"], entry["subleaf"])
        if key in seen:
            raise SpecError(f"duplicate CPUID leaf/subleaf: leaf {key[0]:x}, subleaf {key[1]}")
        seen.add(key)
