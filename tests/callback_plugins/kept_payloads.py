# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback: what ansible-core makes of a module before it sends it is kept from one play of the tests to the next.

For each module that a play uses, ansible-core parses about ninety files for their imports and packs them; on the host,
each process that runs the module compiles those files again. Together that is a third of a play's processor time, and
the same each time. The tests run hundreds of plays, hence the packed modules lie in a directory that all of them share,
with the bytecode of their sources. A play without this callback, as in the gate ``installed``, only takes longer.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import gc
import hashlib
import importlib
import io
import os
import sys
import zipfile
from collections.abc import Iterator
from importlib._bootstrap_external import _code_to_hash_pyc
from pathlib import Path

from ansible import constants
from ansible.executor.module_common import _CachedModule
from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import filter_loader, lookup_loader, test_loader
from ansible.release import __version__ as ansible_version

DOCUMENTATION = """
name: kept_payloads
type: aggregate
short_description: Keeps what ansible-core makes of modules from one play of the tests to the next
description: See the file.
"""

_ROOT = Path(__file__).resolve().parents[2]
_PLUGINS = "ansible_collections.apiary.propolis.plugins"
_NEEDED = (
    "ansible.module_utils._internal._json._profiles._module_legacy_c2m",
    "ansible.module_utils._internal._json._profiles._module_legacy_m2c",
    "ansible.parsing.yaml.dumper",
    "ansible.plugins.action.normal",
)


def _sources() -> Iterator[str]:
    """Everything that a packed module depends on, such that it changes whenever one of its files does."""
    yield f"{sys.version} {ansible_version}"
    for folder in ("modules", "module_utils"):
        for path in sorted((_ROOT / "plugins" / folder).rglob("*.py")):
            about = path.stat()
            yield f"{path} {about.st_mtime_ns} {about.st_size}"


def _as_bytecode(packed: bytes) -> bytes:
    """The same zip with the bytecode of each source in the source's place."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(packed)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, True, 9) as new:
        for entry in old.infolist():
            source = old.read(entry)
            if entry.filename.endswith(".py"):
                code = compile(source, entry.filename, "exec", dont_inherit=True)
                new.writestr(f"{entry.filename}c", _code_to_hash_pyc(code, importlib.util.source_hash(source), False))
            else:
                new.writestr(entry, source)
    return made.getvalue()


class CallbackModule(CallbackBase):
    """Links ansible-core's own cache of packed modules, which lives as long as a play, to one that stays."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kept_payloads"
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self) -> None:
        super().__init__()
        # Each task is a process forked from this one, for a moment: looking for garbage would only copy memory.
        gc.disable()
        key = hashlib.sha256("\n".join(_sources()).encode()).hexdigest()[:16]
        self._kept = _ROOT / ".build" / "payloads" / key
        self._kept.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (Path(constants.DEFAULT_LOCAL_TMP) / "ansiballz_cache").symlink_to(self._kept)
        # Nobody watches these plays, and a move lasts for seconds: a thousand looks in each take time of their own.
        constants.DEFAULT_INTERNAL_POLL_INTERVAL = 0.004
        self.load_what_tasks_need()

    @staticmethod
    def load_what_tasks_need() -> None:
        """Each task is a process that would load anew what its templates and its action need; now it has that."""
        for folder in ("filter", "action", "module_utils"):
            for path in sorted((_ROOT / "plugins" / folder).rglob("[a-z]*.py")):
                name = ".".join(path.relative_to(_ROOT / "plugins").with_suffix("").parts)
                importlib.import_module(f"{_PLUGINS}.{name}")
        for name in _NEEDED:
            importlib.import_module(name)
        for loader in (filter_loader, test_loader):
            list(loader.all())
        for lookup in ("env", "pipe"):
            lookup_loader.get(lookup)

    def v2_playbook_on_play_start(self, play: object) -> None:
        del play
        gc.freeze()

    def v2_playbook_on_stats(self, stats: object) -> None:
        """Compile what this play has packed: after it, so that nobody waits for it."""
        del stats
        for path in self._kept.iterdir():
            done = path.with_name(f".{path.name}.done")
            if path.name.startswith(".") or path.name.endswith((".lock", "-part")) or done.exists():
                continue
            with contextlib.suppress(OSError):  # another play may be doing the same; either result is whole
                cached = _CachedModule.load(str(path))
                packed = base64.b64decode(cached.zip_data)
                part = path.with_name(f".{path.name}.{os.getpid()}")
                dataclasses.replace(cached, zip_data=base64.b64encode(_as_bytecode(packed))).dump(str(part))
                part.replace(path)
                done.touch()
