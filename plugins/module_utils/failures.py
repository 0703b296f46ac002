# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of every error of this collection: one sentence for a person, one code and details for a playbook."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any, ClassVar

# What was found may be anything that a file, a server or a user can hold: a sentence has room for the beginning of it.
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = _SHOWN.maxlong = 200
_SHOWN.maxlevel = 3


def shown(value: Any) -> str:
    """``repr`` of any value, shortened to what a sentence can bear."""
    try:
        return _SHOWN.repr(value)
    except ValueError:  # a number of more digits than Python prints
        return f"a number of {type(value).__name__} with very many digits"


class CollectionError(Exception):
    """Something that a user must be told about, in one sentence.

    Sub-classes set ``default_code``, a word in snake_case that playbooks may branch on and that never changes
    its meaning. ``details`` holds plain JSON values only (numbers, strings, lists, dictionaries) and no secrets,
    because it is returned to Ansible as it is.
    """

    default_code: ClassVar[str] = "error"

    def __init__(self, message: str, *, code: str | None = None, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.details: dict[str, Any] = dict(details or {})

    def __str__(self) -> str:
        return self.message

    def as_dict(self) -> dict[str, Any]:
        """What a module returns as ``failure``: ``{code, message, details}``."""
        return {"code": self.code, "message": self.message, "details": self.details}
