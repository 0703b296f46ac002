# SPDX-License-Identifier: GPL-3.0-or-later
"""The times and limits of an upstairs, by default those of the real programs (read in the source, times seen)."""

from __future__ import annotations

from dataclasses import dataclass, replace

MIB = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """Times in seconds, limits in jobs and bytes. Tests shorten the times."""

    message_version: int = 13
    connect_timeout: float = 10.0
    reconnect_delay: float = 10.0
    ping_interval: float = 5.0
    inactivity_timeout: float = 45.0
    flush_delay: float = 0.5
    """After this long without any event, what was read or written is flushed; a request's flush_timeout wins."""
    offline_jobs: int = 1000
    offline_bytes: int = 50 * MIB
    """More than this unfinished for a lost downstairs, and it needs a live repair instead of a replay."""
    barrier_jobs: int = 10000
    barrier_bytes: int = 64 * MIB
    """So much finished but not flushed, and a barrier lets it be forgotten."""
    open_jobs: int = 2500
    open_bytes: int = 64 * MIB
    """More than this unfinished at a living downstairs, and new reads and writes wait (the lab's own numbers)."""
    largest_io: int = MIB
    """Longer reads and writes are split."""

    @property
    def of_2023(self) -> bool:
        """Whether this is the upstairs of the programs of 2023: no live repair, no replacement, other texts."""
        return self.message_version == 1


def settings_for(message_version: int) -> Settings:
    """The real settings: those of 2023 retry each second and flush after 5 s."""
    today = Settings()
    if message_version == 1:
        return replace(today, message_version=1, reconnect_delay=1.0, flush_delay=5.0, inactivity_timeout=50.0)
    return replace(today, message_version=message_version)
