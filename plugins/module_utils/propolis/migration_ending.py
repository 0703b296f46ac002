# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run of the role ended for one instance: as values for a playbook, and as the closing lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from .intent import not_used, overtaken, spent
from .preflight import GENERATION, Outcome
from .truth_details import generations_text
from .verdict import Code, Reason

LEAVE = "leave"
RESTART_ON_SOURCE = "restart_on_source"
RESTART_ON_DESTINATION = "restart_on_destination"


@dataclass(frozen=True)
class Ending:
    """One instance at the end of a run. ``failure`` has the shape of a module's failure, None when all is well.

    ``restart_on`` names the server where a policy starts the instance again, which is done after this was known;
    ``restarted`` are the generations that it got there, by volume; None when it was not started.
    """

    instance: str
    verdict: str
    sentence: str
    account: str = ""
    next_steps: tuple[str, ...] = ()
    failure: Mapping[str, Any] | None = None
    migration_id: str | None = None
    runs_on: str | None = None
    generations: Mapping[str, int] = field(default_factory=dict)
    generations_before: Mapping[str, int] = field(default_factory=dict)
    pause_seconds: float | None = None
    total_seconds: float | None = None
    guest: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    restart_on: str | None = None
    restarted: Mapping[str, int] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a playbook. Not by ``asdict``, which cannot copy the containers of a playbook."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**values, "next_steps": list(self.next_steps), "warnings": list(self.warnings)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Ending:
        """The reverse of ``as_dict``."""
        values = dict(raw)
        return cls(**{**values, "next_steps": tuple(values["next_steps"]), "warnings": tuple(values["warnings"])})


def not_begun(instance: str, code: str, sentence: str, next_step: str | None, runs_on: str | None) -> Ending:
    """A run that did nothing, and why."""
    steps = (next_step,) if next_step else ()
    verdict = code if code in {one.value for one in Code} else Code.NOT_STARTED.value
    failure = {"code": code, "message": sentence, "details": {"verdict": verdict, "next_steps": list(steps)}}
    return Ending(instance, verdict, sentence, sentence.rstrip("."), steps, failure, runs_on=runs_on)


def refused(instance: str, source: str, checks: Sequence[Mapping[str, Any]]) -> Ending:
    """The pre-flight found what would end badly, and the plan, whose ``checks`` these are, has said what."""
    sentence = (
        f"{instance} runs on {source} as before, because of what is refused above; nothing was changed and no number "
        "was spent."
    )
    names = {check["name"] for check in checks if check["outcome"] == Outcome.REFUSED.value}
    code = "generation_too_low" if names == {GENERATION} else "refused"
    return not_begun(instance, code, sentence, "mend what is refused, then run this again", source)


def not_allocated(instance: str, source: str, result: Mapping[str, Any]) -> Ending:
    """There is no number for each disk: ``result`` is the failed loop over ``crucible_generation``.

    That loop hands out the numbers, one after the other, or has the hosts record those that were handed out.
    """
    results = result.get("results", [result])
    failures = (one["failure"] for one in results if one.get("failure"))
    failure: Mapping[str, Any] = next(failures, {"code": "not_allocated"})
    unused = _handed_out(results)
    if failure["code"] == "ledger_moved":
        problem = overtaken(instance, failure["details"]["newest"], unused)
        return not_begun(instance, problem.code, problem.sentence, problem.next_step, source)
    why = f"{instance} runs on {source} as before, because it got no generation to use (see above)."
    return not_begun(instance, failure["code"], f"{why} {spent(unused)}", None, source)


