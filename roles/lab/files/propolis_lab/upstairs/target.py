# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to one downstairs: it is made, negotiated, kept alive and made again, until somebody stops it.

Order of the negotiation, times and what ends a connection were seen on the real programs.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol
from uuid import UUID

from ..protocol.basics import SocketAddress
from ..protocol.errors import CodecError
from ..protocol.faults import Faults
from ..protocol.messages import (
    EncryptedMismatch,
    ExtentVersions,
    ExtentVersionsPlease,
    HereIAm,
    Imok,
    LastFlush,
    Message,
    PromoteToActive,
    ReadOnlyMismatch,
    RegionDefinition,
    RegionInfo,
    RegionInfoPlease,
    Ruok,
    UuidMismatch,
    VersionMismatch,
    YesItsMe,
    YouAreNoLongerActive,
    YouAreNowActive,
)
from ..protocol.stream import FrameStream
from .errors import NO_LONGER_ACTIVE, ActivationError
from .settings import Settings
from .status import Mode, Phase, TargetStatus

Log = Callable[[str, dict[str, object]], None]


class Owner(Protocol):
    """The region set that a target belongs to, as the target needs it. All calls are made on the event loop."""

    def hello(self) -> HereIAm:
        """The first message of a connection."""

    def judge(self, target: Target, definition: RegionDefinition) -> None:
        """Raises ActivationError when this geometry ends the whole session."""

    def on_ready(self, target: Target, versions: ExtentVersions | None) -> None:
        """The negotiation is over; no versions come from a target that is to be replayed."""

    def on_message(self, target: Target, message: Message) -> None:
        """A message after the negotiation."""

    def on_lost(self, target: Target, reason: str) -> None:
        """The connection ended, or could not be made. It will be tried again."""

    def disable(self, error: ActivationError) -> None:
        """The session must end: stop all targets."""


class DroppedError(Exception):
    """The connection must be dropped and made again later; the text says why."""


class _Awaits(Enum):
    """The message of the negotiation that must come next."""

    YES_ITS_ME = auto()
    YOU_ARE_NOW_ACTIVE = auto()
    REGION_INFO = auto()
    EXTENT_VERSIONS = auto()
    NOTHING = auto()


