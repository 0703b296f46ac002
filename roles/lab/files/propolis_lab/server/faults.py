# SPDX-License-Identifier: GPL-3.0-or-later
"""`--faults JSON|FILE`: what goes wrong in this server on purpose, and how fast it pretends to be.

The value is a JSON object, or the path of a file that holds one. A file may be absent (no faults), and is read again
when it changes and at SIGHUP, so that a test can switch a fault on in the middle of things. All keys are optional:

    {"steps": [{"side": "source", "phase": "RamPush", "at": "begin", "action": "die", "times": 1, "seconds": null}],
     "refuse_connections": false,
     "request_delay_ms": 0,
     "ram_bytes_per_second": 3700000000,
     "dirty_bytes_per_second": 41943040,
     "phase_seconds": {"Sync": 0.04, "RamPushDirty": 0.05, "Device": 0.05, "RamPull": 0.04, "Server": 0.08,
                       "Stopping": 0.03},
     "nvme_stall_seconds": 30.0}

`steps`: at the given place, do the given thing. `side` is `source`, `destination` or `any` (default). `phase` is one
of `Connect` (source: the websocket is open, nothing was said; destination: before it connects), `Negotiate`
(destination: connected, and no version offered yet; not on servers of 2023), `Sync`, `RamPush`, `Pause`,
`RamPushDirty`, `Device`, `RamPull` (on the source as well as on the destination), `Server`, `Finish`, and for the
destination `Activate` (after Finish, before the disks are activated) and `Run` (the disks are active, Running is not
yet published). `at` is `begin` (default) or `end`. `action` is

* `die`: the process ends at once, as after `kill -9`;
* `stall`: nothing goes on for `seconds`; without `seconds` until the step is gone from the file;
* `error`: this end reports an error to the other and gives up.

`times` is how often the step takes effect (default: always). `refuse_connections`: the listening socket is closed
while it is true. `request_delay_ms`: every request waits that long first. `ram_bytes_per_second`,
`dirty_bytes_per_second`, `phase_seconds`: pace of a migration; the defaults are what the real server showed with 512
MiB on one machine. `nvme_stall_seconds`: how long the guest's I/O to an NVMe disk hangs after a migration, a fault of
the real program at the imitated revision; 0 switches it off.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SIDES = ("source", "destination", "any")
_PHASES = (
    "Connect",
    "Negotiate",
    "Sync",
    "RamPush",
    "Pause",
    "RamPushDirty",
    "Device",
    "RamPull",
    "Server",
    "Finish",
    "Activate",
    "Run",
    "Arch",
)
_ACTIONS = ("die", "stall", "error")
_POLL_SECONDS = 0.05
_PHASE_SECONDS = {"Sync": 0.04, "RamPushDirty": 0.05, "Device": 0.05, "RamPull": 0.04, "Server": 0.08, "Stopping": 0.03}


class FaultsError(Exception):
    """The faults are not understood; the text says which key and what was expected."""


class InjectedError(Exception):
    """A step with action `error` took effect."""


@dataclass(frozen=True)
class Step:
    """One entry of `steps`."""

    phase: str
    action: str
    side: str = "any"
    at: str = "begin"
    times: int | None = None
    seconds: float | None = None

    def matches(self, side: str, phase: str, at: str) -> bool:
        return self.side in (side, "any") and (self.phase, self.at) == (phase, at)


@dataclass(frozen=True)
class Settings:
    """The whole object."""

    steps: tuple[Step, ...] = ()
    refuse_connections: bool = False
    request_delay_ms: float = 0.0
    ram_bytes_per_second: float = 3.7e9
    dirty_bytes_per_second: float = 40 * 1024 * 1024
    phase_seconds: Mapping[str, float] = field(default_factory=lambda: dict(_PHASE_SECONDS))
    nvme_stall_seconds: float = 30.0


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise FaultsError(f"faults: {name} is {value!r}, expected a number that is not negative")
    return float(value)


def _choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise FaultsError(f"faults: {name} is {value!r}, expected one of {', '.join(choices)}")
    return value


def _step(value: Any) -> Step:
    if not isinstance(value, dict):
        raise FaultsError(f"faults: a step is {value!r}, expected an object")
    unknown = set(value) - {"side", "phase", "at", "action", "times", "seconds"}
    if unknown:
        raise FaultsError(f"faults: unknown key {min(unknown)!r} in a step")
    times = value.get("times")
    if times is not None and (isinstance(times, bool) or not isinstance(times, int) or times < 1):
        raise FaultsError(f"faults: times is {times!r}, expected a number from 1")
    seconds = value.get("seconds")
    return Step(
        phase=_choice("phase", value.get("phase"), _PHASES),
        action=_choice("action", value.get("action"), _ACTIONS),
        side=_choice("side", value.get("side", "any"), _SIDES),
        at=_choice("at", value.get("at", "begin"), ("begin", "end")),
        times=times,
        seconds=None if seconds is None else _number("seconds", seconds),
    )


def read_settings(text: str) -> Settings:
    """Parse the JSON object; raises FaultsError."""
    try:
        value = json.loads(text or "{}")
    except ValueError as error:
        raise FaultsError(f"faults: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise FaultsError(f"faults: found {type(value).__name__}, expected an object")
    known = Settings.__dataclass_fields__
    unknown = set(value) - set(known)
    if unknown:
        raise FaultsError(f"faults: unknown key {min(unknown)!r}, expected some of {', '.join(known)}")
    found: dict[str, Any] = {}
    for name, entry in value.items():
        if name == "steps":
            if not isinstance(entry, list):
                raise FaultsError(f"faults: steps is {entry!r}, expected a list")
            found[name] = tuple(_step(step) for step in entry)
        elif name == "refuse_connections":
            if not isinstance(entry, bool):
                raise FaultsError(f"faults: refuse_connections is {entry!r}, expected true or false")
            found[name] = entry
        elif name == "phase_seconds":
            if not isinstance(entry, dict):
                raise FaultsError(f"faults: phase_seconds is {entry!r}, expected an object")
            found[name] = {
                **_PHASE_SECONDS,
                **{key: _number(f"phase_seconds.{key}", part) for key, part in entry.items()},
            }
        else:
            found[name] = _number(name, entry)
    return Settings(**found)


class Faults:
    """The settings of now; follows its file when there is one. `warn` gets a sentence when the file is not
    understood; `last_words` is called in the moment before the process dies of a step."""

    def __init__(
        self,
        source: str | None = None,
        warn: Callable[[str], None] = lambda _text: None,
        last_words: Callable[[], None] = lambda: None,
    ) -> None:
        self._last_words = last_words
        self._file: Path | None = None
        self._seen: tuple[int, int] | None = None
        self._warn = warn
        self._spent: dict[Step, int] = {}
        self.settings = Settings()
        if source is None:
            return
        if source.lstrip().startswith("{"):
            self.settings = read_settings(source)
        else:
            self._file = Path(source)
            self.reload(force=True)

    @property
    def may_change(self) -> bool:
        """Whether there is a file to follow."""
        return self._file is not None

    def reload(self, *, force: bool = False) -> None:
        """Read the file again if it changed; a broken file keeps the settings that were in force."""
        if self._file is None:
            return
        try:
            status = self._file.stat()
            mark = (status.st_mtime_ns, status.st_size)
            if mark == self._seen and not force:
                return
            text = self._file.read_text()
        except FileNotFoundError:
            mark, text = (0, 0), "{}"
        if mark == self._seen and not force:
            return
        self._seen = mark
        try:
            self.settings = read_settings(text)
        except FaultsError as error:
            self._warn(f"{error}; the faults of before stay in force")

    def pace(self, phase: str) -> float:
        """Seconds that the phase takes at least."""
        return self.settings.phase_seconds.get(phase, 0.0)

    async def reach(self, side: str, phase: str, at: str = "begin") -> None:
        """Do what the steps say about this place; raises InjectedError for `error`."""
        self.reload()
        for step in self.settings.steps:
            if not step.matches(side, phase, at) or self._spent.get(step, 0) >= (step.times or 1 << 62):
                continue
            self._spent[step] = self._spent.get(step, 0) + 1
            if step.action == "die":
                self._last_words()
                os._exit(137)
            if step.action == "error":
                raise InjectedError(f"injected error in phase {phase}")
            await self._stall(step)

    async def _stall(self, step: Step) -> None:
        if step.seconds is not None:
            await asyncio.sleep(step.seconds)
            return
        while step in self.settings.steps:
            await asyncio.sleep(_POLL_SECONDS)
            self.reload()
