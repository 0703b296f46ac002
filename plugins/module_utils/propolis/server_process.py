# SPDX-License-Identifier: GPL-3.0-or-later
"""A propolis server as a process on this host: what is checked before it starts, when it is ready, when it may stop."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..failures import CollectionError
from ..files import write_atomically
from ..occupants import listeners, port_trouble
from ..supervisors.service import Service, Status, Supervisor
from ..waiting import wait_until
from .address import Address
from .errors import BadAddress, BadDescription, PropolisError
from .server_config import config_text
from .server_probe import Answering, Probe, probe

_BOOTROM_PAGE = 4096
_LARGEST_BOOTROM = 2 * 1024 * 1024
_PROBE_TIMEOUT = 3.0  # seconds; a healthy server answers within milliseconds
_DEAF_PROBES = 3  # in a row: a server that answered before and is deaf for so long does not come to itself
_ADDRESS_ARGUMENT = 3  # EXECUTABLE run BOOTROM-OR-CONFIG ADDRESS [VNC]
_STOP_TIMEOUT = 5.0


class ServerProcessError(PropolisError):
    """A server cannot be started, or must not be stopped."""

    default_code = "server_process_error"


@dataclass(frozen=True)
class Definition:
    """One server. With ``config`` it is started as in 2023 (``run CONFIG.toml ADDRESS``), else as today."""

    name: str
    address: Address
    executable: str
    bootrom: str | None
    run_dir: Path
    config: Mapping[str, object] | None = field(default=None)
    vnc_address: str | None = None
    allow_wildcard: bool = False

    @property
    def config_path(self) -> Path:
        return self.run_dir / f"{self.name}.toml"

    @property
    def config_content(self) -> str | None:
        """The text of the configuration file; None for the form of today. Raises BadDescription."""
        if self.config is None:
            return None
        described = dict(self.config)
        if self.bootrom is not None:
            described.setdefault("bootrom", self.bootrom)
        return config_text(described)

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line, with the executable as it was given."""
        boot = str(self.config_path) if self.config is not None else str(self.bootrom)
        return (self.executable, "run", boot, str(self.address), *([self.vnc_address] if self.vnc_address else []))

    def check_addresses(self) -> None:
        """Refuse what a server does not take, and a wildcard, which breaks moves. Raises BadAddress."""
        if not self.address.is_literal:
            raise BadAddress(
                f"address is {self.address.host!r}; propolis-server listens on IP addresses only, not names."
            )
        if self.address.is_wildcard and not self.allow_wildcard:
            raise BadAddress(
                f"address is {self.address.host}, which means another host to everybody who is told it: consoles could "
                "not follow an instance that moves here. Give the address of this host, or set allow_wildcard.",
                code="wildcard_address",
            )
        if self.vnc_address is not None and not Address.parse(self.vnc_address).is_literal:
            raise BadAddress(f"vnc_address is {self.vnc_address!r}; it must be IP:PORT.")

    def check_startable(self) -> None:
        """Refuse to start what would fail at once or, worse, when the first instance is made.

        A server opens its bootrom only then, and a release build dies of one that it cannot use. Raises
        ServerProcessError and BadDescription.
        """
        self.check_addresses()
        _check_executable(self.executable)
        if self.config is None and self.bootrom is None:
            raise BadDescription("bootrom: the path of a bootrom is needed to start a server.")
        bootrom = (self.config or {}).get("bootrom", self.bootrom)
        _check_bootrom(Path(str(bootrom)), paged=self.config is None)
        _unused = self.config_content


def _check_executable(executable: str) -> None:
    if shutil.which(executable) is not None:
        return
    if "/" in executable and Path(executable).exists():
        raise ServerProcessError(
            f"executable: {executable} cannot be executed here; make it executable for this user.",
            code="executable_not_executable",
        )
    raise ServerProcessError(
        f"executable: there is no {executable} here; install propolis-server or give its path.",
        code="executable_missing",
    )


def _check_bootrom(path: Path, *, paged: bool) -> None:
    """``paged``: servers of today want whole pages and at most 2 MiB (read in their source)."""

    def refuse(what: str) -> ServerProcessError:
        return ServerProcessError(f"bootrom: {path} {what}.", code="bootrom_unusable", details={"bootrom": str(path)})

    try:
        found = path.stat()
    except OSError as error:
        raise refuse(f"cannot be used: {error.strerror}; the server would die of it with its first instance") from error
    if not stat.S_ISREG(found.st_mode):
        raise refuse("is no file")
    if not os.access(path, os.R_OK):
        raise refuse("cannot be read by this user")
    if found.st_size == 0:
        raise refuse("is empty")
    if paged and (found.st_size % _BOOTROM_PAGE or found.st_size > _LARGEST_BOOTROM):
        raise refuse(
            f"has {found.st_size} bytes; propolis-server takes multiples of {_BOOTROM_PAGE} up to {_LARGEST_BOOTROM}"
        )


