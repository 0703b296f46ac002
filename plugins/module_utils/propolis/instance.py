# SPDX-License-Identifier: GPL-3.0-or-later
"""What a propolis server tells about its instance, in dataclasses that are the same for every age of server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class State(Enum):
    """The published state of an instance (``InstanceState`` of the API, the same ten words since 2023)."""

    CREATING = "Creating"
    STARTING = "Starting"
    RUNNING = "Running"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    REBOOTING = "Rebooting"
    MIGRATING = "Migrating"
    REPAIRING = "Repairing"
    FAILED = "Failed"
    DESTROYED = "Destroyed"

    @property
    def is_final(self) -> bool:
        """True when nothing more will happen to this instance and its server takes another one."""
        return self in (State.FAILED, State.DESTROYED)


class Change(Enum):
    """What ``PUT /instance/state`` can be asked for. MigrateStart exists in servers of January 2023 only."""

    RUN = "Run"
    STOP = "Stop"
    REBOOT = "Reboot"
    MIGRATE_START = "MigrateStart"


class Phase(Enum):
    """The phase of a migration on one side. Only Finish and Error are final: a source's phases go back and forth."""

    SYNC = "Sync"
    RAM_PUSH = "RamPush"
    PAUSE = "Pause"
    RAM_PUSH_DIRTY = "RamPushDirty"
    DEVICE = "Device"
    ARCH = "Arch"
    RESUME = "Resume"
    RAM_PULL = "RamPull"
    SERVER = "Server"
    FINISH = "Finish"
    ERROR = "Error"

    @property
    def is_final(self) -> bool:
        return self in (Phase.FINISH, Phase.ERROR)


class Side(Enum):
    """The two ends of a migration, seen from one server."""

    IN = "in"
    OUT = "out"


NIL_UUID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class Metadata:
    """Labels for the metrics of a rack; a server only carries them. Nobody outside a rack has better values."""

    silo_id: str = NIL_UUID
    project_id: str = NIL_UUID
    sled_id: str = NIL_UUID
    sled_serial: str = "none"
    sled_revision: int = 0
    sled_model: str = "none"


@dataclass(frozen=True)
class Instance:
    """What ``GET /instance`` says. ``cpus`` and ``memory_mib`` are None where the answer does not hold them
    (they moved to the spec in 2024); ``metadata`` is None in answers of 2023."""

    id: str
    name: str
    state: State
    description: str = ""
    metadata: Metadata | None = None
    cpus: int | None = None
    memory_mib: int | None = None


@dataclass(frozen=True)
class MigrationRecord:
    """One side's account of one migration."""

    id: str
    phase: Phase


@dataclass(frozen=True)
class MigrationStatus:
    """The last migration into and the last migration out of an instance, as one server tells it."""

    incoming: MigrationRecord | None = None
    outgoing: MigrationRecord | None = None

    def side(self, side: Side) -> MigrationRecord | None:
        return self.incoming if side is Side.IN else self.outgoing


@dataclass(frozen=True)
class Observation:
    """One answer of the state monitor. ``generation`` counts publications since the instance was made (it has
    nothing to do with the generations of disks); ``migration`` is None where the monitor does not tell it (2023)."""

    generation: int
    state: State
    migration: MigrationStatus | None = None


@dataclass(frozen=True)
class PciPath:
    bus: int
    device: int
    function: int

    def __str__(self) -> str:
        return f"{self.bus}.{self.device}.{self.function}"


@dataclass(frozen=True)
class Region:
    """One region set of a volume construction request: three targets that hold the same blocks."""

    upstairs_id: str
    generation: int
    targets: tuple[str, ...]
    block_size: int
    blocks_per_extent: int
    extent_count: int
    read_only: bool
    encrypted: bool


@dataclass(frozen=True)
class Volume:
    """What we read of a volume construction request. ``request`` is the whole, with its keys: never show it."""

    id: str | None
    regions: tuple[Region, ...]
    request: Mapping[str, object] = field(repr=False)

    @property
    def generation(self) -> int | None:
        """The highest generation in it; None for a volume without Crucible regions."""
        return max((region.generation for region in self.regions), default=None)

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(target for region in self.regions for target in region.targets)


