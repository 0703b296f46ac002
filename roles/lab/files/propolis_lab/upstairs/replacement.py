# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether one of three downstairs may be replaced now, with the answers and refusals read in the real program."""

from __future__ import annotations

from collections.abc import Sequence

from ..protocol.basics import SocketAddress
from .errors import ReplaceError
from .status import Mode, Phase
from .target import Target


def judge_replacement(targets: Sequence[Target], old: SocketAddress, new: SocketAddress) -> str:
    """``started`` when ``old`` may go, else why nothing needs to be done, or ``missing`` when neither is in use.

    Raises ReplaceError when both are in use, or when another of the three is not well: two would then be missing.
    """
    old_target = next((target for target in targets if target.address == old), None)
    new_target = next((target for target in targets if target.address == new), None)
    if old_target and new_target:
        raise ReplaceError(f"Both old {old} and new {new} targets are in use")
    if new_target:
        repaired = new_target.mode is not Mode.REPLACED or new_target.phase is Phase.ACTIVE
        return "completed_already" if repaired else "started_already"
    if not old_target:
        return "missing"
    for other in targets:
        repairing = other.phase is Phase.LIVE_REPAIR
        if other is not old_target and (repairing or (other.phase is not Phase.ACTIVE and other.mode is not Mode.NEW)):
            what = "in live repair" if repairing else str(other.mode)
            raise ReplaceError(f"Replace {old} failed, downstairs {other.index} is {what}")
    return "started"
