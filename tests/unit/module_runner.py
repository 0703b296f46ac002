# SPDX-License-Identifier: GPL-3.0-or-later
"""Running a module of the collection in this process, as Ansible would: options in, result out."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args


def run_module(
    module: ModuleType, capsys: pytest.CaptureFixture[str], check: bool = False, **options: Any
) -> dict[str, Any]:
    """The result of ``module.main()``; ``failed`` is always in it."""
    given = {**options, "_ansible_check_mode": check, "_ansible_diff": True, "_ansible_remote_tmp": "/tmp"}  # noqa: S108
    with patch_module_args(given), pytest.raises(SystemExit) as ended:
        module.main()
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    result.setdefault("failed", False)
    assert bool(ended.value.code) == result["failed"]
    if result["failed"] and "failure" in result:
        assert result["failure"]["message"] == result["msg"]
        assert result["msg"].endswith((".", "?"))
    return result
