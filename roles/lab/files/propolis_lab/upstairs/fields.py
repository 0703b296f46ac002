# SPDX-License-Identifier: GPL-3.0-or-later
"""Single fields of a JSON object, with the complaints of the real parser (serde) less line and column."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from .errors import RequestError

U32_MAX = 2**32 - 1
U64_MAX = 2**64 - 1


def describe(value: Any) -> str:
    """A JSON value as the real parser names what it found, e.g. ``string "16"``. Long texts are cut."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"boolean `{str(value).lower()}`"
    if isinstance(value, int):
        return f"integer `{value}`"
    if isinstance(value, float):
        return f"floating point `{value}`"
    if isinstance(value, str):
        return f'string "{value[:60]}"'
    return "sequence" if isinstance(value, list) else "map"


class Fields:
    """The fields of one JSON object; unknown ones are ignored, as the real parser does."""

    def __init__(self, value: Any, what: str) -> None:
        if not isinstance(value, dict):
            raise RequestError(f"invalid type: {describe(value)}, expected {what}")
        self.values: dict[str, Any] = value

    def need(self, name: str) -> Any:
        if name not in self.values:
            raise RequestError(f"missing field `{name}`")
        return self.values[name]

    def number(self, name: str, most: int = U64_MAX) -> int:
        value = self.need(name)
        kind = "u64" if most == U64_MAX else "u32"
        if isinstance(value, bool) or not isinstance(value, int):
            raise RequestError(f"{name}: invalid type: {describe(value)}, expected {kind}")
        if not 0 <= value <= most:
            raise RequestError(f"{name}: invalid value: {describe(value)}, expected {kind}")
        return value

    def truth(self, name: str) -> bool:
        value = self.need(name)
        if not isinstance(value, bool):
            raise RequestError(f"{name}: invalid type: {describe(value)}, expected a boolean")
        return value

    def text(self, name: str) -> str:
        value = self.need(name)
        if not isinstance(value, str):
            raise RequestError(f"{name}: invalid type: {describe(value)}, expected a string")
        return value

    def uuid(self, name: str) -> UUID:
        text = self.text(name)
        try:
            return UUID(text)
        except ValueError as error:
            raise RequestError(f"{name}: UUID parsing failed: {error}: found {text[:60]!r}") from error

    def items(self, name: str) -> list[Any]:
        value = self.need(name)
        if not isinstance(value, list):
            raise RequestError(f"{name}: invalid type: {describe(value)}, expected a sequence")
        return value

    def optional_text(self, name: str, *, secret: bool = False) -> str | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            found = "another type" if secret else describe(value)
            raise RequestError(f"{name}: invalid type: {found}, expected a string")
        return value
