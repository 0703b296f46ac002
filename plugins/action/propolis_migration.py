# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Action: the move of an instance done in the controller's own process where that is its place, so that it can be watched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_migration import migration_options, perform
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.client import HAS_REQUESTS
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.redaction import scrub, secrets_in
from ansible_collections.apiary.propolis.plugins.plugin_utils.liveness import is_on_controller, is_shown

_MODULE = "apiary.propolis.propolis_migration"

display = Display()


class ActionModule(ActionBase):
    """Runs the same code as the module; on the controller in-process, elsewhere by the module itself."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_diff = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        if not is_on_controller(self._connection) or not HAS_REQUESTS:
            # Without the library here, the module may have another Python, and says what is missing if it has not.
            result.update(self._execute_module(module_name=_MODULE, task_vars=task_vars))
            return result
        _validation, params = self.validate_argument_spec(argument_spec=migration_options())
        check_mode = bool(self._task.check_mode)
        # A plan has no phases: in check mode there is something to show only where somebody insists on it.
        shown = is_shown(params["progress"]) and not (check_mode and params["progress"] == "auto")
        tell = _teller(params) if shown else None
        done = perform(params, check_mode=check_mode, tell=tell)
        result.update(_without_secrets(done, secrets_in(params["disks"])))
        return result


def _teller(params: dict[str, Any]) -> Callable[[str], None]:
    """Shows each line, and before the first what an interruption would mean.

    Ansible kills the processes that do the tasks as soon as it is interrupted and takes no word from them any more,
    so this has to be said in time.
    """
    said: list[str] = []

    def tell(line: str) -> None:
        if not said:
            said.append(_if_interrupted(params))
            display.display(said[0])
        display.display(line)

    return tell


def _if_interrupted(params: dict[str, Any]) -> str:
    name = params["instance"]["name"] or params["instance"]["id"]
    return (
        f"{name} is on its way. Ctrl-C would end the waiting, not the migration: apiary.propolis.status then shows "
        "where it is, and the same play again follows it."
    )


def _without_secrets(value: Any, secrets: set[str]) -> Any:
    """The result without any key that a server may have repeated: what AnsibleModule does for modules."""
    if isinstance(value, str):
        return scrub(value, secrets)
    if isinstance(value, dict):
        return {key: _without_secrets(member, secrets) for key, member in value.items()}
    if isinstance(value, list):
        return [_without_secrets(member, secrets) for member in value]
    return value
