# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading decoded JSON of a server: each value has the type that we expect, or an error of ours names its place.

Errors name the place and the type found, never the value: answers hold volume keys.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from .errors import NotPropolis

Choice = TypeVar("Choice", bound=Enum)

_TYPE_NAMES = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", int: "a whole number"}


def describe(value: object) -> str:
    """What kind of JSON value this is, in words, without the value."""
    return "null" if value is None else _TYPE_NAMES.get(type(value), "a number")


@dataclass(frozen=True)
class Value:
    """A JSON value, the place in the document where it stands, and which answer the document is."""

    raw: object
    source: str
    place: str = ""

    def wrong(self, expected: str) -> NotPropolis:
        """The error that says that something else than ``expected`` was found here."""
        where = f" at {self.place}" if self.place else ""
        return NotPropolis(
            f"{self.source}: expected {expected}{where}, found {describe(self.raw)}. "
            "Is this the API of a propolis server, of an age that this collection knows?",
            details={"place": self.place, "expected": expected, "found": describe(self.raw)},
        )

    def _object(self) -> dict[str, object]:
        if not isinstance(self.raw, dict):
            raise self.wrong("an object")
        return self.raw

    def get(self, key: str) -> Value:
        """The member ``key``; a member that is not there reads as null."""
        return Value(self._object().get(key), self.source, f"{self.place}.{key}" if self.place else key)

    def has(self, key: str) -> bool:
        """Whether this is an object that has the member ``key`` (null counts)."""
        return isinstance(self.raw, dict) and key in self.raw

    @property
    def is_null(self) -> bool:
        return self.raw is None

    def members(self) -> Iterator[tuple[str, Value]]:
        """All members of an object, in their order."""
        for key in self._object():
            yield key, self.get(key)

    def entries(self) -> Iterator[Value]:
        """All entries of a list."""
        if not isinstance(self.raw, list):
            raise self.wrong("a list")
        for index, entry in enumerate(self.raw):
            yield Value(entry, self.source, f"{self.place}[{index}]")

    def text(self) -> str:
        if not isinstance(self.raw, str):
            raise self.wrong("a text")
        return self.raw

    def optional_text(self) -> str | None:
        return None if self.raw is None else self.text()

    def uuid(self) -> str:
        """A UUID in any spelling, given back in the canonical one (the servers of 2023 print some without hyphens)."""
        try:
            return str(uuid.UUID(self.text()))
        except ValueError:
            raise self.wrong("a UUID") from None

    def number(self) -> int:
        """A whole number that is not negative, as all numbers in this API are."""
        if isinstance(self.raw, bool) or not isinstance(self.raw, int) or self.raw < 0:
            raise self.wrong("a whole number from 0 up")
        return self.raw

    def optional_number(self) -> int | None:
        return None if self.raw is None else self.number()

    def boolean(self) -> bool:
        if not isinstance(self.raw, bool):
            raise self.wrong("true or false")
        return self.raw

    def choice(self, choices: type[Choice]) -> Choice:
        """One of the words of an enumeration of the API."""
        word = self.text()
        for known in choices:
            if known.value == word:
                return known
        shown = word if word.isidentifier() and len(word) <= 40 else "another text"
        raise NotPropolis(
            f"{self.source}: {self.place} is {shown}, which is none of the known words "
            f"({', '.join(str(known.value) for known in choices)}).",
            details={"place": self.place, "found": shown},
        )
