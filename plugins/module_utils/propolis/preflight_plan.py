# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan for people and playbooks: what a run is about to do, step by step, with the numbers before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .migration_request import WaitFor
from .preflight import GENERATION, Check, Move, Outcome, Prediction, refused

Answer = Mapping[str, Any]


@dataclass(frozen=True)
class Numbers:
    """The generation of one volume: in use at the source (None: not told), handed out last, and the one that is next.

    ``hosts`` are those of its three targets, in order: the first hands numbers out, all record them.
    """

    volume: str
    before: int | None
    last: int
    after: int
    hosts: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a playbook."""
        return {**asdict(self), "hosts": list(self.hosts)}

    @property
    def step(self) -> str:
        used = f"{self.before} is in use" if self.before is not None else "the server does not tell which is in use"
        return (
            f"allocate generation {self.after} for {self.volume} on {self.hosts[0]} ({used}, {self.last} was handed "
            f"out last), record it on {' and '.join(self.hosts[1:])}"
        )


def numbers(move: Move, explicit: Mapping[str, Any]) -> list[Numbers]:
    """What would be handed out now, by volume. ``explicit`` are numbers that somebody insists on."""
    found = []
    for name, region in move.regions.items():
        volume = str(region["volume_id"])
        floors = [int(floor["generation"]) for floor in (*region["floors"], *_live(move, region))]
        last = int(region["generation"])
        before = next((disk["generation"] for disk in move.source["disks"] if str(disk["volume"]) == volume), None)
        hosts = tuple(replica.host for replica in move.replicas if replica.volume == name)
        after = explicit.get(name, max([last, *floors]) + 1)
        found.append(Numbers(name, before, last, after, hosts))
    return found


def too_low(move: Move, explicit: Mapping[str, Any]) -> list[Check]:
    """A refusal for each number that somebody insists on and that is not above all that is known of its volume.

    Whoever hands the number out refuses it too, from what it then knows; here nothing has been asked of anybody yet.
    """
    found = []
    for name, region in move.regions.items():
        if name not in explicit:
            continue
        number, known = int(explicit[name]), [*region["floors"], *_live(move, region)]
        floor = max(known, key=lambda one: int(one["generation"]), default=None)
        if floor is not None and number <= int(floor["generation"]):
            sentence = (
                f"generation: {number} must not be used for volume {name}, it has to be more than "
                f"{floor['generation']}, which {floor['source']} holds; the next free one is {floor['generation'] + 1}."
            )
            found.append(refused(GENERATION, sentence))
    return found


def _live(move: Move, region: Answer) -> list[Answer]:
    """The numbers that live sessions of the volume hold, each with where that is."""
    return [
        {"generation": int(disk["floor"]), "source": f"disk {disk['name']} on {server['name']}"}
        for server in (move.source, *move.others)
        for disk in server["disks"]
        if disk["floor"] and str(disk["volume"]) == str(region["volume_id"])
    ]


def steps(move: Move, handed_out: Sequence[Numbers], timeout: float, wait_for: WaitFor | None = None) -> list[str]:
    """What a run does after the checks, in order."""
    source, destination = move.source["name"], move.destination["name"]
    marks = [f"tell {source} that {move.instance} is about to leave"] if move.source["dialect"] == "2023-01" else []
    runs = f"{move.instance} runs on {destination} with its disks at the new generations and {source} has let go of it"
    return [
        *(one.step for one in handed_out),
        *marks,
        f"ask {destination} to fetch {move.instance} from {source}",
        f"follow both until {runs}, for {timeout:g} s at most",
        *([_hear(move, wait_for)] if wait_for is not None else []),
    ]


def _hear(move: Move, wanted: WaitFor) -> str:
    keys = f"type {', '.join(map(repr, wanted.send))} and " if wanted.send else ""
    return (
        f"{keys}wait until the console of {move.instance} on {move.destination['name']} shows {wanted.expect!r}, for "
        f"{wanted.timeout:g} s at most"
    )


def text(headline: str, what: Sequence[str], checks: Sequence[Check]) -> str:
    """All of it, a line for each: the steps with numbers, the conditions with their outcome."""
    numbered = [f"{f'{number}.':<8}{step}" for number, step in enumerate(what, start=1)]
    return "\n".join([headline, *numbered, *(f"{one.outcome.value:<8}{one.sentence}" for one in checks)])


def headline(move: Move, prediction: Prediction, checks: Sequence[Check]) -> str:
    """``Plan: move vm0 from alpha to beta, in about 0.9 s, …``, or that it is refused."""
    where = f"{move.instance} from {move.source['name']} to {move.destination['name']}"
    if any(check.outcome is Outcome.REFUSED for check in checks):
        return f"Plan: no move of {where}, because of what is refused here."
    return (
        f"Plan: move {where}, in about {prediction.seconds:.1f} s, with the guest paused for about "
        f"{prediction.pause_seconds:.2f} s of it (at {prediction.mib_per_second:g} MiB/s)."
    )


def nothing_to_do(instance: str, destination: Answer) -> str:
    """The whole plan where the instance is at its destination already."""
    live = sorted({disk["generation"] for disk in destination["disks"] if disk["generation"] is not None})
    at = f", at generation {', '.join(map(str, live))}" if live else ""
    state = destination["instance"]["state"]
    return f"Plan: nothing is to be done, because {instance} is {state} on {destination['name']} already{at}."


def follow(instance: str, source: str, destination: str, migration_id: str) -> str:
    """The whole plan where a migration of ours is under way."""
    return (
        f"Plan: follow migration {migration_id} of {instance} from {source} to {destination}, which an earlier run of "
        "this controller began. It has its generations already."
    )
