# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place where an error of the collection becomes the failure of an Ansible module."""

from __future__ import annotations

from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

from .failures import CollectionError


def fail(module: AnsibleModule, error: CollectionError, **results: Any) -> NoReturn:
    """End the module as failed: ``msg`` is the sentence, ``failure`` is ``{code, message, details}``.

    ``results`` are further return values that are true although the module failed (for example ``changed=True``
    when something was done before it failed).
    """
    results.setdefault("changed", False)
    module.fail_json(msg=error.message, failure=error.as_dict(), **results)
    raise AssertionError("fail_json returned")  # pragma: no cover
