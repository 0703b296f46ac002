# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's log: bunyan JSON on stdout (today) or slog's terminal text on stderr (January 2023), as the real ones
write it.

Nothing secret goes in here: volume construction requests and specs are never logged, unlike in the real program.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
import time
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TextIO

STAND_IN_NOTICE = (
    "this is the lab's stand-in for propolis-server: the hypervisor, its devices and the guest are imitated, "
    "everything else behaves like the real program"
)


class Level(IntEnum):
    """bunyan's numbers."""

    TRACE = 10
    DEBUG = 20
    INFO = 30
    WARN = 40
    ERROR = 50
    CRITICAL = 60


_SHORT = {
    Level.TRACE: "TRCE",
    Level.DEBUG: "DEBG",
    Level.INFO: "INFO",
    Level.WARN: "WARN",
    Level.ERROR: "ERRO",
    Level.CRITICAL: "CRIT",
}
Value = str | int | float | bool | None


@dataclass(frozen=True)
class Log:
    """Writes records of at least `level`; `child` adds fields to every record."""

    stream: TextIO = field(default_factory=lambda: sys.stdout)
    text: bool = False
    level: Level = Level.INFO
    fields: tuple[tuple[str, Value], ...] = ()

    def child(self, **fields: Value) -> Log:
        return Log(self.stream, self.text, self.level, (*self.fields, *fields.items()))

    def trace(self, message: str, **fields: Value) -> None:
        self._write(Level.TRACE, message, fields)

    def debug(self, message: str, **fields: Value) -> None:
        self._write(Level.DEBUG, message, fields)

    def info(self, message: str, **fields: Value) -> None:
        self._write(Level.INFO, message, fields)

    def warn(self, message: str, **fields: Value) -> None:
        self._write(Level.WARN, message, fields)

    def error(self, message: str, **fields: Value) -> None:
        self._write(Level.ERROR, message, fields)

    def record(self, level: Level, message: str, **fields: Value) -> None:
        """A record of a level that is known at run time only."""
        self._write(level, message, fields)

    def _write(self, level: Level, message: str, fields: dict[str, Value]) -> None:
        if level < self.level:
            return
        line = self._terminal(level, message, fields) if self.text else self._bunyan(level, message, fields)
        self.stream.write(line + "\n")
        self.stream.flush()

    def _bunyan(self, level: Level, message: str, fields: dict[str, Value]) -> str:
        nanoseconds = time.time_ns()
        moment = datetime.datetime.fromtimestamp(nanoseconds // 10**9, tz=datetime.UTC)
        record: dict[str, Value] = {
            "msg": message,
            "v": 0,
            "name": "propolis-server",
            "level": int(level),
            "time": f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds % 10**9:09d}Z",
            "hostname": platform.node(),
            "pid": os.getpid(),
        }
        record.update(self.fields)
        record.update(fields)
        return json.dumps(record, separators=(",", ":"), ensure_ascii=False)

    def _terminal(self, level: Level, message: str, fields: dict[str, Value]) -> str:
        moment = datetime.datetime.now().astimezone()
        stamp = f"{moment:%b %d %H:%M:%S}.{moment.microsecond // 1000:03d}"
        shown = {**dict(self.fields), **fields}
        return ", ".join([f"{stamp} {_SHORT[level]} {message}", *(f"{name}: {value}" for name, value in shown.items())])
