# SPDX-License-Identifier: GPL-3.0-or-later
"""What a volume construction request says, parsed and checked as the real programs do.

The format (internally tagged JSON, optional fields null or absent, the generation named ``gen``) was read in the real
program's source and seen in requests; texts and panics were seen unless said otherwise.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any, TypeAlias
from uuid import UUID, uuid4

from ..protocol.basics import SocketAddress
from .errors import RequestError
from .fields import U32_MAX, Fields, describe

REPLICAS = 3
KEY_BYTES = 32


@dataclass(frozen=True)
class RegionOptions:
    """The ``opts`` of a region. ``id`` is the upstairs id; ``flush_timeout`` in seconds; ``key`` 32 bytes or None."""

    id: UUID
    targets: tuple[SocketAddress, ...]
    lossy: bool = False
    flush_timeout: float | None = None
    key: bytes | None = field(default=None, repr=False)
    cert_pem: str | None = None
    key_pem: str | None = field(default=None, repr=False)
    root_cert_pem: str | None = None
    control: str | None = None
    read_only: bool = False


@dataclass(frozen=True)
class RegionRequest:
    """Three equal regions that hold a piece of the volume. Sizes in bytes and blocks."""

    block_size: int
    blocks_per_extent: int
    extent_count: int
    generation: int
    options: RegionOptions

    @property
    def blocks(self) -> int:
        return self.blocks_per_extent * self.extent_count


@dataclass(frozen=True)
class VolumeRequest:
    """A volume: its pieces one after the other, and what shows through where they were never written."""

    id: UUID
    block_size: int
    sub_volumes: tuple[Piece, ...]
    read_only_parent: Piece | None = None

    @property
    def blocks(self) -> int:
        return sum(piece.blocks for piece in self.sub_volumes)

    def regions(self) -> list[RegionRequest]:
        """All regions of the volume and of its parents, in the order in which they are written down."""
        found: list[RegionRequest] = []
        for piece in (*self.sub_volumes, *([self.read_only_parent] if self.read_only_parent else [])):
            found += [piece] if isinstance(piece, RegionRequest) else piece.regions()
        return found


Piece: TypeAlias = RegionRequest | VolumeRequest


def parse(vcr: str | dict[str, Any], message_version: int = 13) -> VolumeRequest:
    """The request in a JSON text or an already parsed object.

    ``message_version`` 1 reads it as the programs of 2023 do. Raises RequestError; its ``panics`` says that the real
    program aborts.
    """
    if isinstance(vcr, str):
        try:
            value = json.loads(vcr)
        except ValueError as error:
            raise RequestError(f"The volume construction request is not JSON: {error}.") from error
    else:
        value = vcr
    piece = _piece(value, message_version)
    if isinstance(piece, VolumeRequest):
        return piece
    return VolumeRequest(uuid4(), piece.block_size, (piece,))  # as the real program wraps what is no volume


def with_targets(region: RegionRequest, targets: tuple[SocketAddress, ...]) -> RegionRequest:
    return replace(region, options=replace(region.options, targets=targets))


def _piece(value: Any, version: int) -> Piece:
    fields = Fields(value, "internally tagged enum VolumeConstructionRequest")
    kind = fields.text("type")
    if kind == "volume":
        return _volume(fields, version)
    if kind == "region":
        return _region(fields, version)
    if kind in ("url", "file"):
        raise RequestError(
            f"A sub-volume of type `{kind}` is not served by the lab's upstairs, only `volume` and `region` are."
        )
    raise RequestError(f"unknown variant `{kind[:60]}`, expected one of `volume`, `url`, `region`, `file`")


def _volume(fields: Fields, version: int) -> VolumeRequest:
    return VolumeRequest(
        id=fields.uuid("id"),
        block_size=fields.number("block_size"),
        sub_volumes=tuple(_piece(value, version) for value in fields.items("sub_volumes")),
        read_only_parent=None if (parent := fields.values.get("read_only_parent")) is None else _piece(parent, version),
    )


def check_block_sizes(volume: VolumeRequest) -> None:
    """Raises RequestError unless all pieces have the volume's block size. The real program sees it when it builds."""
    parents = [volume.read_only_parent] if volume.read_only_parent else []
    for piece in (*volume.sub_volumes, *parents):
        if piece.block_size != volume.block_size:
            text = f"Block size mismatch: the volume has {volume.block_size}, a piece of it {piece.block_size}"
            raise RequestError(text, real="Block size mismatch")
        if isinstance(piece, VolumeRequest):
            check_block_sizes(piece)


