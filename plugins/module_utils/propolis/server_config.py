# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration file that servers of January 2023 to December 2024 start with: checked, and written as TOML."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence

from ..failures import shown
from .errors import BadDescription

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_HIGHEST_INTEGER = 2**63 - 1  # TOML promises no more
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}


def config_text(config: Mapping[str, object]) -> str:
    """The TOML of a server's configuration. Raises BadDescription for what a server would refuse or silently ignore."""
    bootrom = config.get("bootrom")
    if not isinstance(bootrom, str) or not bootrom:
        raise BadDescription("config.bootrom must be the path of the bootrom; servers of that age want it there.")
    _check_block_devices(config.get("block_dev"))
    text = to_toml(config)
    tomllib.loads(text)
    return text


def _check_block_devices(devices: object) -> None:
    if devices is None:
        return
    if not isinstance(devices, Mapping):
        raise BadDescription("config.block_dev must be a dictionary of block devices by name.")
    for name, device in devices.items():
        if isinstance(device, Mapping) and "read_only" in device:
            raise BadDescription(f"config.block_dev.{name} has read_only, which servers ignore; the key is 'readonly'.")


def to_toml(table: Mapping[str, object], place: str = "config") -> str:
    """A dictionary of texts, numbers, booleans, lists and dictionaries as TOML, in its own order.

    Raises BadDescription for what TOML cannot hold (null, mixed lists of tables and values, other types).
    """
    return "".join(_table(table, (), place))


def _table(table: Mapping[str, object], path: tuple[str, ...], place: str) -> list[str]:
    """The lines of a table: its plain values first, because what follows a header belongs to that header."""
    lines: list[str] = []
    inner: list[str] = []
    for key, value in table.items():
        where = f"{place}.{key}"
        if not isinstance(key, str):
            raise BadDescription(f"{where}: a key must be a text.")
        deeper = (*path, _key(key))
        if isinstance(value, Mapping):
            inner += [f"\n[{'.'.join(deeper)}]\n", *_table(value, deeper, where)]
        elif _is_list_of_tables(value, where):
            for index, entry in enumerate(_entries(value)):
                inner += [f"\n[[{'.'.join(deeper)}]]\n", *_table(_mapping(entry), deeper, f"{where}[{index}]")]
        else:
            lines.append(f"{_key(key)} = {_value(value, where)}\n")
    return lines + inner


def _is_list_of_tables(value: object, place: str) -> bool:
    entries = _entries(value)
    tables = [isinstance(entry, Mapping) for entry in entries]
    if any(tables) and not all(tables):
        raise BadDescription(f"{place}: a list holds either dictionaries or values, not both.")
    return bool(tables) and all(tables)


def _entries(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _text(key)


def _value(value: object, place: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        if abs(value) > _HIGHEST_INTEGER:
            raise BadDescription(f"{place} is {shown(value)}, more than TOML can hold.")
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(entry, place) for entry in value)}]"
    kind = "null" if value is None else type(value).__name__
    raise BadDescription(
        f"{place} is {kind}; TOML holds texts, finite numbers, true and false, lists and dictionaries."
    )


def _text(text: str) -> str:
    escaped = (
        _ESCAPES.get(one) or (one if one >= " " and one != "\x7f" and not _is_surrogate(one) else f"\\u{ord(one):04x}")
        for one in text
    )
    return f'"{"".join(escaped)}"'


def _is_surrogate(character: str) -> bool:
    if "\ud800" <= character <= "\udfff":
        raise BadDescription("config has a text that is not valid Unicode.")
    return False
