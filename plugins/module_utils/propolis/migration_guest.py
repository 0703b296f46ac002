# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest itself after a move, by its console: an API says Running while the guest may stand still for long.

Seen on the real program: after a move the I/O of an NVMe disk waits until the guest's own timeout (30 s on Linux),
and no answer of the server shows it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from .errors import PropolisError
from .migration_request import Move, WaitFor
from .migration_timeline import Timeline
from .serial import Wish, listen


@dataclass(frozen=True)
class Guest:
    """Whether the guest was heard at the destination.

    ``match`` is what its console showed, None when it was not heard; then ``problem`` is the sentence that says why.
    ``pause`` is how long the guest stood still by its console (seconds, None: its pause was not seen to begin).
    """

    wanted: WaitFor
    match: str | None = None
    pause: float | None = None
    problem: str | None = None

    def to_json(self) -> dict[str, object]:
        return {
            "expect": self.wanted.expect,
            "match": self.match,
            "pause_seconds": None if self.pause is None else round(self.pause, 3),
        }


def hear(move: Move, wanted: WaitFor, timeline: Timeline) -> Guest:
    """Type what is to be typed at the destination and wait for what the console shows from now on.

    What it showed before does not count: much of that was printed at the source.
    """
    keys = f"types {', '.join(map(repr, wanted.send))} and " if wanted.send else ""
    timeline.note(f"{keys}waits for {wanted.expect!r} on the console at {move.destination}", time.monotonic())
    wish = Wish(
        server=move.destination,
        expect=wanted.expect,
        send=wanted.send,
        timeout=wanted.timeout,
        others=(move.source, *move.others),
        api=move.api,
        ask_timeout=move.ask_timeout,
    )
    try:
        heard = listen(wish)
    except PropolisError as error:
        return Guest(wanted, problem=error.message)
    at = time.monotonic()
    match = (heard.match or "").strip()
    timeline.note(f"the console shows {match!r}", at)
    paused = timeline.paused_at()
    return Guest(wanted, match, None if paused is None else at - timeline.began - paused)
