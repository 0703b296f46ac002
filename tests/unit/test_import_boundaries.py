# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may know whom: collection and lab meet at the command line, on the wire and on disk, and nowhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from propolis_lab.protocol.messages import MESSAGES
from shared import ROOT

PLUGINS = ROOT / "plugins"
LAB = ROOT / "roles" / "lab" / "files"
DOMAIN = PLUGINS / "module_utils"


def sources(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.py"))
    assert len(found) > 5, f"hardly a source file below {folder}"
    return found


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, relative ones by their place below the repository."""
    package = ".".join(path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] + "." if node.level else ""
            yield from (f"{above}{node.module}.{alias.name}" for alias in node.names)


def offenders(folder: Path, *forbidden: str) -> list[str]:
    """The imports below ``folder`` in which one of these words is a part of the dotted name."""
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(folder)
        for name in imports(path)
        if any(f".{word}." in f".{name}." for word in forbidden)
    ]


def test_the_collection_imports_nothing_of_the_lab() -> None:
    assert not offenders(PLUGINS, "propolis_lab", "roles")


def test_the_lab_imports_nothing_of_the_collection_and_nothing_of_ansible() -> None:
    assert not offenders(LAB, "plugins", "ansible", "ansible_collections")


def test_the_collections_domain_code_does_not_learn_the_protocol() -> None:
    names = {cls.__name__ for cls in MESSAGES.values()}
    for path in sources(PLUGINS):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            found = {getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "name", None)} & names
            assert not found, f"{path.relative_to(ROOT)} speaks of the protocol's {found}"


@pytest.mark.parametrize("room", ["crucible", "propolis"])
def test_the_domain_rooms_know_nothing_of_ansible(room: str) -> None:
    assert not offenders(DOMAIN / room, "ansible")


def test_the_storage_room_knows_nothing_of_the_server_room() -> None:
    assert not offenders(DOMAIN / "crucible", "propolis.module_utils.propolis", "plugins.module_utils.propolis")
