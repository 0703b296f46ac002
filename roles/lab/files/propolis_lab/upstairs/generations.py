# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the generation that is asked for may be used, with the real refusals of today and of 2023 (seen)."""

from __future__ import annotations

from .errors import ActivationError
from .session import Session


def check_generation(session: Session, lowest: int) -> ActivationError | None:
    """The refusal of the session's generation: it is below ``lowest``, the largest on disk plus 1, or it is 0."""
    asked, of_2023 = session.generation, session.message_version == 1
    if asked == 0:
        text = "Generation number should be at least 1" if of_2023 else "Generation 0 is illegal"
    elif asked < lowest:
        text = f"Generation number is too low: requested {asked}, found {lowest}"
    else:
        return None
    return ActivationError(text, real="Failed reconciliation" if of_2023 else f"Negotiation error: {text}")