def _handed_out(results: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The numbers that are spent by now, by the name of the volume."""
    numbers: dict[str, int] = {}
    for one in results:
        asked = (one.get("invocation") or {}).get("module_args") or {}
        if asked.get("state") == "recorded":
            numbers[one["item"]["volume"]] = asked["expected_last"]
        elif "generation" in one and one.get("spent", True):
            numbers[one["item"]["volume"]] = one["generation"]
    return numbers


def of_move(instance: str, result: Mapping[str, Any], policy: str, numbers: Mapping[str, int] | None = None) -> Ending:
    """What ``propolis_migration`` returned. ``policy`` is what is to be done with an instance that was lost.

    ``numbers`` were handed out for this move, by volume: whoever began none has not used them.
    """
    migration = result["migration"]
    unused = [not_used(numbers)] if numbers and migration["verdict"] == Code.NOT_STARTED.value else []
    ends = {RESTART_ON_SOURCE: "source", RESTART_ON_DESTINATION: "destination"}
    # Only what is known to be lost is started again, never what somebody stopped or what nobody can tell.
    lost = (migration["verdict"], migration["reason"]) == (Code.NOBODY_RUNS.value, Reason.NOBODY.value)
    failure = result.get("failure")
    return Ending(
        instance=instance,
        verdict=migration["verdict"],
        sentence=" ".join([migration["sentence"], *(f"{one}." for one in unused)]),
        account=". ".join([migration["account"], *unused]),
        next_steps=tuple(migration["next_steps"]),
        failure=failure,
        migration_id=migration["id"],
        runs_on=migration["runs_on"],
        generations=migration["generations"],
        generations_before=migration["generations_before"],
        pause_seconds=migration["pause_seconds"],
        total_seconds=migration["total_seconds"],
        guest=migration.get("guest"),
        warnings=tuple(result.get("warnings") or ()),
        restart_on=migration[ends[policy]]["name"] if failure and lost and policy in ends else None,
    )


def closing(ending: Ending, commands: Mapping[str, str], *, planned: bool = False) -> list[str]:
    """The last lines that a user reads about an instance. ``commands`` are what can be typed next, by a word for each.

    ``planned`` for check mode, where nothing was done.
    """
    if ending.failure is None:
        return [ending.sentence, *_numbers(ending, planned), *_pause(ending), *_typed(commands, "console", "teardown")]
    return [
        *_headline(ending),
        f"Verdict:   {ending.verdict}{_code(ending)}",
        *_steps(_next_steps(ending)),
        *_evidence(ending),
        *_typed(commands, "status"),
    ]


def _headline(ending: Ending) -> Iterator[str]:
    if ending.restart_on is None:
        yield f"{ending.account}." if ending.next_steps else ending.sentence
    elif ending.restarted is None:
        yield f"{ending.account}; it was to be started again cold on {ending.restart_on}, which failed (see above)."
    else:
        numbers = generations_text(dict(ending.restarted)) or "no generation, since it has no disk"
        yield (
            f"{ending.instance} was lost from memory and started again cold on {ending.restart_on} at {numbers}. What "
            "its guest had not written to disk is gone."
        )
        yield f"Move:      {ending.account}."


def _next_steps(ending: Ending) -> Sequence[str]:
    if ending.restarted is None:
        return ending.next_steps
    return (*ending.next_steps[1:], f"look at the guest of {ending.instance}: to it this was a power failure")


def _code(ending: Ending) -> str:
    code = (ending.failure or {}).get("code")
    return f" ({code})" if code and code != ending.verdict else ""


def _numbers(ending: Ending, planned: bool) -> Iterator[str]:
    for disk, number in ending.generations.items():
        before = ending.generations_before.get(disk)
        was = f"{before} before, " if before is not None else ""
        yield f"Disk {disk}: generation {was}{number} {'then' if planned else 'now'}."


def _pause(ending: Ending) -> Iterator[str]:
    if ending.guest is not None:
        yield from _heard(ending, ending.guest)
    elif ending.pause_seconds is not None:
        yield f"The guest stood still for {ending.pause_seconds} s of the {ending.total_seconds} s that it took."


def _heard(ending: Ending, guest: Mapping[str, Any]) -> Iterator[str]:
    """What the console tells of the pause, beside what the API tells of it."""
    api = "no pause that was seen" if ending.pause_seconds is None else f"a pause of {ending.pause_seconds} s"
    told = f"the API tells of {api} in the {ending.total_seconds} s that the move took"
    if guest["pause_seconds"] is None:
        yield f"The guest goes on: its console shows {guest['match']!r}; {told}."
    else:
        stood_still = f"The guest stood still for {guest['pause_seconds']} s"
        yield f"{stood_still}, until its console showed {guest['match']!r}; {told}."


def _steps(steps: Sequence[str]) -> Iterator[str]:
    for number, step in enumerate(steps):
        yield f"{'Next:' if number == 0 else '':<11}{step}"


def _evidence(ending: Ending) -> Iterator[str]:
    place = ((ending.failure or {}).get("details") or {}).get("evidence")
    if place:
        yield f"Evidence:  {place}"


_LABELS = {"console": "Console:", "teardown": "All down:", "status": "Look:"}


def _typed(commands: Mapping[str, str], *wanted: str) -> Iterator[str]:
    for word in wanted:
        if word in commands:
            yield f"{_LABELS[word]:<11}{commands[word]}"
