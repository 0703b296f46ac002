# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Action: a console watched by the module, and shown what is waited for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.apiary.propolis.plugins.plugin_utils.liveness import WatchedModule


class ActionModule(WatchedModule):
    """Shows nothing of what is typed, which may be a password."""

    def doing(self, options: Mapping[str, Any]) -> str:
        expected = options.get("expect")
        what = f"waiting for {expected!r} on" if expected else "at"
        return f"{what} the console of the instance at {options.get('server')}"
