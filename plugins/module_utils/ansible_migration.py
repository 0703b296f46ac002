# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module ``propolis_migration`` and its action plugin share: the options, and one run made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .ansible_progress import progress_options
from .ansible_propolis import api_options
from .failures import CollectionError
from .propolis.migration import Mover, Outcome
from .propolis.migration_evidence import leave_evidence
from .propolis.migration_report import Report, line, report
from .propolis.migration_request import Move
from .propolis.serial_socket import require_websocket


def _server_options(*, required: bool = True) -> dict[str, Any]:
    return {"name": {"type": "str"}, "address": {"type": "str", "required": required}}


def migration_options() -> dict[str, Any]:
    """The argument spec of ``propolis_migration``."""
    return {
        "instance": {
            "type": "dict",
            "required": True,
            "options": {"id": {"type": "str", "required": True}, "name": {"type": "str"}},
        },
        "source": {"type": "dict", "required": True, "options": _server_options()},
        "destination": {"type": "dict", "required": True, "options": _server_options()},
        "disks": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "name": {"type": "str", "required": True},
                "volume_construction_request": {"type": "dict", "required": True, "no_log": True},
                "generation": {"type": "int"},
            },
        },
        "servers": {"type": "list", "elements": "dict", "default": [], "options": _server_options()},
        "migration_id": {"type": "str"},
        "timeout": {"type": "float", "default": 600},
        "ask_timeout": {"type": "float", "default": 5},
        "wait_for": {
            "type": "dict",
            "options": {
                "expect": {"type": "str", "required": True},
                "send": {"type": "list", "elements": "str", "default": []},
                "timeout": {"type": "float", "default": 60},
            },
        },
        "evidence": {"type": "path"},
        **progress_options(),
        **api_options(),
    }


def read_move(params: Mapping[str, Any]) -> Move:
    """The move that the options describe; raises CollectionError for what cannot be one."""
    return Move.read(
        instance=params["instance"],
        source=params["source"],
        destination=params["destination"],
        disks=params["disks"],
        servers=params["servers"],
        migration_id=params["migration_id"],
        timeout=params["timeout"],
        ask_timeout=params["ask_timeout"],
        api=params["api"],
        wait_for=params["wait_for"],
    )


def perform(
    params: Mapping[str, Any], *, check_mode: bool, tell: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Do what the options ask for (or plan it, in check mode) and return an Ansible result.

    ``tell`` is given one line for each phase, and all else that is worth telling, as it happens.
    Failures are results too: ``failed`` with ``failure``.
    """
    try:
        move = read_move(params)
        if move.wait_for is not None:
            require_websocket()
    except CollectionError as error:
        return {"failed": True, "changed": False, "msg": error.message, "failure": error.as_dict()}
    told = None if tell is None else lambda event: tell(line(move, event))
    mover = Mover(move, told)
    outcome = mover.plan() if check_mode else mover.run()
    told_all = report(outcome, planned_only=check_mode)
    result: dict[str, Any] = {
        "changed": told_all.changed,
        "msg": told_all.message,
        "migration": told_all.migration,
        "diff": told_all.diff,
    }
    if told_all.warnings:
        result["warnings"] = list(told_all.warnings)
    if told_all.failure is not None:
        result |= {"failed": True, "failure": told_all.failure}
        if params["evidence"] and not check_mode:
            _leave_evidence(Path(params["evidence"]), outcome, told_all, result)
    return result


def _leave_evidence(root: Path, outcome: Outcome, told: Report, result: dict[str, Any]) -> None:
    """Evidence is an extra: when it cannot be written, that is a warning beside the failure itself."""
    try:
        folder = leave_evidence(root, outcome, told)
    except CollectionError as error:
        result["warnings"] = [*result.get("warnings", []), error.message]
        return
    result["failure"]["details"]["evidence"] = str(folder)
