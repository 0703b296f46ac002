# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads command lines as the real programs do, and complains with their words, those of today and those of 2023.

The words are those of the argument parser that the real programs are built with, as seen on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from propolis_lab.downstairs.outcome import Failure
from propolis_lab.region.age import Age

PROGRAM = "crucible-downstairs"


class HelpWanted(Exception):
    """The command line asks for help about ``command``, or about the program when that is None."""

    def __init__(self, command: str | None) -> None:
        super().__init__(command or PROGRAM)
        self.command = command


def _text(value: str) -> str:
    return value


@dataclass(frozen=True)
class Option:
    """One option; ``value_name`` None makes it a flag. ``parse`` raises ValueError with the cause as its text."""

    name: str
    value_name: str | None = None
    short: str | None = None
    parse: Callable[[str], Any] = _text
    default: Any = None
    required: bool = False
    many: bool = False
    conflicts: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    about: str = ""

    @property
    def shown(self) -> str:
        """``--data <DIRECTORY>``"""
        return f"--{self.name}" + ("" if self.value_name is None else f" <{self.value_name}>")

    @property
    def key(self) -> str:
        return self.name.replace("-", "_")


@dataclass(frozen=True)
class Command:
    """One subcommand and its options, in the order of its help."""

    name: str
    options: tuple[Option, ...] = ()
    about: str = ""

    def option(self, name: str) -> Option:
        return next(option for option in self.options if option.name == name)


@dataclass(frozen=True)
class Words:
    """The sentences of one age of the argument parser."""

    unexpected: str
    unknown_command: str
    missing: str
    invalid: str
    no_value: str
    repeated: str
    conflict: str
    more: str


_WORDS = {
    Age.TODAY: Words(
        unexpected="unexpected argument '{0}' found",
        unknown_command="unrecognized subcommand '{0}'",
        missing="the following required arguments were not provided:",
        invalid="invalid value '{0}' for '{1}': {2}",
        no_value="a value is required for '{0}' but none was supplied",
        repeated="the argument '{0}' cannot be used multiple times",
        conflict="the argument '{0}' cannot be used with '{1}'",
        more="For more information, try '--help'.",
    ),
    Age.JANUARY_2023: Words(
        unexpected="Found argument '{0}' which wasn't expected, or isn't valid in this context",
        unknown_command="The subcommand '{0}' wasn't recognized",
        missing="The following required arguments were not provided:",
        invalid="Invalid value '{0}' for '{1}': {2}",
        no_value="The argument '{0}' requires a value but none was supplied",
        repeated="The argument '{0}' was provided more than once, but cannot be used multiple times",
        conflict="The argument '{0}' cannot be used with '{1}'",
        more="For more information try '--help'",
    ),
}


class Parser:
    """The command line of one age: which subcommands there are, and the words for what is wrong."""

    def __init__(self, commands: Sequence[Command], age: Age) -> None:
        self._commands = {command.name: command for command in commands}
        self._words = _WORDS[age]

    def parse(self, arguments: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """The subcommand and the values of its options, defaults included.

        Raises HelpWanted; Failure with the recorded complaint.
        """
        if not arguments or arguments[0] in {"-h", "--help"}:
            raise HelpWanted(None)
        name, rest = arguments[0], arguments[1:]
        if name == "help":
            if rest and rest[0] not in self._commands:
                raise self._complaint(self._words.unknown_command.format(rest[0]), f"{PROGRAM} help [COMMAND]")
            raise HelpWanted(rest[0] if rest else None)
        if name.startswith("-"):
            raise self._complaint(self._words.unexpected.format(name), f"{PROGRAM} <COMMAND>")
        if name not in self._commands:
            raise self._complaint(self._words.unknown_command.format(name), f"{PROGRAM} <COMMAND>")
        command = self._commands[name]
        given = self._given(command, list(rest))
        self._check(command, given)
        return name, {option.key: given.get(option.name, option.default) for option in command.options}

    def _given(self, command: Command, tokens: list[str]) -> dict[str, Any]:
        """The values of the options that stand on the command line."""
        given: dict[str, Any] = {}
        while tokens:
            token = tokens.pop(0)
            if token in {"-h", "--help"}:
                raise HelpWanted(command.name)
            option, attached = _split(command, token)
            if option is None:
                raise self._complaint(self._words.unexpected.format(token), full_usage(command))
            if option.name in given and not option.many:
                raise self._complaint(self._words.repeated.format(option.shown), full_usage(command))
            if option.value_name is None:
                given[option.name] = True
                continue
            value = self._parsed(option, self._value(command, option, attached, tokens))
            given[option.name] = [*given.get(option.name, []), value] if option.many else value
        return given

    def _value(self, command: Command, option: Option, attached: str | None, tokens: list[str]) -> str:
        if attached is not None:
            return attached
        if tokens and not (tokens[0].startswith("-") and len(tokens[0]) > 1):
            return tokens.pop(0)
        if tokens and _split(command, tokens[0])[0] is None:
            raise self._complaint(self._words.unexpected.format(tokens[0]), full_usage(command))
        raise self._complaint(self._words.no_value.format(option.shown))

    def _parsed(self, option: Option, text: str) -> Any:
        try:
            return option.parse(text)
        except ValueError as error:
            message = self._words.invalid.format(text, option.shown, error)
            raise self._complaint(message, cause=str(error)) from None

    def _check(self, command: Command, given: dict[str, Any]) -> None:
        """Conflicts, then what is missing."""
        for option in command.options:
            for other in option.conflicts:
                if option.name in given and other in given:
                    shown = command.option(other).shown
                    usage = used_usage(command, [option.name])
                    raise self._complaint(self._words.conflict.format(option.shown, shown), usage)
        needed = [option.name for option in command.options if option.required]
        for option in command.options:
            if option.name in given:
                needed += option.requires
        missing = [command.option(name).shown for name in dict.fromkeys(needed) if name not in given]
        if missing:
            lines = "".join(f"\n  {shown}" for shown in missing)
            raise self._complaint(self._words.missing + lines, used_usage(command, [*given, *needed]))

    def _complaint(self, message: str, usage: str | None = None, cause: str | None = None) -> Failure:
        middle = "" if usage is None else f"Usage: {usage}\n\n"
        return Failure(f"error: {message}\n\n{middle}{self._words.more}\n", cause)


def full_usage(command: Command) -> str:
    """``crucible-downstairs create [OPTIONS] --data <DIRECTORY> --uuid <UUID>``"""
    optional = ["[OPTIONS]"] if any(not option.required for option in command.options) else []
    required = [option.shown for option in command.options if option.required]
    return " ".join([PROGRAM, command.name, *optional, *required])


def used_usage(command: Command, names: Sequence[str]) -> str:
    """The usage that names the required options and those in ``names``, once each."""
    required = [option.name for option in command.options if option.required]
    chosen = dict.fromkeys([*required, *names])
    return " ".join([PROGRAM, command.name, *(command.option(name).shown for name in chosen)])


def _split(command: Command, token: str) -> tuple[Option | None, str | None]:
    """The option that a token names and the value attached to it, if any."""
    if token.startswith("--"):
        name, equals, attached = token[2:].partition("=")
        found = [option for option in command.options if option.name == name]
        if found and not (equals and found[0].value_name is None):
            return found[0], attached if equals else None
        return None, None
    if token.startswith("-") and len(token) > 1:
        found = [option for option in command.options if option.short == token[1]]
        attached = token[2:].removeprefix("=")
        if found and not (attached and found[0].value_name is None):
            return found[0], attached or None
    return None, None
