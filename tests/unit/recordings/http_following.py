# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares how a migration looked from outside with the recording: phases and states in the order of publication."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from recordings.http_compare import explains, without_repeats
from recordings.http_events import DiskWatched, Monitored, Polled
from recordings.http_events import Publication as RecordedPublication
from recordings.http_looking import Story
from recordings.http_observing import Publication, Watcher

Report = Callable[[int, str, str, str, str], None]
Migration = tuple[str | None, str | None]


@dataclass
class Following:
    """One migration: watchers on both servers, and what the recording's own watchers saw meanwhile."""

    line: int
    watchers: dict[int, Watcher]
    """By recorded port."""
    recorded: list[Polled | Monitored | DiskWatched]
    destination: int
    story: Story
    """What the destination writes, from where it was when the migration began."""
    looks: int = field(default=0)
    """How often our watchers saw something."""

    def saw_end(self, port: int) -> bool:
        """Whether the recording's long poll was told that nothing more will come."""
        return any(isinstance(e, Monitored) and e.port == port and e.status != 200 for e in self.recorded)

    def check(self, publications: dict[int, list[Publication]], report: Report) -> None:
        """`publications` of each recorded port since this migration began, the state before it first."""
        for port, watcher in self.watchers.items():
            label = f"migration watched on :{port}"
            self._check_ours(watcher, publications[port], label, report)
            self._check_recorded(port, watcher, publications[port], label, report)

    def _check_ours(self, watcher: Watcher, order: list[Publication], label: str, report: Report) -> None:
        """What our watcher saw is what the log says was published: nothing else, nothing in another order."""
        bodies = [publication.body() for publication in order]
        for body in watcher.monitored:
            if body not in bodies and body["gen"] > 1:
                report(self.line, label, "monitor", "only what was published", str(body))
        generations = [body["gen"] for body in watcher.monitored]
        if any(later <= earlier and later > 2 for earlier, later in itertools.pairwise(generations)):
            report(self.line, label, "monitor", "rising generations", str(generations))
        states = [publication.state for publication in order]
        if not explains(states, [state for state in watcher.states if state != "Creating"]):
            report(self.line, label, "polled states", str(states), str(without_repeats(watcher.states)))
        self.looks += len(watcher.monitored) + len(watcher.states) + len(watcher.migrations)

    def _check_recorded(
        self, port: int, watcher: Watcher, order: list[Publication], label: str, report: Report
    ) -> None:
        """What the recording's watchers saw could have been seen here too."""
        polled = [event for event in self.recorded if isinstance(event, Polled) and event.port == port]
        states = [event.state for event in polled if event.state is not None]
        ours = [publication.state for publication in order]
        if not explains(ours, states):
            report(self.line, label, "states", str(without_repeats(states)), str(without_repeats(ours)))
        migrations = [_pair(event.migration) for event in polled if event.migration is not None]
        mine = [_states(publication) for publication in order]
        if not explains(mine, migrations):
            report(self.line, label, "phases", str(without_repeats(migrations)), str(without_repeats(mine)))
        for event in self.recorded:
            if isinstance(event, Monitored) and event.port == port and event.status == 200:
                if event.body["gen"] > 1 and event.body not in [publication.body() for publication in order]:
                    near = [p.body() for p in order if p.generation == event.body["gen"]]
                    report(event.line, label, "monitor", str(event.body), str(near))
            elif isinstance(event, Monitored) and event.port == port:
                self._check_end(event, watcher, label, report)
        self._check_disks(port, watcher, label, report)

    def _check_end(self, event: Monitored, watcher: Watcher, label: str, report: Report) -> None:
        """The monitor ends with the recorded refusal."""
        ours = [answer.status for answer in watcher.after_end]
        if ours[-1:] != [event.status]:
            report(event.line, label, "end of monitor", str(event.status), str(ours))

    def _check_disks(self, port: int, watcher: Watcher, label: str, report: Report) -> None:
        if port != self.destination:
            return
        recorded = [
            None if event.state is None else (event.state, event.generation)
            for event in self.recorded
            if isinstance(event, DiskWatched)
        ]
        self.story.read()
        shown = [(disk["state"], disk["gen"]) for disk in self.story.disks]
        absent = None not in recorded or None in watcher.disks
        if not (absent and explains(shown, [one for one in recorded if one is not None])):
            report(
                self.line, label, "disk", str(recorded), f"{without_repeats(shown)}, {without_repeats(watcher.disks)}"
            )


def _pair(migration: dict[str, str | None]) -> Migration:
    return migration["migration_in"], migration["migration_out"]


def _states(publication: Publication) -> Migration:
    incoming, outgoing = publication.incoming, publication.outgoing
    return incoming[1] if incoming else None, outgoing[1] if outgoing else None


def compare_order(recorded: Sequence[RecordedPublication], ours: Sequence[Publication]) -> tuple[str, str] | None:
    """The first place where the order of publications differs, with what led to it; None when it is the same."""
    theirs = [f"{row.generation} {row.state} {' '.join(row.migrations)}".strip() for row in recorded]
    mine = [f"{row.generation} {row.state} {' '.join(row.migrations)}".strip() for row in ours]
    for position in range(max(len(theirs), len(mine))):
        if theirs[position : position + 1] != mine[position : position + 1]:
            start = max(0, position - 4)
            return "; ".join(theirs[start : position + 4]), "; ".join(mine[start : position + 4])
    return None
