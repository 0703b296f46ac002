# SPDX-License-Identifier: GPL-3.0-or-later
"""A volume as the inventory describes it: checked with sentences, rendered as a volume construction request."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import uuid as uuids
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..failures import shown
from .errors import InvalidValueError
from .geometry import Geometry

TARGETS = 3
KEY_BYTES = 32
REPAIR_PORT_OFFSET = 4000
"""A downstairs answers HTTP on a port so far above that of its data."""
HIGHEST_PORT = 65535 - REPAIR_PORT_OFFSET
# SQLite of January 2023 stores signed numbers, and the largest extent's generation + 1 must still fit.
HIGHEST_GENERATION = (1 << 63) - 2


class VolumeError(InvalidValueError):
    """The description of a volume cannot be used."""

    default_code = "invalid_volume"


@dataclass(frozen=True)
class Target:
    """Where one downstairs listens for data. ``host`` is its inventory name, where that is known."""

    address: str
    port: int
    host: str | None = None

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def name(self) -> str:
        return f"{self} ({self.host:.200})" if self.host else str(self)

    @property
    def wildcard(self) -> bool:
        return ipaddress.ip_address(self.address).is_unspecified


@dataclass(frozen=True)
class Volume:
    """One volume. ``key`` (base64 of 32 bytes) is a secret: it is in no representation and no error."""

    id: str
    geometry: Geometry
    targets: tuple[Target, ...]
    key: str | None = field(default=None, repr=False)
    read_only: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_mapping(cls, volume: Mapping[str, Any], addresses: Mapping[str, str] | None = None) -> Volume:
        """Read ``crucible_volumes[name]`` of the inventory. Keys that are not ours are left alone.

        ``addresses`` gives the IP address of target hosts that name none. Raises VolumeError.
        """
        if not isinstance(volume, Mapping):
            raise VolumeError("volume", type(volume).__name__, "a mapping with id, geometry and targets")
        identity = _uuid(volume.get("id"))
        geometry = Geometry(
            _whole_number(volume, "block_size", 512),
            _whole_number(volume, "blocks_per_extent"),
            _whole_number(volume, "extent_count"),
            _truth(volume, "encrypted", default=volume.get("key") is not None),
        ).validated()
        targets = _targets(volume.get("targets"), addresses or {})
        _check_targets(targets, allow_wildcard=_truth(volume, "allow_wildcard", default=False))
        return cls(
            identity, geometry, targets, _key(volume.get("key"), geometry.encrypted),
            _truth(volume, "read_only", default=False),
            {name: volume.get(name) for name in ("flush_timeout", "cert_pem", "key_pem", "root_cert_pem", "control")},
        )  # fmt: skip

    def construction_request(self, generation: int) -> dict[str, Any]:
        """The volume construction request of an upstairs, with every key, as Crucible's own programs write it.

        Holds the key when the volume is encrypted. Raises VolumeError for a generation that nobody may use.
        """
        return {
            "type": "volume",
            "id": self.id,
            "block_size": self.geometry.block_size,
            "sub_volumes": [
                {
                    "type": "region",
                    "block_size": self.geometry.block_size,
                    "blocks_per_extent": self.geometry.blocks_per_extent,
                    "extent_count": self.geometry.extent_count,
                    "opts": {
                        "id": self.id,
                        "target": [str(target) for target in self.targets],
                        "lossy": False,
                        "flush_timeout": self.options.get("flush_timeout"),
                        "key": self.key,
                        "cert_pem": self.options.get("cert_pem"),
                        "key_pem": self.options.get("key_pem"),
                        "root_cert_pem": self.options.get("root_cert_pem"),
                        "control": self.options.get("control"),
                        "read_only": self.read_only,
                    },
                    "gen": check_generation(generation),
                }
            ],
            "read_only_parent": None,
        }


def check_generation(generation: Any, field_name: str = "generation") -> int:
    """A number that an upstairs may use: 1 or more. Text of digits is taken for it. Raises VolumeError."""
    number = _as_number(generation)
    if number is None or not 1 <= number <= HIGHEST_GENERATION:
        raise VolumeError(
            field_name, generation, f"a whole number from 1 to {HIGHEST_GENERATION}", code="invalid_generation",
            hint="0 is illegal for an upstairs",
        )  # fmt: skip
    return number


def parse_address(field_name: str, text: Any) -> tuple[str, int]:
    """``ip:port`` or ``[ip]:port``; host names are not understood by Crucible. Raises VolumeError."""
    host, separator, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    bracketed = host.startswith("[") and host.endswith("]")
    if not separator or (":" in host and not bracketed):
        raise VolumeError(field_name, text, "'IP:port', with an IPv6 address in brackets")
    return check_ip(field_name, host[1:-1] if bracketed else host), check_port(field_name, port)


def check_ip(field_name: str, address: Any) -> str:
    """An IP address in its usual spelling. Raises VolumeError: Crucible takes no names, not even localhost."""
    try:
        found = ipaddress.ip_address(address) if isinstance(address, str) else None
    except ValueError:
        found = None
    if found is None or "%" in str(found):
        raise VolumeError(field_name, address, "an IP address; Crucible takes no host names")
    return str(found)


def check_port(field_name: str, port: Any) -> int:
    """A data port, which must leave room for the repair port 4000 above it. Raises VolumeError."""
    number = _as_number(port)
    if number is None or not 1 <= number <= HIGHEST_PORT:
        raise VolumeError(
            field_name, port, f"a port from 1 to {HIGHEST_PORT}",
            hint=f"the repair API listens on the port {REPAIR_PORT_OFFSET} above it",
        )  # fmt: skip
    return number


def _targets(found: Any, addresses: Mapping[str, str]) -> tuple[Target, ...]:
    if isinstance(found, str) or not isinstance(found, Sequence) or len(found) != TARGETS:
        count = "nothing" if found is None else len(found) if isinstance(found, Sequence) else found
        raise VolumeError("targets", count, f"exactly {TARGETS} targets", hint="an upstairs drives three downstairs")
    return tuple(_target(f"targets[{number}]", target, addresses) for number, target in enumerate(found))


def _target(name: str, found: Any, addresses: Mapping[str, str]) -> Target:
    if isinstance(found, str):
        return Target(*parse_address(name, found))
    if not isinstance(found, Mapping):
        raise VolumeError(name, found, "'IP:port' or a mapping with host, port and address")
    host = found.get("host")
    address = found.get("address") or addresses.get(str(host))
    if address is None:
        raise VolumeError(
            f"{name}.address", None, "an IP address", hint=f"nothing says where host {shown(host)} can be reached"
        )
    return Target(
        check_ip(f"{name}.address", address),
        check_port(f"{name}.port", found.get("port")),
        None if host is None else str(host),
    )


def _check_targets(targets: Sequence[Target], *, allow_wildcard: bool) -> None:
    seen: dict[tuple[str, int], Target] = {}
    for target in targets:
        other = seen.setdefault((target.address, target.port), target)
        if other is not target:
            raise VolumeError("targets", target.name, "three different ones", hint=f"{other.name} is there already")
        for above in targets:
            if above.address == target.address and above.port == target.port + REPAIR_PORT_OFFSET:
                raise VolumeError(
                    "targets", above.name, f"ports that are not {REPAIR_PORT_OFFSET} apart on one address",
                    hint=f"{target.name} has its repair API there",
                )  # fmt: skip
    wild = [target for target in targets if target.wildcard]
    if wild and (len(wild) != len(targets) or not allow_wildcard):
        raise VolumeError(
            "targets", wild[0].name, "the address of the host itself", code="wildcard_address",
            hint="a downstairs advertises the address it listens on for repair, and a wildcard means another host to "
            "each of them; with all three on one host set allow_wildcard",
        )  # fmt: skip


def _key(found: Any, encrypted: bool) -> str | None:
    if found is None:
        if encrypted:
            raise VolumeError("key", None, f"base64 of {KEY_BYTES} bytes", hint="the volume's regions are encrypted")
        return None
    if not encrypted:
        raise VolumeError("key", "a key", "none", hint="the volume's regions are not encrypted")
    try:
        length: int | str = len(base64.b64decode(found, validate=True))
    except (binascii.Error, ValueError, TypeError):
        length = "something else"
    if length != KEY_BYTES:
        what = f"{length} bytes" if isinstance(length, int) else length
        raise VolumeError("key", what, f"base64 (with padding) of {KEY_BYTES} bytes")
    return str(found)


def _uuid(found: Any) -> str:
    try:
        return str(uuids.UUID(found)) if isinstance(found, str) else str(found.hex and uuids.UUID(found.hex))
    except (ValueError, AttributeError, TypeError):
        raise VolumeError("id", found, "a UUID") from None


def _whole_number(values: Mapping[str, Any], name: str, default: int | None = None) -> int:
    found = values.get(name, default)
    number = _as_number(found)
    if number is None:
        raise VolumeError(name, found, "a whole number")
    return number


def _as_number(found: Any) -> int | None:
    if isinstance(found, bool):
        return None
    if isinstance(found, int):
        return found
    if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) < 21:
        return int(found)
    return None


def _truth(values: Mapping[str, Any], name: str, *, default: bool) -> bool:
    found = values.get(name, default)
    if not isinstance(found, bool):
        raise VolumeError(name, found, "true or false")
    return found
