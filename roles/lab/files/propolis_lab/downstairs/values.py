# SPDX-License-Identifier: GPL-3.0-or-later
"""Values on the command line; what is wrong with one is said as the real programs say it, as a ValueError's text."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from uuid import UUID

from propolis_lab.downstairs.options import Mode
from propolis_lab.region.age import Age

_U64_LIMIT = 1 << 64
_GROUPS = (8, 4, 4, 4, 12)


def unsigned(bits: int) -> Callable[[str], int]:
    """A number of ``bits`` bits: 16 and 32 name their range when they are left, 64 does not."""

    def parse(text: str) -> int:
        if not text:
            raise ValueError("cannot parse integer from empty string")
        if not re.fullmatch(r"\+?[0-9]+", text):
            raise ValueError("invalid digit found in string")
        number = int(text)
        if number >= 1 << bits:
            if bits == 64:
                raise ValueError("number too large to fit in target type")
            raise ValueError(f"{number} is not in 0..={(1 << bits) - 1}")
        return number

    return parse


def uuid_of(age: Age) -> Callable[[str], UUID]:
    """A UUID, with or without hyphens, braces or ``urn:uuid:``."""

    def parse(text: str) -> UUID:
        bare = text.removeprefix("urn:uuid:")
        bare = bare[1:-1] if bare.startswith("{") and bare.endswith("}") else bare
        strange = re.search(r"[^0-9a-fA-F-]", bare)
        if strange:
            raise ValueError(_strange_character(age, strange.group(), text.index(strange.group())))
        groups = bare.split("-")
        if len(groups) == 1:
            if len(bare) != 32:
                raise ValueError(f"invalid length: expected length 32 for simple format, found {len(bare)}")
        elif len(groups) != 5:
            raise ValueError(f"invalid group count: expected 5, found {len(groups)}")
        else:
            for index, (group, length) in enumerate(zip(groups, _GROUPS, strict=True)):
                if len(group) != length:
                    raise ValueError(f"invalid group length in group {index}: expected {length}, found {len(group)}")
        return UUID(bare)

    return parse


def _strange_character(age: Age, character: str, place: int) -> str:
    if age is Age.TODAY:
        return f"invalid character: found `{character}` at {place}"
    return (
        "invalid character: expected an optional prefix of `urn:uuid:` followed by [0-9a-zA-Z], "
        f"found `{character}` at {place + 1}"
    )


def ip_address(text: str) -> str:
    """An IP literal; names are not resolved."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("invalid IP address syntax") from None


def socket_address(text: str) -> str:
    """``127.0.0.1:12810`` or ``[::1]:12810``."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        raise ValueError("invalid socket address syntax") from None
    if not colon or not port.isdecimal() or int(port) > 65535 or bracketed != (address.version == 6):
        raise ValueError("invalid socket address syntax")
    return text


def mode(text: str) -> Mode:
    """``rw`` or ``ro``, in any case."""
    try:
        return Mode(text.lower())
    except ValueError:
        raise ValueError("not a valid mode!") from None


def block_range(text: str) -> tuple[int, int]:
    """``50`` or ``17064-17071``: first and last block."""
    first, dash, last = text.partition("-")
    number = unsigned(64)
    start = number(first)
    end = number(last) if dash else start
    if end < start:
        raise ValueError(f"the range {text} ends before it starts")
    return start, end
