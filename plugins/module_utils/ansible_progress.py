# SPDX-License-Identifier: GPL-3.0-or-later
"""The option ``progress``: the action plugins obey it, the modules only accept it."""

from __future__ import annotations

from typing import Any


def progress_options() -> dict[str, Any]:
    """The argument spec of what the doc fragment ``progress`` describes."""
    return {"progress": {"type": "str", "choices": ["auto", "always", "never"], "default": "auto"}}
