# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugins that run a module as it is: it is shown to be at work, where and how often, and nothing secret."""

from __future__ import annotations

import importlib
import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible import constants
from ansible_collections.apiary.propolis.plugins.plugin_utils import liveness

ACTIONS = ("crucible_region", "crucible_downstairs", "propolis_server", "propolis_instance", "propolis_serial")


class Shown(list[str]):
    """The lines that were shown; ``first`` is set with the first of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = threading.Event()

    def display(self, line: str) -> None:
        self.append(line)
        self.first.set()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    lines = Shown()
    monkeypatch.setattr(liveness.display, "display", lines.display)
    monkeypatch.setattr(constants.config, "get_config_value", lambda _key, **_more: "default")
    monkeypatch.setattr(liveness, "_FEW_SECONDS", 0.001)
    return lines


def plugin(called: str, transport: str = "local", /, *, hidden: bool = False, **options: Any) -> liveness.WatchedModule:
    module = importlib.import_module(f"ansible_collections.apiary.propolis.plugins.action.{called}")
    task = MagicMock(args=options, check_mode=False, async_val=0, no_log=hidden, action=f"apiary.propolis.{called}")
    connection = SimpleNamespace(
        transport=transport, ansible_name=f"ansible.builtin.{transport}", has_native_async=False, _shell=MagicMock()
    )
    made: liveness.WatchedModule = module.ActionModule(
        task, connection, MagicMock(), MagicMock(), MagicMock(), MagicMock()
    )
    return made


def lines_of(shown: Shown, made: liveness.WatchedModule, monkeypatch: pytest.MonkeyPatch, seconds: float = 5) -> Shown:
    """What is shown while the module goes on until a line was shown, or so many seconds."""

    def module(**options: Any) -> dict[str, Any]:
        assert options == {"task_vars": {"inventory_hostname": "ds1"}, "wrap_async": 0}
        shown.first.wait(seconds)
        return {"changed": True, "region": {}}

    monkeypatch.setattr(made, "_execute_module", module)
    monkeypatch.setattr(made, "_remove_tmp_path", MagicMock())
    assert made.run(task_vars={"inventory_hostname": "ds1"}) == {"changed": True, "region": {}}
    return shown


@pytest.mark.parametrize("transport", ["local", "ssh"])
@pytest.mark.parametrize("name", ACTIONS)
def test_a_module_that_takes_long_is_run_as_it_is_and_shown_to_be_at_work_over_any_connection(
    name: str, transport: str, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = lines_of(shown, plugin(name, transport), monkeypatch)
    assert lines[0].startswith("ds1: ")
    assert " 0 s so far" in lines[0]


def test_nothing_is_shown_once_the_module_has_ended(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    lines_of(shown, plugin("propolis_serial"), monkeypatch)
    assert not [thread for thread in threading.enumerate() if thread.daemon and "tell" in thread.name]
    before = len(shown)
    with liveness.telling(lambda _seconds: "too early", pause=lambda _elapsed: 60):
        pass
    assert len(shown) == before


def test_an_interruption_reaches_the_thread_that_waits_for_the_module(shown: Shown) -> None:
    def line(_seconds: float) -> str:
        blocked.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        return ""

    blocked: list[set[int]] = []
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with liveness.telling(line):
        assert shown.first.wait(5)
    assert {signal.SIGINT, signal.SIGTERM} <= blocked[0]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


@pytest.mark.parametrize(
    ("callback", "progress", "no_log", "expected"),
    [
        ("ansible.builtin.default", "auto", False, True),
        ("default", None, False, True),
        ("ansible.posix.json", "auto", False, False),
        ("ansible.posix.jsonl", None, False, False),
        ("ansible.posix.json", "always", False, True),
        ("default", "never", False, False),
        ("default", "always", True, False),
    ],
)
def test_it_is_shown_where_people_read_it_and_never_of_a_task_that_hides_its_options(
    callback: str, progress: str | None, no_log: bool, expected: bool, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants.config, "get_config_value", lambda _key, **_more: callback)
    options = {} if progress is None else {"progress": progress}
    made = plugin("crucible_region", hidden=no_log, **options)
    assert bool(lines_of(shown, made, monkeypatch, 5 if expected else 0.05)) is expected


def test_the_first_lines_are_a_few_seconds_apart_and_no_two_more_than_a_minute() -> None:
    pauses = [liveness.pause_before_next(elapsed) for elapsed in (0, 5, 50, 100, 600, 36000)]
    assert pauses == [5, 5, 5, 10, 60, 60]


def test_a_region_is_told_with_its_image_and_with_what_is_on_the_disk_where_the_controller_sees_it(
    tmp_path: Path, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, region = tmp_path / "lab.raw", tmp_path / "region"
    with image.open("wb") as sparse:
        sparse.truncate(3 << 29)
    extents = region / "00" / "000"
    extents.mkdir(parents=True)
    (extents / "001").write_bytes(b"x" * (5 << 20))
    with (extents / "002").open("wb") as sparse:
        sparse.truncate(100 << 20)
    options = {"path": str(region), "image": {"src": str(image)}, "timeout": 3600}
    line = lines_of(shown, plugin("crucible_region", **options), monkeypatch)[0]
    assert line == f"ds1: region {region} from lab.raw (1.5 GiB): 0 s so far, 5 MiB on the disk"
    shown.clear()
    shown.first.clear()
    line = lines_of(shown, plugin("crucible_region", "ssh", **options), monkeypatch)[0]
    assert line == f"ds1: region {region} from lab.raw: 0 s so far"


def test_what_is_typed_and_what_a_machine_is_made_of_are_never_shown(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = plugin("propolis_serial", server="127.0.0.1:8000", expect="login: $", send=["a secret"], timeout=60)
    made = plugin("propolis_instance", server="127.0.0.1:8000", name="vm0", state="running", spec={"key": "a secret"})
    lines_of(shown, typed, monkeypatch)
    assert "'login: $' on the console of the instance at 127.0.0.1:8000: 0 s so far, at most 60 s" in shown[0]
    shown.first.clear()
    lines_of(shown, made, monkeypatch)
    assert "vm0 at 127.0.0.1:8000 is to be running" in shown[-1]
    assert not [line for line in shown if "secret" in line]
