# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking for a secret everywhere a run may have put it: texts, files with their modes, living processes."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import stat
import threading
import urllib.parse
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path


def forms(secret: bytes) -> dict[str, bytes]:
    """Every spelling of a binary secret that a program may give it, by name."""
    text = base64.b64encode(secret).decode()
    numbers = json.dumps(list(secret))
    return {
        "base64": text.rstrip("=").encode(),
        "base64 for addresses": base64.urlsafe_b64encode(secret).rstrip(b"="),
        "url-escaped": urllib.parse.quote(text, safe="").encode(),
        "JSON-escaped": json.dumps(text)[1:-1].replace("/", "\\/").rstrip("=").encode(),
        "base64 twice": base64.b64encode(text.encode())[:40],
        "raw": secret,
        "hexadecimal": secret.hex().encode(),
        "hexadecimal in capitals": secret.hex().upper().encode(),
        "numbers": numbers[1:-1].encode(),
        "numbers without spaces": numbers[1:-1].replace(" ", "").encode(),
        "Python's bytes": repr(secret)[2:-1].encode(),
    }


@dataclass(frozen=True)
class Secret:
    """What is looked for. ``found_in`` names the spellings that some content holds."""

    value: bytes

    @property
    def text(self) -> str:
        return base64.b64encode(self.value).decode()

    def found_in(self, content: bytes) -> list[str]:
        return [name for name, spelling in forms(self.value).items() if spelling in content]


@dataclass(frozen=True)
class Holder:
    """A file that holds the secret; ``exposed``: neither its mode nor a directory below ``root`` keeps others out."""

    path: Path
    spellings: tuple[str, ...]
    exposed: bool


def holders(secret: Secret, roots: Sequence[Path]) -> Iterator[Holder]:
    """Every file below ``roots`` that holds the secret. Files that vanish while we look have had no time to leak."""
    for root in roots:
        for path in sorted(Path(folder) / name for folder, _folders, names in os.walk(root) for name in names):
            try:
                status = path.lstat()
                if not stat.S_ISREG(status.st_mode):
                    continue
                found = secret.found_in(path.read_bytes())
            except FileNotFoundError:
                continue
            if found or secret.found_in(os.fsencode(path.name)):
                yield Holder(path, tuple(found), _exposed(path, root))


def _exposed(path: Path, root: Path) -> bool:
    closed = (one.lstat().st_mode & 0o077 == 0 for one in (path, *path.parents) if one == path or root in one.parents)
    return not any(closed)


@dataclass
class Watcher:
    """Looks at all processes, and at the files below ``roots``, again and again while a block runs.

    ``processes``: sentences on command lines and environments that held the secret; ``files``: exposed holders.
    """

    secret: Secret
    roots: Sequence[Path] = ()
    processes: set[str] = field(default_factory=set)
    files: set[Path] = field(default_factory=set)
    looks: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Look while the block runs."""
        looking = self._pool.submit(self._watch)
        try:
            yield
        finally:
            self._over.set()
            looking.result()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self.look()

    def look(self) -> None:
        """Once."""
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and process.name != str(os.getpid()):
                self._look_at(process)
        self.files |= {holder.path for holder in holders(self.secret, self.roots) if holder.exposed}
        self.looks += 1

    def _look_at(self, process: Path) -> None:
        for what in ("cmdline", "environ"):
            try:
                content = (process / what).read_bytes()
            except OSError:
                continue  # ended meanwhile, or somebody else's
            found = self.secret.found_in(content)
            if found:
                name = (process / "comm").read_text().strip() if (process / "comm").exists() else "ended"
                self.processes.add(f"the {what} of {name} holds the secret ({', '.join(found)})")
