# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Action: a region made by the module, and shown how much of it is on the disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible_collections.apiary.propolis.plugins.plugin_utils.liveness import WatchedModule, is_on_controller


class ActionModule(WatchedModule):
    """Sizes are told where the controller itself can see them: no second connection is opened for the sake of a number."""

    def doing(self, options: Mapping[str, Any]) -> str:
        path = options.get("path")
        if options.get("state") == "absent":
            return f"removing the region {path}"
        source = (options.get("image") or {}).get("src")
        return f"region {path} from {Path(source).name}{self._size_of(source)}" if source else f"region {path}"

    def news(self, options: Mapping[str, Any]) -> str:
        stored = _stored_below(str(options.get("path"))) if is_on_controller(self._connection) else 0
        return f", {_gib(stored)} on the disk" if stored else ""

    def _size_of(self, source: str) -> str:
        if is_on_controller(self._connection):
            with suppress(OSError):
                return f" ({_gib(os.stat(source).st_size)})"
        return ""


def _stored_below(folder: str) -> int:
    """Bytes that the files below a folder take on their disk; what cannot be read, or is gone again, counts nothing."""
    stored = 0
    for place, _folders, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                stored += os.stat(os.path.join(place, name)).st_blocks * 512
    return stored


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
