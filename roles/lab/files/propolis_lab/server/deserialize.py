# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers that turn a positioned JSON value into Python values, with the error texts of the real server.

A reader is a function `(node, path) -> value`; the functions here build readers out of readers. Every error carries
the path of the field (`init.value.spec.board.cpus`) and the offset at which the real program (serde over serde_json)
notices it: behind a scalar or a name, behind the closing brace for a missing field. Seen on the real program.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any
from uuid import UUID

from propolis_lab.server.strict_json import JsonError, Kind, Node, parse

Path = tuple[str, ...]
Reader = Callable[[Node, Path], Any]


class FieldError(JsonError):
    """A value is not what was expected; `path` names the field."""

    def __init__(self, text: str, offset: int, path: Path) -> None:
        super().__init__(text, offset)
        self.path = path

    def describe(self, source: bytes) -> str:
        """`path: text at line L column C`, without the path at the top of the document."""
        place = super().describe(source)
        return f"{'.'.join(self.path)}: {place}" if self.path else place


class LateError(Exception):
    """A value was read but is refused as a whole: noticed when the structure around it is left."""

    def __init__(self, text: str, path: Path) -> None:
        super().__init__(text)
        self.text = text
        self.path = path


def deserialize(source: bytes, reader: Reader) -> Any:
    """Parse `source` and read it; raises JsonError whose `describe(source)` is the sentence for the client."""
    return reader(parse(source), ())


@dataclass(frozen=True)
class Tagged:
    """A value of a type with variants: the variant's name and what it carries."""

    tag: str
    content: Any


@dataclass(frozen=True)
class Field:
    """One field of a structure; a field that is not required reads as `default` when it is absent."""

    name: str
    reader: Reader
    required: bool = True
    default: Any = None


def _unexpected(node: Node) -> str:
    if node.kind is Kind.STRING:
        return f"string {json.dumps(node.scalar, ensure_ascii=False)}"
    if node.kind is Kind.NUMBER:
        return f"integer `{node.scalar}`" if isinstance(node.scalar, int) else f"floating point `{node.scalar}`"
    if node.kind is Kind.BOOLEAN:
        return f"boolean `{str(node.scalar).lower()}`"
    return {Kind.NULL: "null", Kind.ARRAY: "sequence", Kind.OBJECT: "map"}[node.kind]


def wrong_type(node: Node, expected: str, path: Path) -> FieldError:
    """The error for a value of another kind than expected."""
    offset = node.start if node.kind in (Kind.ARRAY, Kind.OBJECT) else node.end
    return FieldError(f"invalid type: {_unexpected(node)}, expected {expected}", offset, path)


def one_of(names: Sequence[str], *, plural: str) -> str:
    """The list of names that were expected, in serde's words; `plural` is `fields` or `variants` for an empty list."""
    quoted = [f"`{name}`" for name in names]
    if not quoted:
        return f"there are no {plural}"
    if len(quoted) == 1:
        return f"expected {quoted[0]}"
    if len(quoted) == 2:
        return f"expected {quoted[0]} or {quoted[1]}"
    return f"expected one of {', '.join(quoted)}"


def string(node: Node, path: Path) -> str:
    if not isinstance(node.scalar, str):
        raise wrong_type(node, "a string", path)
    return node.scalar


def boolean(node: Node, path: Path) -> bool:
    if not isinstance(node.scalar, bool):
        raise wrong_type(node, "a boolean", path)
    return node.scalar


def unsigned(bits: int, least: int = 0) -> Reader:
    """A number from `least` that fits into `bits` bits."""
    name = f"u{bits}"

    def read(node: Node, path: Path) -> int:
        value = node.scalar
        if node.kind is not Kind.NUMBER or not isinstance(value, int):
            raise wrong_type(node, name if least == 0 else f"a nonzero {name}", path)
        if not least <= value < 1 << bits:
            expected = name if least == 0 else f"a nonzero {name}"
            raise FieldError(f"invalid value: integer `{value}`, expected {expected}", node.end, path)
        return value

    return read


def uuid_text(text: str) -> UUID:
    """A UUID in any of the forms that the real server takes; raises ValueError with its words."""
    bare = text.removeprefix("urn:uuid:").strip("{}") if text[:1] in ("u", "{") else text
    for position, letter in enumerate(bare):
        if letter not in "0123456789abcdefABCDEF-":
            raise ValueError(f"UUID parsing failed: invalid character: found `{letter}` at {position}")
    if "-" not in bare:
        if len(bare) != 32:
            raise ValueError(
                f"UUID parsing failed: invalid length: expected length 32 for simple format, found {len(bare)}"
            )
        return UUID(bare)
    groups = bare.split("-")
    if len(groups) != 5:
        raise ValueError(f"UUID parsing failed: invalid group count: expected 5, found {len(groups)}")
    for index, (group, length) in enumerate(zip(groups, (8, 4, 4, 4, 12), strict=True)):
        if len(group) != length:
            raise ValueError(
                f"UUID parsing failed: invalid group length in group {index}: expected {length}, found {len(group)}"
            )
    return UUID(bare)


