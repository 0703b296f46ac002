# SPDX-License-Identifier: GPL-3.0-or-later
"""Running a module of the storage hosts, and what is true of every failure of theirs."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from module_running import run_module as run


def run_module(module: ModuleType, check: bool = False, **options: Any) -> dict[str, Any]:
    """The result of ``module.main()``; ``failed`` is always in it."""
    result = run(module.main, options, check=check)
    result.setdefault("failed", False)
    if "failure" in result:
        assert result["failed"]
        assert result["failure"]["message"] == result["msg"]
        assert result["msg"].endswith((".", "?"))
    return result