class ServerService:
    """One server under a supervisor. Every method raises CollectionError; every wait is bounded by ``timeout``."""

    def __init__(self, definition: Definition, supervisor: Supervisor, *, timeout: float, force: bool = False) -> None:
        self.definition = definition
        self.supervisor = supervisor
        self.timeout = timeout
        self.force = force

    def status(self) -> Status:
        return self.supervisor.status(self.definition.name)

    def written_config(self) -> str | None:
        """The configuration file as it is; None when there is none. Raises ServerProcessError."""
        try:
            return self.definition.config_path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise ServerProcessError(f"config: {self.definition.config_path} cannot be read: {error}.") from error

    def is_as_defined(self, status: Status) -> bool:
        """Whether a running server was started with what the definition says now."""
        return status.argv == self.definition.argv and (
            self.definition.config is None or self.written_config() == self.definition.config_content
        )

    def check_may_stop(self, status: Status) -> None:
        """Refuse to end a server that holds a live instance, or that cannot be asked, unless forced."""
        if self.force:
            return
        where = _listening_at(status) or self.definition.address
        seen = probe(where, _PROBE_TIMEOUT)
        name = self.definition.name
        if seen.live is not None:
            raise ServerProcessError(
                f"{name} at {where} holds instance {seen.live.id} ({seen.live.name}, {seen.live.state.value}), which "
                "would die with it: stop or move the instance first, or set force.",
                code="holds_instance",
                details={"id": seen.live.id, "name": seen.live.name, "state": seen.live.state.value},
            )
        if seen.answering is not Answering.SERVER:
            raise ServerProcessError(
                f"{name} (process {status.pid}) at {where} {seen.answering.value}, so nobody can tell whether it holds "
                "an instance: look at its log, or set force to end it all the same.",
                code="server_deaf",
                details={"pid": status.pid, "log": str(status.log) if status.log else None},
            )

    def check_port(self) -> None:
        """Refuse to start beside somebody else on the same port, and name them."""
        address = self.definition.address
        trouble = port_trouble(address.host, address.port)
        if trouble is None:
            return
        strangers = listeners(address.host, address.port)
        said = f"{', '.join(map(str, strangers))} listens there" if strangers else os.strerror(trouble)
        raise ServerProcessError(
            f"{self.definition.name} cannot listen on {address}: {said}.",
            code="port_in_use" if strangers else "port_unusable",
            details={"address": str(address), "processes": [one.pid for one in strangers]},
        )

    def start(self) -> Status:
        """Write the configuration file where there is one, start, and wait until the server answers.

        A server that does not become ready is ended again. Raises CollectionError that names its log.
        """
        content = self.definition.config_content
        if content is not None:
            self._write_config(content)
        service = Service(self.definition.name, self.definition.argv, cwd=self.definition.run_dir)
        self.supervisor.start(service, timeout=self.timeout)
        try:
            return self._wait_until_ready()
        except CollectionError:
            self.supervisor.stop(self.definition.name, timeout=_STOP_TIMEOUT)
            raise

    def _write_config(self, content: str) -> None:
        path = self.definition.config_path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(path, content.encode())
        except OSError as error:
            raise ServerProcessError(f"config: {path} cannot be written: {error.strerror}.") from error

    def _wait_until_ready(self, *, ran_before: bool = False) -> Status:
        address = self.definition.address
        last = Probe(Answering.NOTHING)
        deaf = 0

        def look() -> Status | None:
            nonlocal last, deaf
            status = self.status()
            if not status.running:
                return status
            last = probe(address, min(_PROBE_TIMEOUT, self.timeout))
            deaf = deaf + 1 if last.answering is Answering.DEAF else 0
            if ran_before and deaf == _DEAF_PROBES:
                raise self._deaf(status)
            return status if last.answering is Answering.SERVER else None

        status = wait_until(look, self.timeout)
        name = self.definition.name
        if status is None:
            raise ServerProcessError(
                f"{name} is not ready after {self.timeout:g} s: at {address} it {last.answering.value}. "
                f"Its log is {self.status().log}.",
                code="not_ready",
                details={"address": str(address), "log": str(self.status().log)},
            )
        if not status.running:
            lines = [line for line in self.supervisor.logs(name, 20) if line.strip()]
            said = lines[-1].strip()[:300] if lines else "it said nothing"
            raise ServerProcessError(
                f"{name} ended at once{f' ({status.exit})' if status.exit else ''}: {said}. Its log is {status.log}.",
                code="ended_at_once",
                details={"exit": status.exit, "log": str(status.log), "argv": list(self.definition.argv)},
            )
        return status

    def wait_until_ready(self) -> Status:
        """The same for a server that runs already; one that stays deaf is not waited for until the time is over."""
        return self._wait_until_ready(ran_before=True)

    def _deaf(self, status: Status) -> ServerProcessError:
        name, address = self.definition.name, self.definition.address
        return ServerProcessError(
            f"{name} (process {status.pid}) at {address} {Answering.DEAF.value}, asked {_DEAF_PROBES} times; nothing "
            f"was changed. Look at its log {status.log}; state restarted with force ends it, and with it any instance "
            "that it holds.",
            code="server_deaf",
            details={"pid": status.pid, "address": str(address), "log": str(status.log) if status.log else None},
        )

    def stop(self) -> bool:
        """End the process; true when there was one."""
        return self.supervisor.stop(self.definition.name, timeout=self.timeout)

    def forget(self) -> bool:
        """Remove what is kept of a stopped server, but its log; true when there was something."""
        forgotten = self.supervisor.forget(self.definition.name)
        try:
            self.definition.config_path.unlink()
        except FileNotFoundError:
            return forgotten
        return True


def _listening_at(status: Status) -> Address | None:
    """Where a server listens according to its command line, which may differ from the present definition."""
    try:
        return Address.parse(status.argv[_ADDRESS_ARGUMENT])
    except (IndexError, BadAddress):
        return None
