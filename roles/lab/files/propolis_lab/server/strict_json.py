# SPDX-License-Identifier: GPL-3.0-or-later
"""A JSON reader that remembers where every value stands, so that errors can name line and column as the real server
does.

Texts and positions of the errors were seen on the real program (its JSON reader is serde_json): the column is the
number of bytes of the line read so far, so that it points at the last byte looked at.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn

_WHITESPACE = b" \t\r\n"
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_ESCAPES = {
    ord('"'): '"',
    ord("\\"): "\\",
    ord("/"): "/",
    ord("b"): "\b",
    ord("f"): "\f",
    ord("n"): "\n",
    ord("r"): "\r",
    ord("t"): "\t",
}
_DEEPEST = 128


class Kind(Enum):
    """What a JSON value is."""

    NULL = "null"
    BOOLEAN = "boolean"
    NUMBER = "number"
    STRING = "string"
    ARRAY = "array"
    OBJECT = "object"


@dataclass(frozen=True)
class Member:
    """One `"name": value` of an object; `name_end` is the offset just behind the closing quote of the name."""

    name: str
    name_end: int
    value: Node


@dataclass(frozen=True)
class Node:
    """One JSON value with the offsets (bytes) of its first byte and just behind its last one.

    `scalar` holds None, a bool, an int, a float or a str; `items` the elements of an array; `members` those of an
    object in the order of the text.
    """

    kind: Kind
    start: int
    end: int
    scalar: bool | int | float | str | None = None
    items: tuple[Node, ...] = ()
    members: tuple[Member, ...] = ()


class JsonError(Exception):
    """The text is not JSON, or not the value that was expected; `offset` is the number of bytes read."""

    def __init__(self, text: str, offset: int) -> None:
        super().__init__(text)
        self.text = text
        self.offset = offset

    def describe(self, source: bytes) -> str:
        """The sentence with its place: `text at line L column C`."""
        before = source[: self.offset]
        line = before.count(b"\n") + 1
        column = self.offset - (before.rfind(b"\n") + 1)
        return f"{self.text} at line {line} column {column}"


def parse(source: bytes) -> Node:
    """Read one JSON value that fills the whole text; raises JsonError."""
    reader = _Reader(source)
    value = reader.value(0)
    reader.skip_whitespace()
    if reader.offset < len(source):
        raise JsonError("trailing characters", reader.offset + 1)
    return value


class _Reader:
    """The position in the text, and one method for each construct of the grammar."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.offset = 0

    def fail(self, text: str) -> NoReturn:
        """An error about the byte that was looked at but not taken."""
        raise JsonError(text, min(len(self.source), self.offset + 1))

    def peek(self) -> int:
        return self.source[self.offset] if self.offset < len(self.source) else -1

    def skip_whitespace(self) -> int:
        while self.offset < len(self.source) and self.source[self.offset] in _WHITESPACE:
            self.offset += 1
        return self.peek()

    def value(self, depth: int) -> Node:
        if depth > _DEEPEST:
            self.fail("recursion limit exceeded")
        first = self.skip_whitespace()
        start = self.offset
        if first == -1:
            raise JsonError("EOF while parsing a value", self.offset)
        if first == ord('"'):
            text = self.string()
            return Node(Kind.STRING, start, self.offset, scalar=text)
        if first == ord("{"):
            members = self.members(depth)
            return Node(Kind.OBJECT, start, self.offset, members=members)
        if first == ord("["):
            items = self.items(depth)
            return Node(Kind.ARRAY, start, self.offset, items=items)
        if first == ord("-") or ord("0") <= first <= ord("9"):
            number = self.number()
            return Node(Kind.NUMBER, start, self.offset, scalar=number)
        return self.word(start)

    def word(self, start: int) -> Node:
        for word, kind, value in (
            (b"null", Kind.NULL, None),
            (b"true", Kind.BOOLEAN, True),
            (b"false", Kind.BOOLEAN, False),
        ):
            if self.source.startswith(word, start):
                self.offset = start + len(word)
                return Node(kind, start, self.offset, scalar=value)
        if self.source[start : start + 1] in (b"n", b"t", b"f"):
            raise JsonError("expected ident", min(len(self.source), start + 2))
        self.fail("expected value")

    def number(self) -> int | float:
        match = _NUMBER.match(self.source, self.offset)
        if match is None:
            raise JsonError("invalid number", min(len(self.source), self.offset + 2))
        self.offset = match.end()
        if match.group(1) is None and match.group(2) is None:
            return int(match.group())
        value = float(match.group())
        if math.isinf(value):
            raise JsonError("number out of range", self.offset)
        return value

    def string(self) -> str:
        self.offset += 1
        pieces: list[str] = []
        run = self.offset
        while True:
            byte = self.peek()
            if byte == -1:
                raise JsonError("EOF while parsing a string", self.offset)
            if byte == ord('"') or byte == ord("\\") or byte < 0x20:
                pieces.append(self._text(run, self.offset))
                self.offset += 1
                if byte == ord('"'):
                    return "".join(pieces)
                if byte != ord("\\"):
                    raise JsonError("control character (\\u0000-\\u001F) found while parsing a string", self.offset)
                pieces.append(self.escape())
                run = self.offset
            else:
                self.offset += 1

    def _text(self, start: int, end: int) -> str:
        try:
            return self.source[start:end].decode()
        except UnicodeDecodeError as error:
            raise JsonError("invalid unicode code point", start + error.end) from None

    def escape(self) -> str:
        letter = self.peek()
        self.offset += 1
        if letter in _ESCAPES:
            return _ESCAPES[letter]
        if letter != ord("u"):
            raise JsonError("invalid escape", min(len(self.source), self.offset))
        unit = self.hex_unit()
        if 0xDC00 <= unit <= 0xDFFF:
            raise JsonError("lone leading surrogate in hex escape", self.offset)
        if not 0xD800 <= unit <= 0xDBFF:
            return chr(unit)
        if self.source[self.offset : self.offset + 2] != b"\\u":
            raise JsonError("unexpected end of hex escape", min(len(self.source), self.offset + 1))
        self.offset += 2
        low = self.hex_unit()
        if not 0xDC00 <= low <= 0xDFFF:
            raise JsonError("lone leading surrogate in hex escape", self.offset)
        return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))

    def hex_unit(self) -> int:
        digits = self.source[self.offset : self.offset + 4]
        if re.fullmatch(rb"[0-9a-fA-F]{4}", digits) is None:
            raise JsonError("invalid escape", min(len(self.source), self.offset + 4))
        self.offset += 4
        return int(digits, 16)

    def items(self, depth: int) -> tuple[Node, ...]:
        self.offset += 1
        found: list[Node] = []
        while True:
            byte = self.skip_whitespace()
            if byte == -1:
                raise JsonError("EOF while parsing a list", self.offset)
            if byte == ord("]"):
                self.offset += 1
                return tuple(found)
            if found:
                if byte != ord(","):
                    self.fail("expected `,` or `]`")
                self.offset += 1
                if self.skip_whitespace() == ord("]"):
                    self.fail("trailing comma")
            found.append(self.value(depth + 1))

    def members(self, depth: int) -> tuple[Member, ...]:
        self.offset += 1
        found: list[Member] = []
        while True:
            byte = self.skip_whitespace()
            if byte == -1:
                raise JsonError("EOF while parsing an object", self.offset)
            if byte == ord("}"):
                self.offset += 1
                return tuple(found)
            if found:
                if byte != ord(","):
                    self.fail("expected `,` or `}`")
                self.offset += 1
                byte = self.skip_whitespace()
                if byte == ord("}"):
                    self.fail("trailing comma")
                if byte == -1:
                    raise JsonError("EOF while parsing a value", self.offset)
            if byte != ord('"'):
                self.fail("key must be a string")
            name = self.string()
            name_end = self.offset
            if self.skip_whitespace() != ord(":"):
                if self.peek() == -1:
                    raise JsonError("EOF while parsing an object", self.offset)
                self.fail("expected `:`")
            self.offset += 1
            found.append(Member(name, name_end, self.value(depth + 1)))
