# SPDX-License-Identifier: GPL-3.0-or-later
"""Who a session of an upstairs is, and how the log of each age writes it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from propolis_lab.region.age import Age


@dataclass(frozen=True, slots=True)
class Identity:
    """The ids and the generation with which a session asks to become active."""

    upstairs_id: UUID
    session_id: UUID
    generation: int

    def text(self, age: Age) -> str:
        """As recorded: ``UpstairsConnection { upstairs_id: .., session_id: .., generation: N }``."""
        name = "generation" if age is Age.TODAY else "gen"
        return (
            f"UpstairsConnection {{ upstairs_id: {self.upstairs_id}, session_id: {self.session_id}, "
            f"{name}: {self.generation} }}"
        )
