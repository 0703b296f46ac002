# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Action: an instance brought into its state by the module, and shown while that lasts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.apiary.propolis.plugins.plugin_utils.liveness import WatchedModule


class ActionModule(WatchedModule):
    """Shows nothing of the specification, which may hold keys."""

    def doing(self, options: Mapping[str, Any]) -> str:
        what = options.get("name") or options.get("id") or "the instance"
        return f"{what} at {options.get('server')} is to be {options.get('state', 'present')}"
