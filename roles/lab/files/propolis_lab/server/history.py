# SPDX-License-Identifier: GPL-3.0-or-later
"""`--history FILE`: what happened, one JSON object a line, for a checker that must not trust the server's own answers.

Every line has `wall` (seconds since 1970), `monotonic` (seconds of this machine's clock that never steps, comparable
between the lab's processes), `server` (listen address), `pid`, and `event`. The events:

* `started`: the process listens; `died`: it ends at once because a fault says so (a `kill -9` from outside leaves no
  line). `instance` is null in these two, and the id of the instance in all others.
* `published`: `generation`, `state`, `migration_in`, `migration_out` (`{"id", "state"}` or null).
* `guest`: `what` is `begin` (cold boot), `pause`, `resume` or `stop`, with `tick` and `heartbeat` (last acknowledged).
* `heartbeat`: `number`, `tick`, `generation` of the disk session, once the write and its flush were acknowledged.
* `migration`: `role` (`source`, `destination`), `migration_id`, `phase`, `at` (`begin`, `end`).
* `disk`: `backend`, `what` (`activated`, `failed`, `released`), `generation`.
* `volume`: `backend`, `info`: the disk's `volume_info`, whenever it is another than before.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any
from uuid import UUID

Value = str | int | float | bool | None | dict[str, Any]


class History:
    """Appends lines; each line is one write, so that several processes may share a file. Without a path it does
    nothing."""

    def __init__(self, path: Path | None, server: str) -> None:
        self._server = server
        self._descriptor: int | None = None
        if path is not None:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def record(self, event: str, instance: UUID | None = None, **fields: Value) -> None:
        if self._descriptor is None:
            return
        line = {
            "event": event,
            "wall": time.time(),
            "monotonic": time.monotonic(),
            "server": self._server,
            "pid": os.getpid(),
            "instance": str(instance) if instance is not None else None,
            **fields,
        }
        os.write(self._descriptor, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
