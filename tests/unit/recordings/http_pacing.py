# SPDX-License-Identifier: GPL-3.0-or-later
"""When a replay may go on: waits for the states, publications and disk writes that the recording had reached."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from recordings.http_events import Answer, Event, Exchange, Frame, LogLines, Monitored, Polled, Published, StateSeen
from recordings.http_lab import Lab, wait_until
from recordings.http_observing import ask, disk_state, instance_state, publications
from recordings.http_regions import highest_generations

PATIENCE = 30.0
"""Seconds to wait for a state that the recording reached; a refused disk session alone takes ten."""
SLEPT = 0.15
"""What was published so many seconds before an event was not awaited by chance: the recording had waited."""

BURST = 0.002
"""Seconds between two requests up to which the second came while the first was still worked on."""


class Pacing:
    """Waits on behalf of one replay. `names` maps the recorded ports of the servers to srvA and srvB."""

    def __init__(self, events: Sequence[Event], lab: Lab) -> None:
        self.lab = lab
        self.tables = tables(events)
        self.clock = clock(events, self.tables)
        self.names: dict[int, str] = {}

    def settle(self, at: float, port: int) -> None:
        """Wait for as many publications as the recording had a moment before `at` (seconds since its start)."""
        name = self.names.get(port, "")
        table = self.tables.get(name)
        if table is None or self.clock is None:
            return
        latest = self.clock + at - SLEPT
        by_then = sum(1 for row in table.publications if row.time <= latest)
        wait_until(lambda: len(publications(self.lab.output_of(name))) >= by_then, PATIENCE)

    def reaches(self, port: int, state: str) -> bool:
        """Whether the server of this recorded port came to the state in time."""
        here = self.lab.places.ports[port]
        return wait_until(lambda: instance_state(here) == state, PATIENCE)

    def has_written(self, port: int) -> bool:
        """Whether the guest's own write and flush came to all three regions, with the generation of its session."""
        here = self.lab.places.ports[port]

        def written() -> bool:
            answer = ask(here, "GET", "/instance/disk/disk0-backend/status")
            session = disk_state(answer) if answer else None
            return session is not None and set(highest_generations(self.lab.folder)) == {session[1]}

        return wait_until(written, PATIENCE, 0.1)


def run_of_states(events: Sequence[Event], position: int) -> tuple[StateSeen, int]:
    """The last of the states that one client saw while it waited, and how many events belong to that wait."""
    first = events[position]
    assert isinstance(first, StateSeen)
    last, used = first, 1
    for count, later in enumerate(events[position + 1 :], 2):
        if isinstance(later, StateSeen) and later.port == first.port:
            last, used = later, count
        elif not isinstance(later, Polled | Monitored):
            break
    return last, used


def burst(events: Sequence[Event], position: int) -> list[Exchange]:
    """State changes that were asked for one directly after the other, all accepted: time between them would matter."""
    found: list[Exchange] = []
    for event in events[position:]:
        if not isinstance(event, Exchange) or event.request.target != "/instance/state":
            break
        if not isinstance(event.answer, Answer) or event.answer.status != 204:
            break
        if found and (event.request.port != found[0].request.port or event.at - found[-1].at > BURST):
            break
        found.append(event)
    return found


def polled_meanwhile(events: Sequence[Event], position: int) -> list[Exchange]:
    """A change of state and the long poll directly after it that was answered with the very publication that it asked
    for: it must be under way before that one is over, and some last for milliseconds."""
    found = [event for event in events[position : position + 2] if isinstance(event, Exchange)]
    if len(found) < 2 or found[1].at - found[0].at > SLEPT or found[1].request.port != found[0].request.port:
        return []
    change, poll = found
    accepted = change.request.target == "/instance/state" and getattr(change.answer, "status", 0) == 204
    if not accepted or poll.request.target != "/instance/state-monitor" or not isinstance(poll.answer, Answer):
        return []
    asked, told = json.loads(poll.request.body or "{}"), json.loads(poll.answer.body)
    return found if "gen" in asked and asked["gen"] == told.get("gen") else []


def tables(events: Sequence[Event]) -> dict[str, Published]:
    """The table of publications of each server, which stands behind that server's log lines."""
    found = {}
    program = ""
    for event in events:
        if isinstance(event, LogLines):
            program = event.program
        elif isinstance(event, Published):
            found[program] = event
    return found


def clock(events: Sequence[Event], found: Mapping[str, Published]) -> float | None:
    """Seconds of the day at the recording's zero: its first publication follows the first accepted Run at once."""
    started = [event for event in events if isinstance(event, Exchange) and _is_accepted_run(event)]
    if not found or not started:
        return None
    return min(table.publications[0].time for table in found.values()) - started[0].at


def _is_accepted_run(event: Exchange) -> bool:
    return event.request.body == '"Run"' and isinstance(event.answer, Answer) and event.answer.status == 204


def shows_output(events: Sequence[Event], position: int) -> bool:
    """Whether the websocket opened at `position` shows console output before the next request."""
    for event in events[position + 1 :]:
        if isinstance(event, Frame):
            if not event.from_client and event.opcode == 2:
                return True
        elif not isinstance(event, StateSeen | Polled | Monitored):
            return False
    return False
