# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules that talk to propolis servers share: common options, the library they need, and what they hide."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from .propolis.client import HAS_REQUESTS
from .propolis.redaction import secrets_in

REQUEST_TIMEOUT = 10.0
"""Seconds that a server may take for one ordinary answer; a healthy one takes milliseconds."""


def api_options() -> dict[str, Any]:
    """The argument spec of the options that the doc fragment ``propolis_api`` describes."""
    return {"api": {"type": "str", "default": "auto"}}


def require_requests(module: AnsibleModule) -> None:
    """End the module when the Python library requests is not there."""
    if not HAS_REQUESTS:
        message = missing_required_lib("requests", url="https://pypi.org/project/requests/")
        failure = {"code": "missing_library", "message": message, "details": {"library": "requests"}}
        module.fail_json(msg=message, failure=failure)


def hide_only_secrets(module: AnsibleModule, *values: object) -> None:
    """Make the module hide the secrets inside its ``no_log`` options, and nothing else.

    Ansible hides every single value of a ``no_log`` dictionary wherever it occurs in a result. A specification is
    full of small numbers and addresses, so results would be unreadable; its secrets are the keys.
    """
    secrets: set[str] = set()
    for value in values:
        secrets |= secrets_in(value)
    module.no_log_values.clear()
    module.no_log_values.update(secrets)
