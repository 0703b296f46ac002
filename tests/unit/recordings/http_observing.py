# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at a running server: publications and messages in its log, and a watcher that follows a migration."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from typing import Any

from recordings.http_events import Answer, Request
from recordings.http_lab import wait_until
from recordings.http_masks import UUID
from recordings.http_ports import ADDRESS
from recordings.http_wire import send

API_VERSION = "5.0.0"
POLL_PAUSE = 0.02
LONG_POLL = 0.5
"""Seconds after which an unanswered long poll is asked anew (so that a watcher can be ended)."""

LAST_LOOK = 3.0
"""Seconds for a watcher's last look at everything."""

MIGRATION = re.compile(rf"migration_(in|out): Some\(InstanceMigrationStatus \{{ id: ({UUID}), state: (\w+) \}}\)")
PUBLISHING = "publishing new instance state"

Migrations = dict[str, dict[str, str] | None]


@dataclass(frozen=True)
class Publication:
    """One publication of this run, as the log has it; the first of each instance is not logged."""

    generation: int
    state: str
    incoming: tuple[str, str] | None
    outgoing: tuple[str, str] | None
    """Id and state of the migration in that direction."""

    @property
    def migrations(self) -> tuple[str, ...]:
        return tuple(migration[1] for migration in (self.incoming, self.outgoing) if migration)

    def body(self) -> dict[str, Any]:
        """What the state monitor says of it."""
        pairs = {"migration_in": self.incoming, "migration_out": self.outgoing}
        migration = {key: {"id": pair[0], "state": pair[1]} if pair else None for key, pair in pairs.items()}
        return {"gen": self.generation, "state": self.state, "migration": migration}


def log_records(output: str) -> list[dict[str, Any]]:
    """The JSON records of a log; lines that are not JSON (panics, notices) are left out."""
    found = []
    for line in output.splitlines():
        if line.startswith("{"):
            try:
                found.append(json.loads(line))
            except ValueError:
                continue  # the last line may be half written at this moment
    return found


def publications(output: str) -> list[Publication]:
    """All publications in a server's log, of one instance after the other."""
    found = []
    # Who waits for one asks for them again and again, and nearly all lines of a log are others: they are not parsed.
    for record in log_records("\n".join(line for line in output.splitlines() if PUBLISHING in line)):
        if record.get("msg") == PUBLISHING:
            ends = {way: (identity, state) for way, identity, state in MIGRATION.findall(record["migration"])}
            found.append(Publication(record["gen"], record["state"], ends.get("in"), ends.get("out")))
    return found


def ask(port: int, method: str, target: str, body: object | None = None, timeout: float = 5.0) -> Answer | None:
    """A request of our own, beside the recorded ones; None when nothing came back."""
    text = "" if body is None else json.dumps(body)
    headers = [("Host", f"{ADDRESS}:{port}"), ("accept", "application/json"), ("api-version", API_VERSION)]
    if body is not None:
        headers.append(("content-type", "application/json"))
    headers.append(("content-length", str(len(text))))
    answer = send(ADDRESS, Request(port, method, target, tuple(headers), text), timeout)
    return answer if isinstance(answer, Answer) else None


def instance_state(port: int) -> str | None:
    """The instance's state, None without an instance (or an answer)."""
    answer = ask(port, "GET", "/instance")
    if answer is None or answer.status != 200:
        return None
    state: str = json.loads(answer.body)["instance"]["state"]
    return state


def console(port: int) -> bytes:
    """Everything that the console showed, b"" without an instance."""
    shown = b""
    while True:
        answer = ask(port, "GET", f"/instance/serial/history?from_start={len(shown)}")
        if answer is None or answer.status != 200:
            return shown
        more = bytes(json.loads(answer.body)["data"])
        if not more:
            return shown
        shown += more


@dataclass
class Watcher:
    """Follows one server while a migration goes on: long polls of the state monitor, and polls of everything else."""

    port: int
    monitored: list[dict[str, Any]] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    migrations: list[dict[str, str | None]] = field(default_factory=list)
    disks: list[tuple[str, int] | None] = field(default_factory=list)
    after_end: list[Answer] = field(default_factory=list)
    """Answers of the state monitor other than 200 and 424: it will never answer 200 again."""
    stopping: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        for work in (self._monitor, self._poll):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            self.threads.append(thread)

    def stop(self, *, at_end: bool = False) -> None:
        """After one more look at everything; `at_end`: after the state monitor said that nothing more will come."""
        looked = len(self.disks)
        wait_until(lambda: len(self.disks) > looked + 1 and (bool(self.after_end) or not at_end), LAST_LOOK)
        self.stopping.set()
        for thread in self.threads:
            thread.join(10)

    def _monitor(self) -> None:
        generation = 0
        while not self.stopping.is_set():
            answer = ask(self.port, "GET", "/instance/state-monitor", {"gen": generation}, LONG_POLL)
            if answer is None:
                continue
            if answer.status == 200:
                self.monitored.append(json.loads(answer.body))
                generation = self.monitored[-1]["gen"] + 1
            elif answer.status == 424:
                self.stopping.wait(POLL_PAUSE)
            else:
                self.after_end.append(answer)
                return

    def _poll(self) -> None:
        while not self.stopping.wait(POLL_PAUSE):
            state = instance_state(self.port)
            if state is not None:
                self.states.append(state)
            answer = ask(self.port, "GET", "/instance/migration-status")
            if answer is not None and answer.status == 200:
                both: Migrations = json.loads(answer.body)
                self.migrations.append({way: end["state"] if end else None for way, end in both.items()})
            answer = ask(self.port, "GET", "/instance/disk/disk0-backend/status")
            if answer is not None and answer.status in (200, 424):
                self.disks.append(disk_state(answer))


def disk_state(answer: Answer) -> tuple[str, int] | None:
    """State and generation of the first sub-volume's upstairs; None when there is no instance."""
    if answer.status != 200:
        return None
    upstairs = json.loads(answer.body)["volume_info"]["volume"]["sub_volumes"][0]["upstairs"]
    return upstairs["state"], upstairs["generation"]
