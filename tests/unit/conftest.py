# SPDX-License-Identifier: GPL-3.0-or-later
"""Import paths of the collection and of the lab, and hypothesis profiles, for all unit tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import is_hypothesis_test, settings

ROOT = Path(__file__).resolve().parents[2]
for place in (ROOT / "tests" / "unit", ROOT / "roles" / "lab" / "files", ROOT / ".ansible" / "collections"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

# CI judges a change, and with the same examples each time; elsewhere they are drawn by chance, as in `make storm`.
THE_SAME = os.environ.get("CI") == "true"
settings.register_profile("gate", deadline=None, max_examples=60, print_blob=True, derandomize=THE_SAME)
settings.register_profile("deep", deadline=None, max_examples=5000, print_blob=True)
settings.register_profile("fuzz", deadline=None, max_examples=int(os.environ.get("FUZZ", "200000")), print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Coverage is that of ``module_utils`` by examples: traced, what tries the lab or draws its values takes twice as
    long."""
    of_the_lab = item.path.is_relative_to(ROOT / "tests" / "unit" / "lab")
    if of_the_lab or is_hypothesis_test(getattr(item, "obj", None)):
        item.add_marker(pytest.mark.no_cover)
