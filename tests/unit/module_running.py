# SPDX-License-Identifier: GPL-3.0-or-later
"""Running a module's ``main`` inside the test's process: options in, the returned dictionary out."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any
from unittest.mock import patch

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args


def run_module(main: Callable[[], None], options: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
    """What the module returns; ``failed`` is in it (True) when it failed."""
    arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": True}
    out = io.StringIO()
    warnings: list[str] = []
    # Beside a controller's code, as in this process, Ansible shows warnings instead of returning them.
    collect = patch.object(AnsibleModule, "warn", lambda self, text: warnings.append(text))
    with patch_module_args(arguments), collect, redirect_stdout(out), redirect_stderr(io.StringIO()):
        try:
            main()
        except SystemExit:
            pass
        else:
            raise AssertionError("the module returned without a result")
    result: dict[str, Any] = json.loads(out.getvalue())
    if warnings:
        result["warnings"] = warnings
    return result
