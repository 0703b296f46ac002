# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Action: a downstairs started or stopped by the module, and shown while that lasts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.apiary.propolis.plugins.plugin_utils.liveness import WatchedModule


class ActionModule(WatchedModule):
    """A region of thousands of extents takes a while to open and to close."""

    def doing(self, options: Mapping[str, Any]) -> str:
        place = f" at {options['address']}:{options['port']}" if {"address", "port"} <= options.keys() else ""
        return f"downstairs {options.get('name')}{place} is to be {options.get('state', 'started')}"
