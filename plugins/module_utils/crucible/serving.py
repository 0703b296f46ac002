# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping one downstairs running: the checks before it starts, when it counts as ready, why it did not get there."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..occupants import Occupant, listeners, port_trouble, users_of
from ..supervisors.service import Service, Status, Supervisor
from ..waiting import wait_until
from .claim import Claim
from .errors import DownstairsError, ForeignRegionError, InvalidValueError, RepairApiError, UnreachableError
from .output import complaint, error_line, log_messages
from .program import DownstairsProgram
from .region import Region, read_region
from .repair_api import RepairApi
from .volume import REPAIR_PORT_OFFSET, Target, check_ip, check_port

_PROBE_TIMEOUT = 5.0
_LOG_LINES = 8
_FILES_BESIDE_EXTENTS = 64


@dataclass(frozen=True)
class Downstairs:
    """One downstairs as it should run. ``uuid`` is that of the region expected at ``path``, None for any."""

    name: str
    path: Path
    address: str
    port: int
    mode: Literal["rw", "ro"]
    executable: str
    uuid: str | None
    allow_wildcard: bool = False

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line. Every program of either age understands it."""
        return (
            self.executable, "run", "--data", str(self.path), "--address", self.address, "--port", str(self.port),
            "--mode", self.mode,
        )  # fmt: skip

    def validated(self) -> Downstairs:
        """Itself with its address in the usual spelling, or InvalidValueError."""
        address = check_ip("address", self.address)
        check_port("port", self.port)
        if Target(address, self.port).wildcard and not self.allow_wildcard:
            raise InvalidValueError(
                "address", self.address, "the address at which the other hosts reach this one", code="wildcard_address",
                hint="a downstairs advertises its address for repair, and to another host a wildcard is that host "
                "itself; set allow_wildcard when all three downstairs are on this host",
            )  # fmt: skip
        return self


class Keeper:
    """Brings one downstairs into a state. Every method raises CollectionError and is bounded by ``timeout`` seconds."""

    def __init__(self, wanted: Downstairs, supervisor: Supervisor, timeout: float) -> None:
        self.wanted = wanted.validated()
        self.supervisor = supervisor
        self.timeout = timeout
        self.api = RepairApi(wanted.address, wanted.port, min(_PROBE_TIMEOUT, max(timeout, 0.1)))

    def needs_start(self) -> bool:
        """Whether it is not running yet, after all checks; changes nothing."""
        status = self.supervisor.status(self.wanted.name)
        region = self._region()
        if status.running:
            self._check_same(status)
            return False
        self._check_free(region)
        return True

    def awaits_region(self) -> bool:
        """Whether there is no region yet: nothing at its place, or what an interrupted run has begun to make."""
        return not self.wanted.path.exists() or Claim(self.wanted.path).left_behind()

    def check_place(self) -> None:
        """What can be told before there is a region: the program is there, and nobody else has the ports."""
        if not self.supervisor.status(self.wanted.name).running:
            DownstairsProgram(self.wanted.executable, self.timeout).check_present()
            self._check_ports_free(None)

    def start(self) -> Status:
        """Start it if it is not running, and wait until it answers for the right region."""
        region = self._region()
        if self.needs_start():
            service = Service(
                self.wanted.name, self.wanted.argv, open_files=4 * len(region.versions) + _FILES_BESIDE_EXTENTS
            )
            self.supervisor.start(service, timeout=self.timeout)
        return self._wait_until_ready(region)

    def stop(self) -> bool:
        """Stop it; True when it was running. SIGTERM needs no grace: the files are always consistent."""
        return self.supervisor.stop(self.wanted.name, timeout=self.timeout)

    def check_restart(self) -> None:
        """All checks of a restart; changes nothing."""
        status = self.supervisor.status(self.wanted.name)
        self._check_free(self._region(), apart_from=status)

    def restart(self) -> Status:
        """Stop and start it. The checks of the new start come first, so that a wrong one does not end the old."""
        self.check_restart()
        self.stop()
        return self.start()

    # -- checks --------------------------------------------------------------------------------------------------------

    def _region(self) -> Region:
        region = read_region(self.wanted.path)
        found = region.definition.uuid
        if self.wanted.uuid is not None and found != self.wanted.uuid:
            raise ForeignRegionError(
                f"path: {self.wanted.path} holds the region {found}, expected {self.wanted.uuid}; nothing was started.",
                details={"differences": [{"field": "uuid", "found": found, "expected": self.wanted.uuid}]},
            )
        if not region.complete:
            raise DownstairsError(
                f"path: {self.wanted.path} cannot be served: {'; '.join(region.problems)}.", code="region_incomplete"
            )
        return region

    def _check_same(self, status: Status) -> None:
        if status.argv == self.wanted.argv:
            return
        raise DownstairsError(
            f"{self.wanted.name}: runs as process {status.pid} with '{' '.join(status.argv)}', asked for is "
            f"'{' '.join(self.wanted.argv)}'; use state=restarted to change it.",
            code="runs_otherwise",
            details={"found": list(status.argv), "expected": list(self.wanted.argv)},
        )

    def _check_free(self, region: Region, apart_from: Status | None = None) -> None:
        """Nobody else may use the region or the ports. ``apart_from`` is our own process, which will be ended."""
        DownstairsProgram(self.wanted.executable, self.timeout).check_present()
        ours = apart_from.pid if apart_from is not None and apart_from.running else None
        others = [user for user in users_of(region.path) if user.pid != ours]
        if others:
            raise DownstairsError(
                f"path: {region.path} is already used by {others[0]}; two programs on one region destroy each other's "
                "data. Stop that one first.",
                code="region_in_use",
                details={"pid": others[0].pid, "command": others[0].command},
            )
        self._check_ports_free(ours)

    def _check_ports_free(self, ours: int | None) -> None:
        for port, what in ((self.wanted.port, "port"), (self.wanted.port + REPAIR_PORT_OFFSET, "its repair port")):
            self._check_port_free(port, what, ours)

    def _check_port_free(self, port: int, what: str, ours: int | None) -> None:
        trouble = port_trouble(self.wanted.address, port)
        if trouble is None:
            return
        place = str(Target(self.wanted.address, port))
        if trouble == errno.EADDRINUSE:
            owners = listeners(self.wanted.address, port)
            if ours is not None and {one.pid for one in owners} == {ours}:
                return
            owner: Occupant | str = owners[0] if owners else "a process that we may not see"
            raise DownstairsError(
                f"port: {place} ({what} of {self.wanted.name}) is in use by {owner}; stop it or take another port.",
                code="port_in_use",
                details={"port": port, "processes": [{"pid": one.pid, "command": one.command} for one in owners]},
            )
        raise DownstairsError(
            f"address: nothing can listen on {place} ({what} of {self.wanted.name}): {os.strerror(trouble)}; is it an "
            "address of this host?",
            code="address_not_here" if trouble == errno.EADDRNOTAVAIL else None,
            details={"address": self.wanted.address, "port": port},
        )

    # -- readiness -----------------------------------------------------------------------------------------------------

    def _wait_until_ready(self, region: Region) -> Status:
        silence: list[str] = []

        def probe() -> Status | None:
            status = self.supervisor.status(self.wanted.name)
            if not status.running:
                raise self._died(status)
            try:
                return status if self._answers_for(region) else None
            except UnreachableError as error:
                silence[:] = [error.message]
                return None

        ready = wait_until(probe, self.timeout)
        if ready is None:
            raise DownstairsError(
                f"{self.wanted.name}: runs, but did not get ready within {self.timeout:g} s: {silence[0]} It was left "
                "running; it may be busy with extents that were not flushed. Raise 'timeout' or look at its log.",
                code="timed_out",
                details={"log": self._last_lines()},
            )
        return ready

    def _answers_for(self, region: Region) -> bool:
        """Whether the repair API answers for this region. Programs of 2023 do not tell which region they serve."""
        expected = region.definition
        found = self.api.region_info()
        if found is None:
            files = self.api.extent_files(0)
            if "000" not in files:
                raise RepairApiError(f"{self.api.url}/extent/0/files: found {files}, expected the files of extent 000.")
            return True
        if found.uuid != expected.uuid:
            raise ForeignRegionError(
                f"{self.api.url} answers for region {found.uuid}, expected {expected.uuid} from {region.path}.",
                details={"differences": [{"field": "uuid", "found": found.uuid, "expected": expected.uuid}]},
            )
        return True

    def _died(self, status: Status) -> DownstairsError:
        lines = self._last_lines()
        text = "\n".join(lines)
        meaning = complaint(text)
        advice = f" - {meaning.sentence}" if meaning else ""
        return DownstairsError(
            f"{self.wanted.name}: ended at once ({status.exit or 'nobody saw how'}): {error_line(text)}{advice}. "
            f"Its log is {status.log}.",
            code=meaning.code if meaning else "died",
            details={"log": lines, "exit": status.exit},
        )

    def _last_lines(self) -> list[str]:
        return log_messages(self.supervisor.logs(self.wanted.name, _LOG_LINES))


def described(wanted: Downstairs, status: Status | None, uuid: str | None) -> dict[str, Any]:
    """The return value ``downstairs``."""
    return {
        "name": wanted.name,
        "address": wanted.address,
        "port": wanted.port,
        "repair_port": wanted.port + REPAIR_PORT_OFFSET,
        "mode": wanted.mode,
        "path": str(wanted.path),
        "uuid": uuid,
        "pid": status.pid if status and status.running else None,
        "log": str(status.log) if status and status.log else None,
    }
