# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of a ledger: one generation that was handed out, to whom, why and by whom."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import InvalidValueError
from .volume import check_generation

REASONS = ("start", "migrate", "maintenance")
# Made once: a ledger may have very many lines.
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode
_DECODE = json.JSONDecoder().decode


@dataclass(frozen=True)
class Floor:
    """A number that is used already, and a few words that say where it was seen (``ds1's ledger``)."""

    generation: int
    source: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One number. ``instance`` and ``server`` are its holder; ``time`` is ISO 8601 in UTC, for people only."""

    generation: int
    reason: str
    instance: str | None = None
    server: str | None = None
    migration_id: str | None = None
    time: str = ""
    controller: str | None = None

    @property
    def sentence(self) -> str:
        holder = f" to {self.instance or 'no instance'} on {self.server}" if self.server else ""
        migration = f", migration {self.migration_id}" if self.migration_id else ""
        return f"{self.generation} ({self.reason}{holder}{migration}, by {self.controller or 'nobody'} at {self.time})"

    def as_dict(self) -> dict[str, Any]:
        """The shape that modules return and take: the holder is a mapping of its own."""
        return {
            "generation": self.generation,
            "reason": self.reason,
            "migration_id": self.migration_id,
            "time": self.time,
            "controller": self.controller,
            "holder": {"instance": self.instance, "server": self.server},
        }


def entry_from_mapping(found: Any) -> Entry:
    """The reverse of ``as_dict``. Raises InvalidValueError."""
    if not isinstance(found, Mapping):
        raise InvalidValueError("entries", type(found).__name__, "entries as the module returns them")
    reason = found.get("reason")
    if reason not in REASONS:
        raise InvalidValueError("reason", reason, f"one of {', '.join(REASONS)}")
    holder = found.get("holder")
    if holder is not None and not isinstance(holder, Mapping):
        raise InvalidValueError("holder", type(holder).__name__, "a mapping with instance and server")
    names = {"instance": (holder or {}).get("instance"), "server": (holder or {}).get("server")}
    names |= {name: found.get(name) for name in ("migration_id", "time", "controller")}
    for name, value in names.items():
        if value is not None and not isinstance(value, str):
            raise InvalidValueError(name, value, "text")
    return Entry(
        check_generation(found.get("generation")), str(reason), names["instance"], names["server"],
        names["migration_id"], names["time"] or "", names["controller"],
    )  # fmt: skip


def encode_entry(entry: Entry) -> bytes:
    """One line, newline included."""
    return _ENCODE(entry.as_dict()).encode() + b"\n"


def decode_entry(line: bytes) -> Entry | None:
    """A line without its newline; None when it is no entry."""
    try:
        return entry_from_mapping(_DECODE(line.decode()))
    except (ValueError, RecursionError, InvalidValueError):
        return None