def _region(fields: Fields, version: int) -> RegionRequest:
    region = RegionRequest(
        block_size=fields.number("block_size"),
        blocks_per_extent=fields.number("blocks_per_extent"),
        extent_count=fields.number("extent_count", U32_MAX),
        generation=fields.number("gen"),
        options=_options(Fields(fields.need("opts"), "struct CrucibleOpts"), version),
    )
    size = region.block_size
    if size < 512 or size & (size - 1):
        raise RequestError(f"block_size must be a power of two and at least 512; found {size}")
    if not region.blocks:
        raise RequestError(
            f"blocks_per_extent and extent_count must be at least 1; found {region.blocks_per_extent} and "
            f"{region.extent_count}"
        )
    return region


def _options(fields: Fields, version: int) -> RegionOptions:
    options = RegionOptions(
        id=fields.uuid("id"),
        targets=tuple(parse_address(value) for value in fields.items("target")),
        lossy=fields.truth("lossy"),
        flush_timeout=_flush_timeout(fields.values.get("flush_timeout"), version),
        key=_key(fields.optional_text("key", secret=True)),
        cert_pem=fields.optional_text("cert_pem"),
        key_pem=fields.optional_text("key_pem", secret=True),
        root_cert_pem=fields.optional_text("root_cert_pem"),
        control=fields.optional_text("control"),
        read_only=fields.truth("read_only"),
    )
    if len(options.targets) != REPLICAS:
        found = listed(options.targets)
        real = (
            f"assertion `left == right` failed: bad targets {found}\n  left: {len(options.targets)}\n right: {REPLICAS}"
        )
        raise RequestError(f"target must name {REPLICAS} downstairs: bad targets {found}", real=real, panics=True)
    if options.cert_pem is not None:
        raise RequestError("cert_pem: the lab's upstairs speaks no TLS; leave the three *_pem fields out")
    return options


def listed(targets: tuple[SocketAddress, ...]) -> str:
    """Addresses as the real program prints a list of them."""
    return "[" + ", ".join(str(target) for target in targets) + "]"


def _flush_timeout(value: Any, version: int) -> float | None:
    if value is None:
        return None
    whole = isinstance(value, int) and not isinstance(value, bool)
    if version == 1 and not whole:
        raise RequestError(f"flush_timeout: invalid type: {describe(value)}, expected u32")
    if not (whole or isinstance(value, float)):
        raise RequestError(f"flush_timeout: invalid type: {describe(value)}, expected f32")
    if value < 0 or not math.isfinite(value):
        raise RequestError(f"flush_timeout: invalid value: {describe(value)}, expected seconds, 0 or more")
    return float(value)


def _key(text: str | None) -> bytes | None:
    """The key, which must never be in an error's text."""
    if text is None:
        return None
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(
            "key: it is not padded base64 of the standard alphabet", real="could not base64 decode key!", panics=True
        ) from None
    if len(key) != KEY_BYTES:
        raise RequestError(
            f"key: it must hold {KEY_BYTES} bytes; found {len(key)}", real="Key length must be 32 bytes!", panics=True
        )
    return key


def parse_address(value: Any) -> SocketAddress:
    """An IP address and a port as in ``127.0.0.1:8810`` or ``[::1]:8810``. Raises RequestError."""
    if not isinstance(value, str):
        raise RequestError(f"target: invalid type: {describe(value)}, expected socket address")
    host, colon, port = value.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        address = SocketAddress(ip_address(host), int(port)) if colon and port.isascii() and port.isdigit() else None
    except ValueError:
        address = None
    if address is None or not 0 <= address.port <= 65535 or ("[" in value) != (address.ip.version == 6):
        raise RequestError(
            f"target: invalid socket address syntax: found {value[:60]!r}, expected IP:PORT or [IPv6]:PORT"
        )
    return address
