# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands for users to paste: they work where the one that printed them was typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.typed_command import Typed


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "migrate.yml").touch()
    return tmp_path


def typed(here: Path, **more: Any) -> Typed:
    values = {
        "here": here,
        "program": Path("/usr/bin/ansible-playbook"),
        "playbooks": here / "playbooks",
        "inventories": [str(here / "inventories" / "lab")],
        "environment": {},
    }
    return Typed(**{**values, **more})


def test_in_a_checkout_it_is_as_short_as_what_was_typed(checkout: Path) -> None:
    command = typed(checkout).command("console", {"instance": "vm0"})
    assert command == "ansible-playbook -i inventories/lab playbooks/console.yml -e instance=vm0"


def test_a_virtual_environment_below_need_not_be_entered(checkout: Path) -> None:
    program = checkout / ".venv" / "bin" / "ansible-playbook"
    assert typed(checkout, program=program).command("status", {}).startswith(".venv/bin/ansible-playbook -i")


def test_variables_that_the_inventory_reads_are_repeated_where_they_are_set(checkout: Path) -> None:
    environment = {"LAB_ROOT": "/srv/a b", "API": "", "HOME": "/root", "ANSIBLE_COLLECTIONS_PATH": "/c"}
    command = typed(checkout, environment=environment, repeated=["API", "LAB_ROOT"]).command("status", {})
    assert command.startswith("LAB_ROOT='/srv/a b' ANSIBLE_COLLECTIONS_PATH=/c ansible-playbook ")
    assert "API=" not in command
    assert "HOME" not in command


def test_settings_are_named_unless_they_are_found_anyway(checkout: Path) -> None:
    found = typed(checkout, environment={"ANSIBLE_CONFIG": str(checkout / "ansible.cfg")})
    other = typed(checkout, environment={"ANSIBLE_CONFIG": "/etc/other.cfg"})
    assert "ANSIBLE_CONFIG" not in found.command("status", {})
    assert other.command("status", {}).startswith("ANSIBLE_CONFIG=/etc/other.cfg ")


@pytest.mark.parametrize("place", ["ansible_collections/apiary/propolis/playbooks", "my_playbooks"])
def test_an_installed_playbook_and_one_of_somebodys_own_use_full_names(tmp_path: Path, place: str) -> None:
    playbooks = tmp_path / place
    playbooks.mkdir(parents=True)
    if "ansible_collections" in place:
        (playbooks / "migrate.yml").touch()
    command = typed(tmp_path, playbooks=playbooks, inventories=["/etc/inventory", "a,b"]).command("lab_down", {})
    assert command == "ansible-playbook -i /etc/inventory -i a,b apiary.propolis.lab_down"
