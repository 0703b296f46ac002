# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documents promise is there: the messages and codes of the troubleshooting page, the tables of the README."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
OURS, REAL = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8").split("## From the real programs")
# What stands for a value in the page, or for one of several: the words around it are the program's.
VALUES = re.compile(r"…|\b[MCT]\b|\bbeta\b|\b\d\b|crucible_volumes\.|\.(?=extent_count)")


def first_cells(text: str) -> list[str]:
    """What stands in backquotes in the first column of a table."""
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|") and "`" in line.split("|")[1]]
    return [quoted for row in rows for quoted in re.findall(r"`([^`]+)`", row)]


def sources(*folders: str) -> str:
    """The text of all programs below some folders; strings that go on in the next line put together."""
    files = sorted(path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".yml"))
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return re.sub(r'"\s*\n\s*f?"', "", text)


def words(quoted: str) -> list[str]:
    return [part.strip(" .,:") for part in VALUES.split(quoted) if part.strip(" .,:")]


@pytest.mark.parametrize("quoted", first_cells(OURS))
def test_each_message_and_code_of_ours_is_in_the_collection(quoted: str) -> None:
    text = sources("plugins", "roles/crucible_downstairs", "roles/instance", "roles/migration", "roles/propolis_server")
    assert words(quoted), quoted
    assert [part for part in words(quoted) if part not in text] == []


@pytest.mark.parametrize("quoted", first_cells(REAL))
def test_each_message_of_the_real_programs_is_one_that_their_stand_ins_have(quoted: str) -> None:
    text = sources("roles/lab/files").replace('\\"', '"').replace("{_HEADER}", "api-version")
    assert [part for part in words(quoted) if part not in text] == []


@pytest.mark.parametrize(
    ("pattern", "ending"), [("plugins/modules/*.py", ""), ("roles/*", ""), ("playbooks/*.yml", ".yml")]
)
def test_the_readme_lists_every_module_role_and_playbook(pattern: str, ending: str) -> None:
    listed = set(first_cells((ROOT / "README.md").read_text(encoding="utf-8")))
    assert {path.stem + ending for path in ROOT.glob(pattern)} - listed == set()
