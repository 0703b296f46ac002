# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the JSON of region.json and, when it is wrong, complains as the real programs' JSON reader does.

Only what an operator meets is imitated: a file cut short, a missing or misspelt key, a value of the wrong kind, and
text that is no JSON. The place is a line and a column, both counted as that reader counts them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID


class SerdeError(Exception):
    """The text is not what was expected; the exception's text is the complaint."""


Check = Callable[[Any], str | None]
Shape = Mapping[str, "Check | Shape"]


def parse(text: str, shape: Shape) -> dict[str, Any]:
    """The object in ``text``, which has all keys of ``shape`` with values of the right kinds; others are left in.

    Raises SerdeError. A wrong value is reported at the object's end, which is where the text's end is known for sure.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise SerdeError(_syntax(text, error)) from None
    end = text.rstrip()
    line = end.count("\n") + 1
    column = len(end) - (end.rfind("\n") + 1)
    complaint = _complaint(document, shape)
    if complaint is not None:
        raise SerdeError(f"{complaint} at line {line} column {column}")
    return dict(document)


def _complaint(document: Any, shape: Shape) -> str | None:
    if not isinstance(document, dict):
        return f"invalid type: {_named(document)}, expected a map"
    for key, expected in shape.items():
        if key not in document:
            return f"missing field `{key}`"
        value = document[key]
        found = expected(value) if callable(expected) else _complaint(value, expected)
        if found is not None:
            return found
    return None


def _syntax(text: str, error: json.JSONDecodeError) -> str:
    """The reader's words for a syntax error; its column is 0 at the start of a line and 1 after one character."""
    if not text[error.pos :].strip():
        line, column = text.count("\n") + 1, len(text) - (text.rfind("\n") + 1)
        return f"EOF while parsing {_open_thing(text)} at line {line} column {column}"
    what = "key must be a string" if "property name" in error.msg else "expected value"
    if error.msg == "Expecting ',' delimiter":
        what = "expected `,` or `}`"
    if error.msg == "Expecting ':' delimiter":
        what = "expected `:`"
    if error.msg.startswith("Extra data"):
        what = "trailing characters"
    return f"{what} at line {error.lineno} column {error.colno}"


def _open_thing(text: str) -> str:
    """What the text stopped inside of."""
    stripped = text.rstrip()
    if not stripped or stripped[-1] == ":":
        return "a value"
    return "a list" if stripped.rfind("[") > stripped.rfind("]") else "an object"


def _integer(bits: int) -> Check:
    def check(value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int):
            return f"invalid type: {_named(value)}, expected u{bits}"
        if not 0 <= value < 1 << bits:
            return f"invalid value: integer `{value}`, expected u{bits}"
        return None

    return check


def _boolean(value: Any) -> str | None:
    return None if isinstance(value, bool) else f"invalid type: {_named(value)}, expected a boolean"


def _uuid(value: Any) -> str | None:
    if not isinstance(value, str):
        return f"invalid type: {_named(value)}, expected a formatted UUID string"
    try:
        UUID(value)
    except ValueError:
        return f"UUID parsing failed: invalid value {value!r}"
    return None


def _named(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"boolean `{str(value).lower()}`"
    if isinstance(value, int | float):
        return f"{'integer' if isinstance(value, int) else 'floating point'} `{value}`"
    if isinstance(value, str):
        return f"string {json.dumps(value)}"
    return "sequence" if isinstance(value, list) else "map"


U32 = _integer(32)
U64 = _integer(64)
BOOL: Check = _boolean
UUID_TEXT: Check = _uuid
