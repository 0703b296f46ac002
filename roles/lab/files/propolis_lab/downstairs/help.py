# SPDX-License-Identifier: GPL-3.0-or-later
"""The help texts, in our own words: they say first that this is a stand-in."""

from __future__ import annotations

from collections.abc import Sequence

from propolis_lab.downstairs.clap import PROGRAM, Command, full_usage

STAND_IN = (
    "A stand-in for Oxide's crucible-downstairs, from the apiary.propolis laboratory.\n"
    "Files, messages and exit statuses are the real program's; the program is not.\n"
)


def program_help(commands: Sequence[Command]) -> str:
    """What the program says without arguments or with --help."""
    width = max(len(command.name) for command in commands)
    lines = [f"  {command.name:{width}}  {command.about}" for command in commands]
    usage = f"Usage: {PROGRAM} [--age 2023] <COMMAND>\n"
    return f"{STAND_IN}\n{usage}\nCommands:\n" + "\n".join(lines) + "\n\nOptions:\n  -h, --help  This text\n"


def command_help(command: Command) -> str:
    """What one subcommand says with --help."""
    shown = []
    for option in command.options:
        short = f"-{option.short}, " if option.short else "    "
        # Defaults that are numbers or addresses are worth showing; flags have none.
        default = f" [default: {option.default}]" if option.default and isinstance(option.default, int | str) else ""
        shown.append((short + option.shown, option.about + default))
    width = max([len(left) for left, _unused in shown], default=0)
    lines = [f"  {left:{width}}  {right}".rstrip() for left, right in shown]
    parts = [f"{command.about}.\n\n{STAND_IN}\nUsage: {full_usage(command)}\n"]
    if lines:
        parts.append("\nOptions:\n" + "\n".join(lines) + "\n")
    return "".join(parts)
