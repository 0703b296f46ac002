# SPDX-License-Identifier: GPL-3.0-or-later
"""What a failed migration leaves behind for people: one directory with what every server said, without secrets."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from .errors import PropolisError
from .migration import Outcome
from .migration_report import Report
from .observation import ServerName
from .observe import Observer
from .redaction import scrub, secrets_in
from .serial import read_history
from .server import Server

_CONSOLE = 256 * 1024  # bytes of the end of a console that are kept


class EvidenceFailed(PropolisError):
    """The directory for the evidence cannot be written."""

    default_code = "evidence_failed"


def leave_evidence(root: Path, outcome: Outcome, told: Report) -> Path:
    """Write the evidence of a failed move below ``root`` and return its directory, which only its owner may read.

    Servers are asked with harmless requests, each bounded. What cannot be read is a line in ``problems.txt``.
    Raises EvidenceFailed.
    """
    move = outcome.move
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    name = re.sub(r"[^A-Za-z0-9._-]", "_", move.instance.name)
    observer = Observer(api=move.api, timeout=move.ask_timeout)
    secrets: set[str] = set()
    for disk in move.disks:
        secrets |= secrets_in(dict(disk.volume.request))
    try:
        folder = _make(root, f"{name}-{moment}-{outcome.verdict.code.value}")
        book = _Book(folder, secrets)
        book.write("migration.json", json.dumps({"failure": told.failure, "migration": told.migration}, indent=2))
        for server in {one.address: one for one in (move.source, move.destination, *move.others)}.values():
            _ask(book, observer, server)
        book.close()
    except OSError as error:
        raise EvidenceFailed(
            f"The evidence of this migration cannot be written below {root}: {error.strerror}.",
            details={"path": str(root)},
        ) from error
    return folder


def _make(root: Path, name: str) -> Path:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for number in range(1000):
        folder = root / (name if number == 0 else f"{name}-{number}")
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(17, "too many directories of one second")


class _Book:
    """The files of one directory, and the list of what could not be written into it."""

    def __init__(self, folder: Path, secrets: set[str]) -> None:
        self._folder = folder
        self._secrets = secrets
        self._problems: list[str] = []

    def write(self, name: str, text: str) -> None:
        descriptor = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as sink:
            sink.write(scrub(text, self._secrets))

    def take(self, name: str, read: Callable[[], str]) -> None:
        """Write what ``read`` gives, or note why it gave nothing."""
        try:
            text = read()
        except PropolisError as error:
            self._problems.append(f"{name}: {error.message}")
        else:
            self.write(name, text)

    def close(self) -> None:
        if self._problems:
            self.write("problems.txt", "".join(f"{problem}\n" for problem in self._problems))


def _ask(book: _Book, observer: Observer, name: ServerName) -> None:
    prefix = re.sub(r"[^A-Za-z0-9._-]", "_", name.name)

    def server() -> Server:
        return observer.open(name)

    book.take(f"{prefix}-instance.json", lambda: json.dumps(server().client.call("GET", "/instance").body, indent=2))
    book.take(f"{prefix}-spec.json", lambda: json.dumps(server().spec_document(), indent=2))
    book.take(f"{prefix}-migrations.json", lambda: _migrations(server()))
    book.take(f"{prefix}-disks.txt", lambda: "".join(f"{disk}\n" for disk in server().disk_sessions()))
    book.take(f"{prefix}-console.txt", lambda: _console(server()))


def _migrations(server: Server) -> str:
    status = server.migration_status()
    records = {"in": status.incoming, "out": status.outgoing} if status is not None else {}
    plain = {side: {"id": one.id, "phase": one.phase.value} for side, one in records.items() if one is not None}
    return json.dumps(plain, indent=2)


def _console(server: Server) -> str:
    """The end of the console, as long as the server's own pages go on."""
    _last, end = read_history(server, most_recent=1)
    offset = max(end - _CONSOLE, 0)
    collected = bytearray()
    while offset < end:
        data, after = read_history(server, from_start=offset)
        if not data or after <= offset:
            break
        collected += data
        offset = after
    return collected.decode(errors="replace")
