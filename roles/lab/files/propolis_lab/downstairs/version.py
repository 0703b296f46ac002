# SPDX-License-Identifier: GPL-3.0-or-later
"""Which build of Crucible is imitated: the text of ``version`` and of the logs."""

from __future__ import annotations

from propolis_lab.region.age import Age

BUILD = (
    "Crucible Version: 0.0.1\n"
    "Commit SHA: 6d037cb60304413302e3f3658e4850980cee77b0\n"
    "Commit timestamp: 2026-08-04T19:09:34.000000000Z  branch: HEAD\n"
    "rustc: 1.95.0 stable x86_64-unknown-linux-gnu\n"
    "Cargo: x86_64-unknown-linux-gnu  Debug: false Opt level: 0"
)
VERSION_RECORD = f"Crucible Version: {BUILD}"
MESSAGE_VERSIONS = {Age.TODAY: 13, Age.JANUARY_2023: 1}
MESSAGE_VERSION_RECORD = f"Upstairs <-> Downstairs Message Version: {MESSAGE_VERSIONS[Age.TODAY]}"


def version_text() -> str:
    """What ``version`` prints; the doubled start is the real program's."""
    return f"{VERSION_RECORD}\n{MESSAGE_VERSION_RECORD}\n"
