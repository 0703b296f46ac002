# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorded sequences of migrations, played by two fake servers. Tests only."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from fake_propolis import FakeServer

STEP = 0.03  # seconds between publications; the recorded ones lie 40 to 145 ms apart

Script = Sequence[tuple[str, dict[str, Any]]]

# The order of publications that was recorded from the real program, destination ("d") and source ("s").
SUCCESS: Script = (
    ("s", {"state": "Migrating", "out": "Sync"}),
    ("d", {"into": "RamPush"}),
    ("s", {"out": "RamPush"}),
    ("s", {"out": "Pause"}),
    ("d", {"into": "Pause"}),
    ("s", {"out": "RamPushDirty"}),
    ("d", {"into": "RamPushDirty"}),
    ("s", {"out": "Device"}),
    ("d", {"into": "Device"}),
    ("d", {"into": "RamPull"}),
    ("s", {"out": "RamPush"}),
    ("d", {"into": "Server"}),
    ("s", {"out": "Server"}),
    ("d", {"into": "Finish"}),
    ("s", {"out": "Finish"}),
    ("d", {"state": "Running"}),
    ("s", {"state": "Stopping"}),
    ("s", {"state": "Destroyed"}),
)
UNTIL_FINISH: Script = SUCCESS[:15]
SOURCE_ENDS: Script = (("s", {"state": "Stopping"}), ("s", {"state": "Destroyed"}))
FAILS_AFTER_FINISH: Script = (*UNTIL_FINISH, *SOURCE_ENDS, ("d", {"state": "Failed"}))
NEVER_GETS_ITS_DISKS: Script = (*UNTIL_FINISH, *SOURCE_ENDS)


class Pair:
    """A source and a destination; asking the destination for a migration plays ``script``."""

    def __init__(self, source: FakeServer, destination: FakeServer, script: Script = SUCCESS) -> None:
        self.source, self.destination, self.script = source, destination, script
        self.migration_id: str | None = None
        self.puts: list[dict[str, Any]] = []
        self.before_step: dict[int, Callable[[], None]] = {}
        self.thread: threading.Thread | None = None
        destination.on_put = self._asked

    def _asked(self, destination: FakeServer, body: dict[str, Any]) -> tuple[int, Any]:
        self.puts.append(body)
        if destination.dialect == "2023-01":
            self.migration_id = body["migrate"]["migration_id"]
            disks = {disk["name"]: disk["volume_construction_request"] for disk in body["disks"]}
        else:
            value = body["init"]["value"]
            self.migration_id = value["migration_id"]
            disks = dict(self.source.disks)
            for backend, replacement in value["replace_components"].items():
                disks[backend.removesuffix("-backend")] = json.loads(replacement["spec"]["request_json"])
        destination.migration_out = None
        # While the request is in progress there is no instance, but a migration (recorded).
        destination.migration_in = {"id": str(self.migration_id), "state": "Sync"}
        time.sleep(STEP)
        destination.holds(body["properties"]["id"], "Migrating", disks)
        destination.upstairs_state = "go_active"
        self.thread = threading.Thread(target=self.play, daemon=True)
        self.thread.start()
        return 201, {"migrate": {"migration_id": self.migration_id}}

    def play(self) -> None:
        for index, (side, what) in enumerate(self.script):
            if index in self.before_step:
                self.before_step[index]()
            end = self.source if side == "s" else self.destination
            if what.get("state") == "Running" and side == "d":
                end.upstairs_state = "active"
            end.publish(**what, id=str(self.migration_id))
            time.sleep(STEP)
