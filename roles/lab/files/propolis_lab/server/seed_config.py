# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration file of the server of January 2023 (`run CONFIG.toml ADDR`): boot ROM, chipset and fixed
devices."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from propolis_lab.server.instance_spec import PciPath

_DISK_DRIVERS = {"pci-virtio-block": "virtio", "pci-nvme": "nvme"}
_NIC_DRIVER = "pci-virtio-viona"


class ConfigError(Exception):
    """The file is not a configuration; the text says what is wrong."""


@dataclass(frozen=True)
class ConfigDisk:
    """A disk of the file: device name and kind, backing file."""

    name: str
    kind: str
    pci_path: PciPath
    backend: str
    path: str
    readonly: bool


@dataclass(frozen=True)
class ConfigNic:
    """A network card of the file."""

    pci_path: PciPath
    vnic: str


@dataclass(frozen=True)
class ConfigBridge:
    """A PCI bridge of the file."""

    pci_path: PciPath
    downstream_bus: int


@dataclass(frozen=True)
class SeedConfig:
    """The whole file."""

    bootrom: Path
    enable_pcie: bool = False
    disks: tuple[ConfigDisk, ...] = ()
    nics: tuple[ConfigNic, ...] = ()
    bridges: tuple[ConfigBridge, ...] = ()
    source: Path = field(default=Path("config.toml"))


def read_config(path: Path) -> SeedConfig:
    """Read the file; raises ConfigError."""
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{error.strerror} (os error {error.errno})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    bootrom = table.get("bootrom")
    if not isinstance(bootrom, str):
        raise ConfigError("missing field `bootrom`")
    chipset = _table(table, "chipset")
    backends = {name: _backend(name, entry) for name, entry in _table(table, "block_dev").items()}
    disks: list[ConfigDisk] = []
    nics: list[ConfigNic] = []
    for name, device in _table(table, "dev").items():
        driver = device.get("driver") if isinstance(device, dict) else None
        if driver in _DISK_DRIVERS:
            disks.append(_disk(name, _DISK_DRIVERS[driver], device, backends))
        elif driver == _NIC_DRIVER:
            nics.append(ConfigNic(_pci_path(name, device), _text(name, device, "vnic")))
        else:
            raise ConfigError(f"device {name}: unrecognized device type {driver!r}")
    bridges = tuple(_bridge(entry) for entry in table.get("pci_bridge", []))
    return SeedConfig(Path(bootrom), bool(chipset.get("enable-pcie", False)), tuple(disks), tuple(nics), bridges, path)


def _table(table: dict[str, Any], name: str) -> dict[str, Any]:
    value = table.get(name, {})
    if not isinstance(value, dict):
        raise ConfigError(f"invalid type: {type(value).__name__}, expected a table for key `{name}`")
    return value


def _text(name: str, table: dict[str, Any], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str):
        raise ConfigError(f"{name}: {key} is {value!r}, expected a string")
    return value


def _backend(name: str, entry: Any) -> tuple[str, bool]:
    if not isinstance(entry, dict) or entry.get("type") != "file":
        raise ConfigError(f'block_dev.{name}: expected a table with type = "file"')
    return _text(f"block_dev.{name}", entry, "path"), bool(entry.get("readonly", False))


def _disk(name: str, kind: str, device: dict[str, Any], backends: dict[str, tuple[str, bool]]) -> ConfigDisk:
    backend = _text(name, device, "block_dev")
    if backend not in backends:
        raise ConfigError(f"device {name}: there is no block_dev.{backend}")
    path, readonly = backends[backend]
    return ConfigDisk(name, kind, _pci_path(name, device), backend, path, readonly)


def _pci_path(name: str, table: dict[str, Any]) -> PciPath:
    text = _text(name, table, "pci-path")
    parts = text.split(".")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        raise ConfigError(f"{name}: pci-path is {text!r}, expected BUS.DEVICE.FUNCTION")
    bus, device, function = (int(part) for part in parts)
    if bus > 255 or device > 31 or function > 7:
        raise ConfigError(f"{name}: pci-path {text!r} is out of range")
    return PciPath(bus, device, function)


def _bridge(entry: Any) -> ConfigBridge:
    if not isinstance(entry, dict) or not isinstance(entry.get("downstream-bus"), int):
        raise ConfigError("pci_bridge: expected pci-path and downstream-bus")
    return ConfigBridge(_pci_path("pci_bridge", entry), int(entry["downstream-bus"]))
