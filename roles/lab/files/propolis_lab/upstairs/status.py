# SPDX-License-Identifier: GPL-3.0-or-later
"""What an upstairs says about itself, in the shape of ``volume_info`` of the API's version 5 (names, nulls seen)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias
from uuid import UUID

from ..protocol.basics import SocketAddress


class UpstairsState(StrEnum):
    """Where an upstairs stands."""

    INITIALIZING = "initializing"
    GO_ACTIVE = "go_active"
    ACTIVE = "active"
    DEACTIVATING = "deactivating"
    DISABLED = "disabled"


class Phase(StrEnum):
    """Where the connection to one downstairs stands."""

    WAIT_CONNECT = "wait_connect"
    NEGOTIATING = "negotiating"
    WAIT_QUORUM = "wait_quorum"
    RECONCILE = "reconcile"
    LIVE_REPAIR_READY = "live_repair_ready"
    ACTIVE = "active"
    LIVE_REPAIR = "live_repair"
    STOPPING = "stopping"


class Mode(StrEnum):
    """Why a downstairs is being connected, which decides how it may come back."""

    NEW = "new"
    OFFLINE = "offline"
    FAULTED = "faulted"
    REPLACED = "replaced"


_WITHOUT_MODE = (Phase.ACTIVE, Phase.LIVE_REPAIR, Phase.STOPPING)


@dataclass(frozen=True)
class TargetStatus:
    """One downstairs of a region set, as its upstairs sees it."""

    region_id: UUID | None
    address: SocketAddress
    repair_address: SocketAddress | None
    phase: Phase
    mode: Mode

    def to_json(self) -> dict[str, Any]:
        state: dict[str, str] = {"type": str(self.phase)}
        if self.phase not in _WITHOUT_MODE:
            state = {"type": "connecting", "state": str(self.phase), "mode": str(self.mode)}
        return {
            "region_id": None if self.region_id is None else str(self.region_id),
            "target_addr": str(self.address),
            "repair_addr": None if self.repair_address is None else str(self.repair_address),
            "state": state,
        }


@dataclass(frozen=True)
class RegionSetStatus:
    """The session with three downstairs."""

    state: UpstairsState
    block_size: int
    upstairs_id: UUID
    session_id: UUID
    generation: int
    read_only: bool
    encrypted: bool
    reconcile_in_progress: bool
    live_repair_in_progress: bool
    targets: tuple[TargetStatus, ...]

    def to_json(self) -> dict[str, Any]:
        inner = {
            "state": str(self.state),
            "block_size": self.block_size,
            "upstairs_id": str(self.upstairs_id),
            "session_id": str(self.session_id),
            "generation": self.generation,
            "read_only": self.read_only,
            "encrypted": self.encrypted,
            "reconcile_in_progress": self.reconcile_in_progress,
            "live_repair_in_progress": self.live_repair_in_progress,
            "targets": [target.to_json() for target in self.targets],
        }
        return {"upstairs": inner}


@dataclass(frozen=True)
class VolumeStatus:
    """A volume: the state of each of its pieces, and of its read-only parent if it has one."""

    sub_volumes: tuple[PieceStatus, ...]
    read_only_parent: PieceStatus | None = None

    @property
    def active(self) -> bool:
        """Whether all pieces are active, which is all that the API says before version 5."""
        pieces = (*self.sub_volumes, *([self.read_only_parent] if self.read_only_parent else []))
        return all(
            piece.active if isinstance(piece, VolumeStatus) else piece.state is UpstairsState.ACTIVE for piece in pieces
        )

    def to_json(self) -> dict[str, Any]:
        parent = self.read_only_parent
        return {
            "volume": {
                "sub_volumes": [piece.to_json() for piece in self.sub_volumes],
                "read_only_parent": None if parent is None else parent.to_json(),
            }
        }


PieceStatus: TypeAlias = RegionSetStatus | VolumeStatus
