# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's stand-in with one change: its upstairs connects again after five seconds instead of ten.

For recordings in which the real program waits for that time again and again; how long it waits is not compared.
"""

from __future__ import annotations

import runpy
from dataclasses import replace

from propolis_lab.upstairs import Settings, settings_for, volume

RECONNECT_DELAY = 5.0


def _quick(message_version: int) -> Settings:
    return replace(settings_for(message_version), reconnect_delay=RECONNECT_DELAY)


if __name__ == "__main__":
    volume.settings_for = _quick  # type: ignore[attr-defined]  # the name by which the upstairs finds its times
    runpy.run_module("propolis_lab.server", run_name="__main__", alter_sys=True)
