# SPDX-License-Identifier: GPL-3.0-or-later
"""What the process that plays are forked from has loaded (see ``forked_plays``), and what one of them then does."""

from __future__ import annotations

import forked_modules

# It is forked before anything of ansible-core is here, which to modules looks otherwise than to plays.
_MODULES = forked_modules.Server()

import gc
import importlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from ansible import cli, constants
from ansible.cli import playbook
from ansible.plugins import loader
from forked_plays import Networks
from forked_processes import become
from namespaces import enter

_LOADED = (
    "ansible.executor.playbook_executor",
    "ansible.plugins.become.sudo",
    "ansible.plugins.cache.memory",
    "ansible.plugins.callback.default",
    "ansible.plugins.connection.local",
    "ansible.plugins.inventory.host_list",
    "ansible.plugins.inventory.yaml",
    "ansible.plugins.shell.sh",
    "ansible.plugins.strategy.linear",
    "ansible.plugins.vars.host_group_vars",
)


def _load() -> None:
    loader.init_plugin_loader()
    for name in _LOADED:
        importlib.import_module(name)
    loader.callback_loader.get("kept_work", class_only=True).load_what_tasks_need()
    gc.disable()  # looking for garbage would copy the memory that the processes share
    gc.freeze()


_load()


def play(command: list[str], environment: dict[str, str], directory: Path, log: Path, networks: Networks) -> None:
    """Be ``ansible-playbook`` with this command line, its output in the file ``log``. Ends with SystemExit."""
    os.setsid()
    become(environment, directory, log)
    sys.argv = command
    cli.init_plugin_loader = lambda *_: None  # it has been done; twice is warned of
    forked_modules.use(_MODULES, f"play-{os.getpid()}", {sys.executable: networks.play, **networks.modules})
    if networks.play is not None:
        enter(networks.play)
    # Each play has a directory of its own for its files; the one of the server would be shared.
    constants.DEFAULT_LOCAL_TMP = tempfile.mkdtemp(
        prefix="ansible-local-", dir=Path(constants.DEFAULT_LOCAL_TMP).parent
    )
    try:
        playbook.main()
    finally:
        shutil.rmtree(constants.DEFAULT_LOCAL_TMP, ignore_errors=True)
