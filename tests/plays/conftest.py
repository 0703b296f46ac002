# SPDX-License-Identifier: GPL-3.0-or-later
"""The labs of the tests of plays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from played_lab import Lab

__all__ = ["Lab"]


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab in which vm0 has been migrated to beta; each file has its own, as files are run side by side."""
    files = sorted(Path(__file__).parent.glob("test_*.py"))
    one = Lab(tmp_path_factory.mktemp("plays") / "lab", f"127.0.{60 + files.index(request.path)}")
    try:
        played = one.play("migrate")
        assert played.status == 0, played.output[-3000:]
        yield one
    finally:
        down = one.play("lab_down")
        assert down.status == 0, down.output[-3000:]
