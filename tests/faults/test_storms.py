# SPDX-License-Identifier: GPL-3.0-or-later
"""Storms: random schedules of faults, kills of the controller, moves back and forth and restarts of replicas.

``STORMS`` is how many (50), ``STORM_SEED`` which ones: the gate has a fixed one, ``make storm`` draws and prints one.
"""

from __future__ import annotations

import os
from random import Random

import pytest
from conftest import Machine
from storm import draw, perform

SEED = os.environ.get("STORM_SEED", "1")
STORMS = int(os.environ.get("STORMS", "50"))

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("number", range(STORMS))
def test_no_storm_loses_doubles_or_belies_a_machine(machine: Machine, number: int) -> None:
    storm = draw(Random(f"{SEED}/{number}"))
    told = f"STORM_SEED={SEED}, storm {number}: {storm}"
    print(told)
    try:
        perform(machine, storm)
    except AssertionError as error:
        raise AssertionError(f"{told}\n{error}") from error