@dataclass(frozen=True)
class SpecDisk:
    """A disk of an instance's spec: device and backend together.

    ``kind`` is ``crucible``, ``file`` or ``blob``; ``volume`` is set for Crucible only. ``device`` is ``virtio`` or
    ``nvme``. ``name`` and ``backend`` are component names; servers of 2023 call both the same.
    """

    name: str
    backend: str
    device: str
    kind: str
    pci_path: PciPath
    read_only: bool
    volume: Volume | None = None

    @property
    def slot(self) -> int:
        """The slot of a disk request: disks stand from PCI device 0x10 on (`docs` of propolis, and its source)."""
        return self.pci_path.device - 0x10


@dataclass(frozen=True)
class SpecNic:
    """A network card of an instance's spec; ``vnic`` is the host's interface behind it."""

    name: str
    backend: str
    vnic: str
    pci_path: PciPath
    interface_id: str | None = None


@dataclass(frozen=True)
class Spec:
    """What ``GET /instance/spec`` says. ``immovable`` names the components that no server can migrate."""

    cpus: int
    memory_mib: int
    disks: tuple[SpecDisk, ...]
    nics: tuple[SpecNic, ...] = ()
    immovable: tuple[str, ...] = ()

    @property
    def crucible_disks(self) -> tuple[SpecDisk, ...]:
        return tuple(disk for disk in self.disks if disk.kind == "crucible")


@dataclass(frozen=True)
class TargetStatus:
    """One downstairs as an upstairs sees it: ``state`` is connecting, active, live_repair or stopping; while
    connecting, ``step`` says how far (wait_connect, negotiating, wait_quorum …) and ``mode`` why."""

    address: str | None
    state: str
    step: str | None = None
    mode: str | None = None
    repair_address: str | None = None
    region_id: str | None = None

    @property
    def words(self) -> str:
        return f"{self.state} ({self.step}, {self.mode})" if self.step else self.state

    @property
    def is_away(self) -> bool:
        """It does not serve this upstairs. A server that tells nothing of its replicas says of none that it is away."""
        return self.state not in ("active", "unknown")


@dataclass(frozen=True)
class UpstairsSession:
    """One live upstairs: ``state`` is initializing, go_active, active, deactivating or disabled. Seen on the real
    program: ``disabled`` with a Running instance means that a session of a higher generation fenced this one."""

    state: str
    upstairs_id: str
    session_id: str
    generation: int
    read_only: bool
    encrypted: bool
    reconciling: bool
    repairing: bool
    targets: tuple[TargetStatus, ...]
    is_parent: bool = False


@dataclass(frozen=True)
class DiskStatus:
    """What the disk status endpoint says. ``sessions`` is empty below API 5.0.0, which tells ``active`` only."""

    active: bool
    sessions: tuple[UpstairsSession, ...] = ()


@dataclass(frozen=True)
class DiskSession:
    """A Crucible disk of a live instance, from its spec and (where the server has one) its status.

    ``active`` is None when the server cannot tell (2023). ``generation`` is the one that the upstairs uses where
    the server tells it (5.0.0 and later), else the spec's. ``floor`` is the highest number known to be in use: after
    a replaced request the spec may hold a higher one than the session.
    """

    name: str
    backend: str
    device: str
    read_only: bool
    volume: str | None
    generation: int | None
    floor: int | None
    active: bool | None
    state: str | None
    targets: tuple[TargetStatus, ...]

    @property
    def is_fenced(self) -> bool:
        return self.state == "disabled"


def disk_session(disk: SpecDisk, status: DiskStatus | None) -> DiskSession:
    """Put together what the spec and the status say of one Crucible disk (``status`` None: nothing is known)."""
    in_spec = disk.volume.generation if disk.volume else None
    sessions = [session for session in status.sessions if not session.is_parent] if status else []
    live = max((session.generation for session in sessions), default=None)
    numbers = [number for number in (in_spec, live) if number is not None]
    targets = tuple(target for session in sessions for target in session.targets)
    if not targets and disk.volume:
        targets = tuple(TargetStatus(address, "unknown") for address in disk.volume.targets)
    states = [session.state for session in sessions if session.state != "active"] or [
        session.state for session in sessions
    ]
    return DiskSession(
        name=disk.name,
        backend=disk.backend,
        device=disk.device,
        read_only=disk.read_only,
        volume=disk.volume.id if disk.volume else None,
        generation=in_spec if live is None else live,
        floor=max(numbers, default=None),
        active=status.active if status else None,
        state=states[0] if states else None,
        targets=targets,
    )
