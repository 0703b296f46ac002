# SPDX-License-Identifier: GPL-3.0-or-later
"""Marks of the tests that replay recordings, so that they can be run alone (`-m recordings_http`)."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "recordings_http: replays recorded HTTP exchanges against the stand-ins")