class Target:
    """One of the three downstairs of a region set."""

    def __init__(
        self, index: int, address: SocketAddress, owner: Owner, *, settings: Settings, faults: Faults, log: Log
    ) -> None:
        self.index = index
        self.address = address
        self.phase = Phase.WAIT_CONNECT
        self.mode = Mode.NEW
        self.region_id: UUID | None = None
        self.repair_address: SocketAddress | None = None
        self.last_flush: int | None = None
        """The number of the last flush job that this downstairs acknowledged; a replay begins after it."""
        self._owner = owner
        self._settings = settings
        self._faults = faults
        self._log = log
        self._task: asyncio.Task[None] | None = None
        self._stream: FrameStream | None = None
        self._awaits = _Awaits.YES_ITS_ME
        self._hello = HereIAm(0, UUID(int=0), UUID(int=0), 0, False, False)

    def status(self) -> TargetStatus:
        return TargetStatus(self.region_id, self.address, self.repair_address, self.phase, self.mode)

    @property
    def connected(self) -> bool:
        """Whether messages can be sent to it now."""
        return self._stream is not None and not self._stream.closed and self._awaits is _Awaits.NOTHING

    def start(self, mode: Mode = Mode.NEW, *, wait_first: bool = False) -> None:
        """Begin to connect, at once or after the reconnect delay, for as long as nobody calls ``stop``."""
        self.phase, self.mode = Phase.NEGOTIATING, mode
        self._task = asyncio.get_running_loop().create_task(self._run(wait_first))

    def stop(self) -> None:
        """Close the connection and make no other."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._stream is not None:
            self._stream.abort()
            self._stream = None
        self.phase, self.mode, self.repair_address = Phase.WAIT_CONNECT, Mode.NEW, None

    def restart(self, mode: Mode) -> None:
        """Close the connection and make a new one after the reconnect delay, without telling the owner of the loss."""
        self.stop()
        self.start(mode, wait_first=True)

    def drop(self, reason: str) -> None:
        """Close the connection. Unless the target is stopped, the owner hears of it and it is made again."""
        if self._stream is not None and not self._stream.closed:
            self._note(40, f"closing the connection to {self.address}: {reason}")
            self._stream.abort()

    def send(self, message: Message) -> None:
        """Send a message; it is lost when the connection just broke."""
        if self._stream is not None:
            self._stream.send(message)

    async def _run(self, wait_first: bool) -> None:
        while True:
            if wait_first:
                await asyncio.sleep(self._settings.reconnect_delay)
            wait_first = True
            reason = await self._one_connection()
            if self._task is not asyncio.current_task():
                return  # stopped from within; the owner knows
            self.repair_address = None
            self._owner.on_lost(self, reason)

    async def _one_connection(self) -> str:
        """Connect and work until the connection ends; the reason of the end."""
        address, within = self.address, self._settings.connect_timeout
        try:
            stream = await FrameStream.connect(str(address.ip), address.port, within, self._faults)
        except OSError as error:
            self._note(40, f"ds_connection connect to {address} failure: {_shown(error)}")
            return "no connection"
        self._stream = stream
        ticks = asyncio.get_running_loop().create_task(self._tick(stream))
        try:
            return await self._talk(stream)
        except (DroppedError, CodecError, OSError) as error:
            self._note(40, f"dropping the connection to {address}: {error}")
            return str(error)
        except ActivationError as error:
            self._owner.disable(error)
            return str(error)
        finally:
            ticks.cancel()
            stream.abort()
            if self._stream is stream:
                self._stream = None

    async def _tick(self, stream: FrameStream) -> None:
        while not stream.closed:
            await asyncio.sleep(self._settings.ping_interval)
            silence = asyncio.get_running_loop().time() - stream.last_received
            if silence > self._settings.inactivity_timeout:
                self.drop(f"nothing was heard for {silence:.0f} s")
            elif not stream.closed:
                stream.send(Ruok())

    async def _talk(self, stream: FrameStream) -> str:
        self._hello = self._owner.hello()
        self._awaits = _Awaits.YES_ITS_ME
        stream.send(self._hello)
        while messages := await stream.receive():
            for message in messages:
                if self._awaits is _Awaits.NOTHING and not isinstance(message, _SPECIAL):
                    self._owner.on_message(self, message)
                else:
                    self._negotiate(stream, message)
                if stream.closed:
                    break
        self._note(40, "downstairs disconnected")
        return "the connection was closed"

    def _negotiate(self, stream: FrameStream, message: Message) -> None:
        """Take the next step. Raises DroppedError, or ActivationError for what ends the session."""
        if isinstance(message, Imok):
            return
        if message.sender == "upstairs":
            raise DroppedError(f"a downstairs never sends {type(message).__name__}; the real upstairs aborts here")
        match self._awaits, message:
            case _, YouAreNoLongerActive() | UuidMismatch() | ReadOnlyMismatch() | EncryptedMismatch():
                raise self._ending(message)
            case _Awaits.YES_ITS_ME, VersionMismatch():
                raise DroppedError(f"it speaks message version {message.version}, we {self._hello.version}")
            case _Awaits.YES_ITS_ME, YesItsMe():
                if message.version != self._hello.version:
                    raise DroppedError(f"it speaks message version {message.version}, we {self._hello.version}")
                self.repair_address = message.repair_addr
                self._awaits = _Awaits.YOU_ARE_NOW_ACTIVE
                hello = self._hello
                stream.send(PromoteToActive(hello.upstairs_id, hello.session_id, hello.generation))
            case _Awaits.YOU_ARE_NOW_ACTIVE, YouAreNowActive():
                self._check_echo(message)
                self._awaits = _Awaits.REGION_INFO
                stream.send(RegionInfoPlease())
            case _Awaits.REGION_INFO, RegionInfo():
                self._take_region(stream, message.definition)
            case _Awaits.EXTENT_VERSIONS, ExtentVersions():
                self._awaits = _Awaits.NOTHING
                self._owner.on_ready(self, message)
            case _:
                raise DroppedError(f"{type(message).__name__} came while waiting for {self._awaits.name}")

    def _take_region(self, stream: FrameStream, definition: RegionDefinition) -> None:
        self._owner.judge(self, definition)
        if self.region_id != definition.uuid:
            self._note(30, f"downstairs client at Some({self.address}) has region UUID {definition.uuid}")
        self.region_id = definition.uuid
        if self.mode is Mode.OFFLINE:
            stream.send(LastFlush(self.last_flush))
            self._awaits = _Awaits.NOTHING
            self._owner.on_ready(self, None)
        else:
            self._awaits = _Awaits.EXTENT_VERSIONS
            stream.send(ExtentVersionsPlease())

    def _check_echo(self, echo: YouAreNowActive) -> None:
        hello = self._hello
        for name, sent, found in (
            ("upstairs id", hello.upstairs_id, echo.upstairs_id),
            ("session id", hello.session_id, echo.session_id),
            ("generation", hello.generation, echo.generation),
        ):
            if sent != found:
                text = f"The downstairs {self.address} promoted another {name}: expected {sent}, found {found}"
                raise ActivationError(text)

    def _ending(
        self, message: YouAreNoLongerActive | UuidMismatch | ReadOnlyMismatch | EncryptedMismatch
    ) -> ActivationError:
        """The error that a message brings which ends the whole session."""
        hello = self._hello
        if isinstance(message, YouAreNoLongerActive):
            new = f"{message.new_upstairs_id} {message.new_session_id} {message.new_generation}"
            self._note(50, f"received NoLongerActive {new}")
            if message.new_generation <= hello.generation:
                self._note(50, f"bad YouAreNoLongerActive with our gen {hello.generation} >= {message.new_generation}")
            return ActivationError(NO_LONGER_ACTIVE)
        if isinstance(message, UuidMismatch):
            return ActivationError(f"The downstairs {self.address} says that its session is {message.expected_id}")
        kind = "read-only" if isinstance(message, ReadOnlyMismatch) else "encryption"
        ours = hello.read_only if isinstance(message, ReadOnlyMismatch) else hello.encrypted
        there, here = str(message.expected).lower(), str(ours).lower()
        self._note(50, f"downstairs {'read_only' if kind == 'read-only' else 'encrypted'} is {there}, ours is {here}")
        text = f"Incompatible {kind} settings: wanted {here}, got {there}"
        return ActivationError(text, real=f"Negotiation error: {text}")

    def _note(self, level: int, text: str) -> None:
        self._log(text, {"level": level, "client": str(self.index)})


def _shown(error: OSError) -> str:
    """An error of a connection attempt, the usual one as the real program prints it."""
    if isinstance(error, ConnectionRefusedError):
        return f'Os {{ code: {errno.ECONNREFUSED}, kind: ConnectionRefused, message: "Connection refused" }}'
    return os.strerror(error.errno) if error.errno else str(error) or "timed out"


_SPECIAL = (YouAreNoLongerActive, UuidMismatch, Imok)
"""Messages that mean the same before and after the negotiation."""
