# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What action plugins show while a task goes on: whether anything is shown at all, and that a module is at work."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ansible import constants
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible.utils.display import Display
from ansible_collections.apiary.propolis.plugins.module_utils.threads import start_deaf

# Callbacks whose output people read. Lines of our own would spoil that of any other.
_HUMAN = frozenset(
    {"default", "ansible.builtin.default", "minimal", "ansible.builtin.minimal", "yaml", "debug", "dense"}
)
_FEW_SECONDS = 5.0
_MINUTE = 60.0
_LOCAL = frozenset({"local", "ansible.builtin.local"})

display = Display()


def is_on_controller(connection: Any) -> bool:
    """Whether a task over this connection works on the files and in the network of the controller."""
    return str(connection.transport) in _LOCAL or str(connection.ansible_name) in _LOCAL


def is_shown(progress: object) -> bool:
    """What the option ``progress`` means here; V(auto), as everything that it cannot be, asks who reads the output."""
    if progress in ("always", "never"):
        return progress == "always"
    return str(constants.config.get_config_value("DEFAULT_STDOUT_CALLBACK")) in _HUMAN


def pause_before_next(elapsed: float) -> float:
    """Seconds from one line to the next: a few at first, never more than a minute, so that an hour is not 700 lines."""
    return min(max(_FEW_SECONDS, elapsed / 10), _MINUTE)


@contextmanager
def telling(line: Callable[[float], str], pause: Callable[[float], float] = pause_before_next) -> Iterator[None]:
    """While the body goes on, show what ``line`` makes of the seconds since it began, at first after some seconds.

    Nothing is shown any more once the body has ended.
    """
    ended = threading.Event()
    began = time.monotonic()

    def tell() -> None:
        while not ended.wait(pause(time.monotonic() - began)):
            display.display(line(time.monotonic() - began))

    # With a thread that took signals, Ctrl-C would end the play only when the module has ended.
    teller = start_deaf(tell)
    try:
        yield
    finally:
        ended.set()
        teller.join()


class WatchedModule(NormalAction):  # type: ignore[misc] # Ansible has no types
    """Runs the module of its name as it is, wherever the task's host is, and tells meanwhile that it is at work."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        options = self._task.args
        if self._task.no_log or not is_shown(options.get("progress")):
            return self._run_module(tmp, task_vars)
        host = (task_vars or {}).get("inventory_hostname", "")
        with telling(lambda seconds: f"{host}: {self.doing(options)}: {_clock(seconds)} so far{self.news(options)}"):
            return self._run_module(tmp, task_vars)

    def _run_module(self, tmp: str | None, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        return result

    @abstractmethod
    def doing(self, options: Mapping[str, Any]) -> str:
        """What the module is at, from its options, as they were written. It must be true at any time of its run."""

    def news(self, options: Mapping[str, Any]) -> str:
        """What else is known now, put behind the time: by default, how long the module will wait at most."""
        timeout = options.get("timeout")
        return "" if timeout is None else f", at most {timeout} s"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
