# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults that a person asks for: frames dropped, delayed or damaged, processes that die, refuse or are slow.

Both sides of the wire read one format, JSON, from the file that PROPOLIS_LAB_FAULTS names, or from an option::

    [{"side": "downstairs", "do": "drop", "on": "send", "message": "WriteAck", "skip": 3, "times": 1, "port": 8810}]

``do``       drop, delay, corrupt, close (the connection), die (SIGKILL to the own process), refuse (close connections
             as they come), slow (every job takes ``seconds`` longer). Whatever came before the message of a close or
             die is done and answered first
``side``     downstairs or upstairs; without it the rule is for both
``port``     the data port of the downstairs at whose connections the rule looks; without it at all
``on``       send or receive, as the side sees it; without it both. Not for refuse and slow
``message``  the name of a message, for instance Write; without it every message. Not for refuse and slow
``skip``     how many matches pass unharmed first, 0 by default
``times``    how many matches are hit after them, 1 by default; 0 means all
``seconds``  for delay (needed) and slow (needed)
``byte``     for corrupt: which byte of the frame is inverted, counted from its end if negative; -1 by default
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from .messages import MESSAGES

VARIABLE = "PROPOLIS_LAB_FAULTS"
Side = Literal["upstairs", "downstairs"]
Direction = Literal["send", "receive"]
Deed = Literal["drop", "delay", "corrupt", "close", "die", "refuse", "slow"]
_TAGS = {cls.__name__: tag for tag, cls in MESSAGES.items()}
_WHOLE_CONNECTION = ("refuse", "slow")


class FaultsError(ValueError):
    """The description of the faults can't be used; the text says which part and what was expected."""


@dataclass(frozen=True)
class Rule:
    """One fault; the fields are described at the top of this file."""

    do: Deed
    side: Side | None = None
    port: int | None = None
    on: Direction | None = None
    message: str | None = None
    skip: int = 0
    times: int = 1
    seconds: float | None = None
    byte: int = -1

    def __post_init__(self) -> None:
        self._one_of("do", self.do, get_args(Deed))
        self._one_of("side", self.side, (None, *get_args(Side)))
        self._one_of("on", self.on, (None, *get_args(Direction)))
        self._one_of("message", self.message, (None, *_TAGS))
        numbers = [("skip", self.skip, 0), ("times", self.times, 0), ("port", self.port, 0), ("byte", self.byte, None)]
        for name, value, least in numbers:
            whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and (not whole or (least is not None and value < least)):
                raise FaultsError(f"'{name}' of a fault must be a whole number from {least or 0} up; found {value!r}.")
        if self.do in ("delay", "slow"):
            if not isinstance(self.seconds, int | float) or isinstance(self.seconds, bool) or self.seconds <= 0:
                raise FaultsError(f"'{self.do}' needs 'seconds', a number above 0; found {self.seconds!r}.")
        elif self.seconds is not None:
            raise FaultsError(f"'seconds' has no meaning for '{self.do}'; it is for delay and slow.")
        if self.do in _WHOLE_CONNECTION and (self.on or self.message):
            raise FaultsError(f"'{self.do}' looks at no message: leave out 'on' and 'message'.")

    @staticmethod
    def _one_of(name: str, value: object, choices: tuple[object, ...]) -> None:
        if value not in choices:
            expected = ", ".join(str(choice) for choice in choices if choice is not None)
            raise FaultsError(f"'{name}' of a fault must be one of {expected}; found {value!r}.")


class Faults:
    """The rules of one side, and how often each has matched."""

    def __init__(self, rules: tuple[Rule, ...] = (), side: Side = "downstairs") -> None:
        self._rules = tuple(rule for rule in rules if rule.side in (None, side))
        self._matches = [0] * len(self._rules)

    @classmethod
    def load(cls, side: Side, text: str | None = None, environment: Mapping[str, str] | None = None) -> Faults:
        """The faults of ``side`` from ``text`` (JSON or a file name), else from the file that the variable names.

        Raises FaultsError when there is a description that can't be read.
        """
        text = text or (os.environ if environment is None else environment).get(VARIABLE)
        return cls(parse(text) if text else (), side)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def of_message(self, direction: Direction, tag: int, port: int) -> Rule | None:
        """The rule that hits this message now, if one does; every rule that it matches counts it."""
        hit = None
        for number, rule in enumerate(self._rules):
            if rule.do in _WHOLE_CONNECTION or rule.on not in (None, direction) or rule.port not in (None, port):
                continue
            if rule.message is not None and _TAGS[rule.message] != tag:
                continue
            if self._counts(number) and hit is None:
                hit = rule
        return hit

    def refuses(self, port: int) -> bool:
        """Whether a connection that comes now must be closed at once."""
        return self._of_connection("refuse", port) is not None

    def slowness(self, port: int) -> float:
        """How many seconds longer the job that is about to run must take."""
        rule = self._of_connection("slow", port)
        return rule.seconds or 0.0 if rule else 0.0

    def _of_connection(self, deed: Deed, port: int) -> Rule | None:
        hits = [
            rule
            for number, rule in enumerate(self._rules)
            if rule.do == deed and rule.port in (None, port) and self._counts(number)
        ]
        return hits[0] if hits else None

    def _counts(self, number: int) -> bool:
        self._matches[number] += 1
        rule, count = self._rules[number], self._matches[number] - self._rules[number].skip
        return count > 0 and (rule.times == 0 or count <= rule.times)


def parse(text: str) -> tuple[Rule, ...]:
    """The rules in ``text``, which is JSON (a list or one object) or the name of a file that holds it."""
    if text.lstrip()[:1] not in ("[", "{"):
        try:
            text = Path(text).read_text(encoding="utf-8")
        except OSError as error:
            raise FaultsError(f"The faults file '{text}' can't be read: {error.strerror}.") from error
    try:
        found = json.loads(text)
    except ValueError as error:
        raise FaultsError(f"The faults are not JSON: {error}.") from error
    return tuple(_rule(entry) for entry in (found if isinstance(found, list) else [found]))


def _rule(entry: object) -> Rule:
    if not isinstance(entry, dict) or "do" not in entry:
        raise FaultsError(f"A fault must be an object that has at least 'do'; found {entry!r}.")
    unknown = sorted(set(entry) - {field.name for field in fields(Rule)})
    if unknown:
        raise FaultsError(f"A fault has no field {', '.join(map(repr, unknown))}.")
    return Rule(**entry)
