# SPDX-License-Identifier: GPL-3.0-or-later
"""What a recording of HTTP exchanges consists of: one dataclass for each kind of event, as recorded and unmasked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Cut:
    """A body of which the recording keeps the beginning only; `length` counts the characters of the whole."""

    length: int


@dataclass(frozen=True)
class Request:
    port: int
    method: str
    target: str
    headers: Headers
    body: str
    cut: Cut | None = None

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


@dataclass(frozen=True)
class Answer:
    status: int
    reason: str
    headers: Headers
    body: str
    cut: Cut | None = None


@dataclass(frozen=True)
class NoAnswer:
    """The client gave up or was cut off; `reason` begins with the client's exception name, e.g. TimeoutError."""

    reason: str


@dataclass(frozen=True)
class Exchange:
    """One request and its answer. `at` and `after` are seconds: since the start, and until the answer."""

    line: int
    at: float
    request: Request
    answer: Answer | NoAnswer
    after: float

    @property
    def label(self) -> str:
        return f"{self.request.method} {self.request.target}"


@dataclass(frozen=True)
class Opening:
    """A websocket that was asked for."""

    line: int
    at: float
    request: Request
    answer: Answer

    @property
    def label(self) -> str:
        return f"websocket {self.request.target}"


@dataclass(frozen=True)
class Frame:
    """One websocket frame. The recording does not say on which of several open websockets."""

    line: int
    at: float
    from_client: bool
    opcode: int
    payload: bytes


@dataclass(frozen=True)
class WebsocketEnd:
    line: int
    reason: str


@dataclass(frozen=True)
class Note:
    """A remark of the one who recorded, that no other kind of event covers."""

    line: int
    at: float
    text: str


@dataclass(frozen=True)
class Up:
    """From here on these servers and downstairs run (those that ran already go on)."""

    line: int
    servers: tuple[int, ...]
    downstairs: tuple[int, ...]


@dataclass(frozen=True)
class Down:
    """These were ended: names srvA, srvB, ds0 ... or all."""

    line: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Killed:
    """A downstairs was killed: its name, ds0, ds1 ..."""

    line: int
    name: str


@dataclass(frozen=True)
class Started:
    """A downstairs was started, again or for the first time."""

    line: int
    name: str
    port: int


@dataclass(frozen=True)
class RegionMade:
    """A region was made in the folder of a downstairs that was not there before."""

    line: int
    name: str
    id: str


@dataclass(frozen=True)
class Look:
    """What a client saw at one moment: the instance's state and its disk, each None when it is not told.

    ``server`` is srvA or srvB, None when the recording does not say which. ``disk`` has `state`, `gen`, maybe `ro` and
    `enc`, and `targets`: the states of the targets, as the API gives them.
    """

    server: str | int | None
    state: str | None
    disk: dict[str, Any] | None


@dataclass(frozen=True)
class Looked:
    """One or two looks at the servers."""

    line: int
    looks: tuple[Look, ...]


@dataclass(frozen=True)
class StateSeen:
    """A client that polled GET /instance saw this state for the first time."""

    line: int
    port: int
    state: str


@dataclass(frozen=True)
class StateMissed:
    """A client waited for `wanted` and gave up while the state was `found`."""

    line: int
    port: int
    wanted: str
    found: str


@dataclass(frozen=True)
class Polled:
    """A background client saw something new: the state (None: 424) and the migration states (None: 424)."""

    line: int
    port: int
    state: str | None
    migration: dict[str, str | None] | None


@dataclass(frozen=True)
class Monitored:
    """A background client's long poll of the state monitor was answered; `body` is the parsed JSON."""

    line: int
    port: int
    status: int
    body: dict[str, Any]


@dataclass(frozen=True)
class DiskWatched:
    """The destination's disk some seconds after the migration began: None for 424."""

    line: int
    after: float
    state: str | None
    generation: int | None


@dataclass(frozen=True)
class Outcome:
    """How a migration ended: the states of both servers."""

    line: int
    source: str
    destination: str


@dataclass(frozen=True)
class Alive:
    """Whether the servers' processes lived: by server name (srvA, srvB)."""

    line: int
    alive: dict[str, bool]


@dataclass(frozen=True)
class LogLines:
    """The lines of one program's log that match a pattern; `left_out` counts those cut away at the end."""

    line: int
    program: str
    pattern: str
    lines: tuple[str, ...]
    left_out: int


@dataclass(frozen=True)
class Publication:
    """One publication of the instance's state: when (seconds of the day), its number, the state, and the states of
    migrations in and out."""

    time: float
    generation: int
    state: str
    migrations: tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """Everything one server published over the whole recording (several instances: the numbers begin again)."""

    line: int
    publications: tuple[Publication, ...]


@dataclass(frozen=True)
class Command:
    """One start of a program: how it ended (`exit_text`) and what it wrote."""

    line: int
    title: str
    command: str
    exit_text: str
    stdout: str
    stderr: str


Event = (
    Exchange
    | Opening
    | Frame
    | WebsocketEnd
    | Note
    | Up
    | Down
    | Killed
    | Started
    | RegionMade
    | Looked
    | StateSeen
    | StateMissed
    | Polled
    | Monitored
    | DiskWatched
    | Outcome
    | Alive
    | LogLines
    | Published
    | Command
)
