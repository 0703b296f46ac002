# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a move as plain values for whoever asked, and as lines for people who watch it happen."""

from __future__ import annotations

from dataclasses import dataclass

from .migration import Outcome
from .migration_request import Move
from .migration_timeline import SOURCE, Event, Note
from .truth_details import generations_text
from .verdict import Code


@dataclass(frozen=True)
class Report:
    """``migration`` is what is returned under that name; ``failure`` is None when there is nothing to fail about."""

    changed: bool
    migration: dict[str, object]
    message: str
    failure: dict[str, object] | None
    diff: dict[str, dict[str, object]]
    warnings: tuple[str, ...]


def report(outcome: Outcome, *, planned_only: bool = False) -> Report:
    """Put an outcome into plain values; ``planned_only`` for check mode, where nothing was done."""
    verdict, move = outcome.verdict, outcome.move
    may_begin = planned_only and outcome.plan is not None
    would_follow = planned_only and outcome.follows
    message = verdict.sentence
    if may_begin:
        message = _plan_sentence(outcome)
    elif would_follow:
        message = f"Would follow the migration that is under way. {verdict.sentence}"
    good = (verdict.is_good and verdict.failure_code is None) or may_begin or would_follow
    migration: dict[str, object] = {
        "id": move.migration_id,
        "verdict": verdict.code.value,
        "reason": verdict.reason.value,
        "source": {"name": move.source.name, "address": move.source.address},
        "destination": {"name": move.destination.name, "address": move.destination.address},
        "runs_on": verdict.runs_on.name if verdict.runs_on is not None else None,
        "generations": move.generations,
        "generations_before": _generations_before(outcome),
        "timeline": [event.to_json() for event in outcome.timeline],
        "pause_seconds": None if outcome.pause is None else round(outcome.pause, 3),
        "guest": outcome.guest.to_json() if outcome.guest is not None else None,
        "total_seconds": round(outcome.total, 3),
        "slowest_expected_seconds": outcome.plan.slowest_seconds if outcome.plan is not None else None,
        "sentence": message,
        "account": verdict.account,
        "next_steps": list(verdict.next_steps),
        "warnings": list(outcome.warnings),
        "servers": [
            {
                "name": sighting.server.name,
                "address": sighting.server.address,
                "reach": sighting.reach.value,
                "state": sighting.state.value if sighting.state is not None else None,
                "instance_id": sighting.instance_id,
                "error": sighting.error,
            }
            for sighting in outcome.sightings
        ],
    }
    changed = (may_begin or would_follow) if planned_only else outcome.changed
    return Report(
        changed, migration, message, None if good else _failure(outcome), _diff(outcome, changed), outcome.warnings
    )


def _plan_sentence(outcome: Outcome) -> str:
    move = outcome.move
    to = generations_text(move.generations)
    return (
        f"{move.instance.name} would be moved from {move.source} to {move.destination}"
        f"{f' and use {to} there' if to else ''}; nothing was changed."
    )


def _generations_before(outcome: Outcome) -> dict[str, int]:
    """The numbers in the source's spec when the move was planned; empty when it came to no plan."""
    if outcome.plan is None:
        return {}
    disks = outcome.plan.spec.crucible_disks
    return {disk.name: disk.volume.generation for disk in disks if disk.volume is not None and disk.volume.generation}


def _failure(outcome: Outcome) -> dict[str, object]:
    verdict = outcome.verdict
    details: dict[str, object] = {
        "verdict": verdict.code.value,
        "reason": verdict.reason.value,
        "migration_id": outcome.move.migration_id,
        "runs_on": verdict.runs_on.name if verdict.runs_on is not None else None,
        "next_steps": list(verdict.next_steps),
    }
    if outcome.refusal is not None:
        details |= outcome.refusal.details
    return {"code": verdict.failure_code or verdict.code.value, "message": verdict.sentence, "details": details}


def _diff(outcome: Outcome, changed: bool) -> dict[str, dict[str, object]]:
    move = outcome.move
    there: dict[str, object] = {"server": move.destination.name, "generations": move.generations}
    where = outcome.verdict.runs_on
    now: dict[str, object] = {"server": where.name if where is not None else None}
    if not changed:
        return {"before": now, "after": now}
    before: dict[str, object] = {"server": move.source.name, "generations": _generations_before(outcome)}
    moved = outcome.verdict.is_good or outcome.verdict.code in (Code.NOT_STARTED, Code.ADOPTED)
    return {"before": before, "after": there if moved else now}


def line(move: Move, event: Event | Note) -> str:
    """One line for people who watch: ``vm0   0.145 s  alpha (source)       RamPush``."""
    if isinstance(event, Note):
        return f"{move.instance.name} {event.at:8.3f} s  {event.text}"
    server = move.source if event.side == SOURCE else move.destination
    return f"{move.instance.name} {event.at:8.3f} s  {f'{server} ({event.side})':<28} {event.phase}"
