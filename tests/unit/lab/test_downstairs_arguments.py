# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines of crucible-downstairs that nobody recorded: the stand-in understands them or refuses in words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from propolis_lab.downstairs.clap import HelpWanted, Parser
from propolis_lab.downstairs.command_line import commands_of
from propolis_lab.downstairs.outcome import Failure
from propolis_lab.region import Age

ID = "12345678-0000-4000-8000-000000000001"
WORDS = st.sampled_from(
    [
        "create",
        "run",
        "dump",
        "-d",
        "--data",
        "--data=x",
        "-dx",
        "-u",
        ID,
        "--mode",
        "ro",
        "-p",
        "70000",
        "-1",
        "--",
        "-",
    ]
)


@given(st.lists(WORDS, max_size=6), st.sampled_from(list(Age)))
def test_any_command_line_is_either_understood_or_refused_with_a_sentence(words: list[str], age: Age) -> None:
    commands = {command.name: command for command in commands_of(age)}
    found = _parsed(words, age)
    if isinstance(found, HelpWanted):
        assert found.command is None or found.command in commands
    elif isinstance(found, Failure):
        assert found.message.startswith("error: ")
        assert "--help" in found.message
    else:
        name, values = found
        assert name == words[0]
        assert set(values) == {option.key for option in commands[name].options}


def _parsed(words: list[str], age: Age) -> tuple[str, dict[str, Any]] | HelpWanted | Failure:
    try:
        return Parser(commands_of(age), age).parse(words)
    except (HelpWanted, Failure) as outcome:
        return outcome


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["create", "-d", "a", "-d", "b", "-u", ID], "the argument '--data <DIRECTORY>' cannot be used multiple times"),
        (["export", "-d", "a", "-e"], "a value is required for '--export-path <OUT_FILE>' but none was supplied"),
        (["export", "-d", "-e", "x"], "a value is required for '--data <DIRECTORY>' but none was supplied"),
        (["verify", "-d", "a", "surplus"], "unexpected argument 'surplus' found"),
        (["create", "-u", "123", "-d", "a"], "invalid length: expected length 32 for simple format, found 3"),
        (["create", "-u", "1-2", "-d", "a"], "invalid group count: expected 5, found 2"),
        (["create", "-u", ID + "0", "-d", "a"], "invalid group length in group 4: expected 12, found 13"),
        (["create", "-u", ID, "-d", "a", "--block-size", ""], "cannot parse integer from empty string"),
        (["create", "-u", ID, "-d", "a", "--block-size", str(1 << 64)], "number too large to fit in target type"),
        (["clone", "-d", "a", "-s", "localhost:1"], "invalid socket address syntax"),
        (["clone", "-d", "a", "-s", "127.0.0.1"], "invalid socket address syntax"),
        (
            ["create", "-u", ID, "-d", "a", "-i", "x", "--clone-source", "[::1]:9"],
            "the argument '--import-path <FILE>' cannot be used with '--clone-source <SOURCE>'",
        ),
    ],
)
def test_wrong_command_lines_are_refused_by_name(words: list[str], complaint: str) -> None:
    with pytest.raises(Failure) as caught:
        Parser(commands_of(Age.TODAY), Age.TODAY).parse(words)
    assert complaint in caught.value.message
