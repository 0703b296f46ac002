# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the two generations of programs is imitated."""

from __future__ import annotations

import enum


class Age(enum.Enum):
    """Two revisions of Crucible whose files, logs and messages differ."""

    TODAY = "today"
    JANUARY_2023 = "2023"
