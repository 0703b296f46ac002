# SPDX-License-Identifier: GPL-3.0-or-later
"""The log of crucible-downstairs: bunyan JSON on stdout today, slog text on stderr in 2023 and on a terminal.

Both forms were seen on the real programs: level Info and above, one record a line, keys of the record before the keys
of the logger.
"""

from __future__ import annotations

import enum
import json
import os
import socket
import sys
import time
from datetime import datetime
from typing import TextIO

from propolis_lab.region.age import Age

NOTICE = (
    "This is the stand-in for crucible-downstairs from the apiary.propolis laboratory, not Oxide's program: "
    "keep no data in it that you need"
)


class Level(enum.Enum):
    """Bunyan's number and slog's four letters for each level that is printed."""

    INFO = (30, "INFO")
    WARN = (40, "WARN")
    ERROR = (50, "ERRO")
    CRITICAL = (60, "CRIT")

    @property
    def number(self) -> int:
        return self.value[0]

    @property
    def letters(self) -> str:
        return self.value[1]


class LogSink:
    """Where the records of one process go; the first record is preceded by the notice that this is a stand-in."""

    def __init__(self, *, as_json: bool, stream: TextIO) -> None:
        self._as_json = as_json
        self._stream = stream
        self._hostname = socket.gethostname()
        self._noticed = False

    def put(self, level: Level, message: str, keys: dict[str, str]) -> None:
        """Write one record as one line."""
        lines = [] if self._noticed else [self._line(Level.INFO, NOTICE, {})]
        self._noticed = True
        lines.append(self._line(level, message, keys))
        self._stream.write("".join(lines))
        self._stream.flush()

    def _line(self, level: Level, message: str, keys: dict[str, str]) -> str:
        if self._as_json:
            return _bunyan(level, message, keys, self._hostname)
        return _slog_text(level, message, keys)


class Logger:
    """Writes records; ``child`` gives a logger whose records carry more keys (``task``, for one)."""

    def __init__(self, sink: LogSink, keys: dict[str, str] | None = None) -> None:
        self._sink = sink
        self._keys = dict(keys or {})

    @classmethod
    def of_process(cls, age: Age) -> Logger:
        """The logger of this process, as the program of ``age`` chooses its form."""
        as_json = age is Age.TODAY and not sys.stdout.isatty()
        return cls(LogSink(as_json=as_json, stream=sys.stdout if as_json else sys.stderr))

    def child(self, **keys: str) -> Logger:
        """A logger with ``keys`` before the keys that this one has."""
        return Logger(self._sink, {**keys, **self._keys})

    def info(self, message: str, **keys: str) -> None:
        self.record(Level.INFO, message, **keys)

    def warn(self, message: str, **keys: str) -> None:
        self.record(Level.WARN, message, **keys)

    def error(self, message: str, **keys: str) -> None:
        self.record(Level.ERROR, message, **keys)

    def record(self, level: Level, message: str, **keys: str) -> None:
        """Write one record: ``keys`` first, then the keys of the logger."""
        self._sink.put(level, message, {**keys, **self._keys})


def _bunyan(level: Level, message: str, keys: dict[str, str], hostname: str) -> str:
    """One JSON object: msg, v, name, level, time (RFC 3339, UTC, nanoseconds), hostname, pid, then the keys."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    record: dict[str, str | int] = {
        "msg": message,
        "v": 0,
        "name": "crucible",
        "level": level.number,
        "time": f"{stamp}.{nanoseconds:09d}Z",
        "hostname": hostname,
        "pid": os.getpid(),
        **keys,
    }
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False) + "\n"


def _slog_text(level: Level, message: str, keys: dict[str, str]) -> str:
    """``Nov 23 08:20:45.980 INFO message, key: value``: local time, milliseconds."""
    now = datetime.now().astimezone()
    stamp = now.strftime("%b %d %H:%M:%S.") + f"{now.microsecond // 1000:03d}"
    return f"{stamp} {level.letters} {''.join([message, *(f', {key}: {value}' for key, value in keys.items())])}\n"
