# SPDX-License-Identifier: GPL-3.0-or-later
"""Every example in the pages of modules and filters is a task that its plugin would take."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"
PACKAGE = "ansible_collections.apiary.propolis.plugins"
OURS = "apiary.propolis."
A_TEMPLATE = "{{"
# The words of a task beside its module that the examples use.
TASK_WORDS = {
    "name",
    "register",
    "delegate_to",
    "loop",
    "when",
    "vars",
    "no_log",
    "become",
    "until",
    "retries",
    "delay",
}


def examples(kind: str) -> list[Any]:
    files = sorted((PLUGINS / kind).glob("*.py"))
    return [pytest.param(path.stem, id=path.stem) for path in files if not path.stem.startswith("_")]


def tasks_of(text: str) -> Iterator[dict[str, Any]]:
    """Every task, those in blocks and plays too."""
    waiting = list(yaml.safe_load(text))
    while waiting:
        task = waiting.pop()
        assert isinstance(task, dict)
        nested = [task.get(word) for word in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks")]
        waiting.extend(inner for one in nested if one for inner in one)
        if not any(nested):
            yield task


def options_of(name: str, module: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments that a module gives to AnsibleModule."""
    given: dict[str, Any] = {}

    class Stop(Exception):
        pass

    def take(*_positional: Any, **options: Any) -> None:
        given.update(options)
        raise Stop

    monkeypatch.setattr(module, "AnsibleModule", take)
    with pytest.raises(Stop):
        module.main()
    assert given, name
    return given


def without_templates(value: Any) -> Any:
    """The same value without options that only a run could fill in."""
    if isinstance(value, dict):
        return {key: without_templates(one) for key, one in value.items() if not is_template(one)}
    if isinstance(value, list):
        return [without_templates(one) for one in value if not is_template(one)]
    return value


def relaxed(spec: dict[str, Any], given: Any) -> dict[str, Any]:
    """The same options, where one whose value is a template is not asked for: nobody knows its value."""
    filled = {
        key
        for one in (given if isinstance(given, list) else [given])
        for key, value in one.items()
        if is_template(value)
    }
    return {
        name: option
        | ({"required": False} if name in filled else {})
        | (
            {"options": relaxed(option["options"], of(given, name))}
            if option.get("options") and of(given, name)
            else {}
        )
        for name, option in spec.items()
    }


def of(given: Any, name: str) -> Any:
    """The mappings under a name, in one mapping or in a list of them."""
    found = [one[name] for one in (given if isinstance(given, list) else [given]) if name in one]
    flat = [one for value in found for one in (value if isinstance(value, list) else [value])]
    return [one for one in flat if isinstance(one, dict)]


def is_template(value: Any) -> bool:
    return isinstance(value, str) and A_TEMPLATE in value


@pytest.mark.parametrize("name", examples("modules"))
def test_each_example_of_a_module_names_options_that_it_has_with_values_that_it_takes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"{PACKAGE}.modules.{name}")
    spec = options_of(name, module, monkeypatch)["argument_spec"]
    shown = 0
    for task in tasks_of(module.EXAMPLES):
        actions = [word for word in task if word not in TASK_WORDS]
        assert len(actions) == 1, f"{task.get('name')}: {actions}"
        assert task.get("name"), task
        if actions[0] != OURS + name:
            continue
        shown += 1
        given = task[actions[0]] or {}
        unknown = set(given) - set(spec)
        assert unknown == set(), f"{task['name']}: {sorted(unknown)}"
        result = ArgumentSpecValidator(relaxed(spec, given)).validate(without_templates(given))
        assert result.error_messages == [], task["name"]
    assert shown, f"{name} has no example of itself"


@pytest.mark.parametrize("name", examples("filter"))
def test_each_example_of_a_filter_uses_it_in_a_template_that_can_be_read(name: str) -> None:
    module = importlib.import_module(f"{PACKAGE}.filter.{name}")
    tasks = list(tasks_of(module.EXAMPLES))
    assert any(f"{OURS}{name}" in yaml.safe_dump(task, width=1000) for task in tasks)
    environment = Templar(loader=DataLoader()).environment
    for task in tasks:
        for text in texts(task):
            environment.parse(text)


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from texts(one)


@pytest.mark.parametrize("name", examples("filter"))
def test_a_filter_takes_the_options_that_its_page_lists_in_that_order(name: str) -> None:
    module = importlib.import_module(f"{PACKAGE}.filter.{name}")
    page = yaml.safe_load(module.DOCUMENTATION)
    taken = list(inspect.signature(module.FilterModule().filters()[name]).parameters)[1:]
    assert [option for option in page["options"] if option != "_input"] == taken
    positional = [word.strip() for word in page.get("positional", "").split(",") if word.strip()]
    assert positional == taken[: len(positional)]
