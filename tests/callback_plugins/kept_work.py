# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback: what ansible-core works out the same in each play of the tests is kept from one to the next.

For each module that a play uses, ansible-core parses about ninety files for their imports and packs them; on the host,
each process that runs the module compiles those files again. Each process that does a task compiles the templates that
it meets. The tests run hundreds of plays, hence the packed modules, with the bytecode of their sources, and the code of
the templates lie in directories that all of them share. A play without this callback, as in the gate ``installed``,
only takes longer.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import gc
import hashlib
import importlib
import io
import marshal
import os
import sys
import zipfile
from collections.abc import Iterator
from importlib._bootstrap_external import _code_to_hash_pyc
from pathlib import Path
from typing import Any

import jinja2
from ansible import constants
from ansible._internal._templating._engine import TemplateOverrides
from ansible._internal._templating._jinja_bits import AnsibleEnvironment, _TemplateCompileContext
from ansible.executor.module_common import _CachedModule
from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import filter_loader, lookup_loader, test_loader
from ansible.release import __version__ as ansible_version

DOCUMENTATION = """
name: kept_work
type: aggregate
short_description: Keeps what ansible-core makes of modules and templates from one play of the tests to the next
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


def _keep_compiled_templates(place: Path) -> None:
    """From now on a template is compiled once: its code is kept in a file named after all that the code depends on."""
    compiled = AnsibleEnvironment.compile
    versions = (sys.version, ansible_version, jinja2.__version__)
    options = [option.name for option in dataclasses.fields(TemplateOverrides)]

    def compile_once(self: AnsibleEnvironment, source: Any, name: Any = None, filename: Any = None, **how: Any) -> Any:
        if not isinstance(source, str) or how:
            return compiled(self, source, name, filename, **how)
        context = _TemplateCompileContext.current(optional=True)
        settings = [getattr(self, option) for option in options]
        about = (versions, type(self).__name__, settings, context and context.escape_backslashes, name, filename)
        kept = place / hashlib.sha256(repr((about, str(source))).encode(errors="surrogatepass")).hexdigest()
        with contextlib.suppress(FileNotFoundError):
            return marshal.loads(kept.read_bytes())  # noqa: S302  # our own file, of the same Python: see `versions`
        code = compiled(self, source, name, filename)
        part = kept.with_name(f".{kept.name}.{os.getpid()}")
        part.write_bytes(marshal.dumps(code))
        part.replace(kept)
        return code

    AnsibleEnvironment.compile = compile_once


class CallbackModule(CallbackBase):
    """Links ansible-core's own cache of packed modules, which lives as long as a play, to one that stays."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kept_work"
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self) -> None:
        super().__init__()
        # Each task is a process forked from this one, for a moment: looking for garbage would only copy memory.
        gc.disable()
        key = hashlib.sha256("\n".join(_sources()).encode()).hexdigest()[:16]
        self._kept = _ROOT / ".build" / "payloads" / key
        self._kept.mkdir(parents=True, exist_ok=True)
        templates = _ROOT / ".build" / "templates"
        templates.mkdir(exist_ok=True)
        _keep_compiled_templates(templates)
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
