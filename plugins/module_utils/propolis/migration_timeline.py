# SPDX-License-Identifier: GPL-3.0-or-later
"""What happened when in a migration: the phases of both ends with seconds, the guest's pause, the whole time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

SOURCE, DESTINATION = "source", "destination"

# The first of these that the source shows means that the guest stands still (RamPush comes before it today; a source
# of 2023 pauses first and pushes then). Later phases are listed because a publication may be missed.
_PAUSED = frozenset({"Pause", "RamPushDirty", "Device", "Arch", "RamPull", "Server", "Finish"})
_RESUMED = frozenset({"Running"})
_MOVES = frozenset({"Sync", "RamPush"}) | _PAUSED


@dataclass(frozen=True)
class Event:
    """One phase (or state of the instance) of one end, ``at`` seconds after the beginning."""

    phase: str
    side: str
    at: float

    def to_json(self) -> dict[str, object]:
        return {"phase": self.phase, "side": self.side, "at": round(self.at, 3)}


@dataclass(frozen=True)
class Note:
    """Something that is worth telling while it happens and is no phase, ``at`` seconds after the beginning."""

    text: str
    at: float


class Timeline:
    """The events in order; may be fed from several threads. ``tell`` is called for each new one, in order."""

    def __init__(self, began: float, tell: Callable[[Event | Note], None] | None = None) -> None:
        self.began = began
        self._tell = tell
        self._events: list[Event] = []
        self._lock = threading.Lock()

    def add(self, side: str, phase: str, moment: float) -> bool:
        """Note that ``side`` shows ``phase`` at ``moment`` (monotonic seconds); False when it showed that already."""
        with self._lock:
            last = next((event for event in reversed(self._events) if event.side == side), None)
            if last is not None and last.phase == phase:
                return False
            event = Event(phase, side, max(moment - self.began, 0.0))
            self._events.append(event)
            if self._tell is not None:
                self._tell(event)
            return True

    def note(self, text: str, moment: float) -> None:
        """Tell ``text``, which happened at ``moment`` (monotonic seconds)."""
        with self._lock:
            if self._tell is not None:
                self._tell(Note(text, max(moment - self.began, 0.0)))

    @property
    def events(self) -> tuple[Event, ...]:
        with self._lock:
            return tuple(self._events)

    def shows(self, side: str, phase: str) -> bool:
        """Whether ``side`` was seen in ``phase``."""
        return any(event.side == side and event.phase == phase for event in self.events)

    def paused_at(self) -> float | None:
        """When the guest was paused, in seconds after the beginning; None when it was not seen to pause."""
        paused = (event.at for event in self.events if event.side == SOURCE and event.phase in _PAUSED)
        return next(paused, None)

    def pause(self) -> float | None:
        """Seconds that the guest stood still for the API; None when it was not seen to pause, or not seen to go on.

        From the source's first pause to the destination's Running, or to the source's own when the migration failed.
        A source's Running counts only after it was seen to move.
        """
        paused = self.paused_at()
        if paused is None:
            return None
        resumed = (event.at for event in self.events if event.at >= paused and event.phase in _RESUMED)
        return next((at - paused for at in resumed), None)

    def source_reached(self) -> str | None:
        """The last phase of the migration that the source showed; None when it showed none (an Error is no phase)."""
        phases = [event.phase for event in self.events if event.side == SOURCE and event.phase in _MOVES]
        return phases[-1] if phases else None
