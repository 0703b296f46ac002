# SPDX-License-Identifier: GPL-3.0-or-later
"""The terminal colours of ``dump``, which the real programs write to pipes and files too."""

from __future__ import annotations

from collections.abc import Sequence

GREEN = "\x1b[32m"
RED = "\x1b[31m"
BLUE = "\x1b[34m"
RESET = "\x1b[0m"
_LETTER_COLOURS = {"A": GREEN, "B": BLUE, "C": RED}


def painted(letter: str, *, colour: bool) -> str:
    """A letter of comparison, in its colour if wanted."""
    return f"{_LETTER_COLOURS[letter]}{letter}{RESET}" if colour else letter


def letters_of(values: Sequence[object]) -> str:
    """One letter for each region: A like the first, B unlike it in the second, C unlike all before in the third.

    When the first two agree a third value that does not is C, not B, as on the real programs.
    """
    letters = "A"
    for index, value in enumerate(values[1:], start=1):
        if value == values[0]:
            letters += "A"
        elif index == 1 or value == values[1]:
            letters += "B"
        else:
            letters += "C"
    return letters