def uuid(node: Node, path: Path) -> UUID:
    text = string(node, path)
    try:
        return uuid_text(text)
    except ValueError as error:
        raise FieldError(str(error), node.end, path) from None


def socket_address_text(text: str) -> tuple[str, int]:
    """`1.2.3.4:port` or `[v6]:port` as (address, port); raises ValueError in the real program's words."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.%]+)\]|([0-9.]+)):([0-9]{1,5})", text)
    if match is None or int(match.group(3)) > 65535:
        raise ValueError("invalid socket address syntax")
    try:
        host = str(IPv6Address(match.group(1)) if match.group(1) else IPv4Address(match.group(2)))
    except AddressValueError:
        raise ValueError("invalid socket address syntax") from None
    return host, int(match.group(3))


def socket_address(node: Node, path: Path) -> tuple[str, int]:
    text = string(node, path)
    try:
        return socket_address_text(text)
    except ValueError as error:
        raise FieldError(str(error), node.end, path) from None


def optional(reader: Reader) -> Reader:
    """null reads as None."""
    return lambda node, path: None if node.kind is Kind.NULL else reader(node, path)


def sequence(reader: Reader, *, exactly: int | None = None) -> Reader:
    def read(node: Node, path: Path) -> list[Any]:
        if node.kind is not Kind.ARRAY:
            raise wrong_type(node, "a sequence" if exactly is None else f"an array of length {exactly}", path)
        values = [reader(item, (*path[:-1], f"{path[-1]}[{index}]")) for index, item in enumerate(node.items)]
        if exactly is not None and len(values) != exactly:
            raise FieldError(f"invalid length {len(values)}, expected an array of length {exactly}", node.end, path)
        return values

    return read


def mapping(reader: Reader) -> Reader:
    """An object with any names; the last of two equal names wins, as in the real program."""

    def read(node: Node, path: Path) -> dict[str, Any]:
        if node.kind is not Kind.OBJECT:
            raise wrong_type(node, "a map", path)
        return {member.name: reader(member.value, (*path, member.name)) for member in node.members}

    return read


def variants(*names: str) -> Reader:
    """A bare string that is one of the names."""

    def read(node: Node, path: Path) -> str:
        if node.kind is Kind.OBJECT and len(node.members) == 1:
            member = node.members[0]
            if member.name not in names:
                raise FieldError(
                    f"unknown variant `{member.name}`, {one_of(names, plural='variants')}", member.name_end, path
                )
            raise FieldError("invalid type: map, expected unit", member.value.end, path)
        if not isinstance(node.scalar, str):
            raise wrong_type(node, "string or map", path)
        if node.scalar not in names:
            raise FieldError(f"unknown variant `{node.scalar}`, {one_of(names, plural='variants')}", node.end, path)
        return node.scalar

    return read


def struct(name: str, fields: Sequence[Field], build: Callable[..., Any], *, deny_unknown: bool = False) -> Reader:
    """An object with named fields, handed to `build` as keyword arguments."""
    known = {field.name: field for field in fields}

    def read(node: Node, path: Path) -> Any:
        if node.kind is not Kind.OBJECT:
            raise wrong_type(node, f"struct {name}", path)
        values: dict[str, Any] = {}
        for member in node.members:
            field = known.get(member.name)
            if field is None:
                if deny_unknown:
                    text = f"unknown field `{member.name}`, {one_of(list(known), plural='fields')}"
                    raise FieldError(text, member.name_end, (*path, member.name))
                continue
            if member.name in values:
                raise FieldError(f"duplicate field `{member.name}`", member.name_end, path)
            try:
                values[member.name] = field.reader(member.value, (*path, member.name))
            except LateError as error:
                last = member is node.members[-1]
                raise FieldError(error.text, node.end if last else member.value.end, error.path) from None
        for field in fields:
            if field.name not in values:
                if field.required:
                    raise FieldError(f"missing field `{field.name}`", node.end, path)
                values[field.name] = field.default
        return build(**values)

    return read


def adjacent(tag: str, content: str, choices: Mapping[str, Reader | None], *, deny_unknown: bool = True) -> Reader:
    """An object `{tag: variant, content: value}`; a reader of None is a variant that carries nothing."""

    def read(node: Node, path: Path) -> Tagged:
        if node.kind is not Kind.OBJECT:
            raise wrong_type(node, "adjacently tagged enum", path)
        found = {member.name: member for member in node.members}
        if deny_unknown:
            for member in node.members:
                if member.name not in (tag, content):
                    expected = f"{json.dumps(tag)} or {json.dumps(content)}"
                    text = f"invalid value: string {json.dumps(member.name)}, expected {expected}"
                    raise FieldError(text, member.name_end, (*path, member.name))
        if tag not in found:
            raise FieldError(f"missing field `{tag}`", node.end, path)
        label = found[tag].value
        choice = string(label, (*path, tag))
        if choice not in choices:
            text = f"unknown variant `{choice}`, {one_of(list(choices), plural='variants')}"
            raise FieldError(text, label.end, (*path, tag))
        reader = choices[choice]
        if reader is None:
            return Tagged(choice, None)
        if content not in found:
            raise FieldError(f"missing field `{content}`", node.end, path)
        return Tagged(choice, reader(found[content].value, (*path, content)))

    return read
