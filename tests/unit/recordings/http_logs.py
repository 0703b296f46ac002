# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares log messages with the recorded ones, where a message says what happened and not how a library did it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from recordings.http_compare import explains
from recordings.http_events import LogLines
from recordings.http_masks import Places
from recordings.http_observing import log_records

REQUESTS = {
    "requested state via API": ("state",),
    "denied external request": ("request", "reason"),
    "enqueued external request": ("request",),
    "ignored external request": ("request",),
    "queue notified of request completion": ("request",),
    "queue notified that VM has stopped": (),
}
"""Messages of the request queue, with the fields that belong to them."""

LATER = ("queue notified",)
"""Beginnings of messages that come when something is done: in an order of their own, apart from what is asked for."""

FAILURES = {"failed to activate new VM": ("error",)}
"""The one place where the reason of a failed ensure is told."""

SESSIONS = re.compile(r"^(upstairs )?UpstairsConnection .* (connected, version \d+|is now active .*)$")
"""Messages of a downstairs about who is served."""

Report = Callable[[int, str, str, str, str], None]


def compare_logs(event: LogLines, output: str, places: Places, report: Report, *, outlives: bool = False) -> None:
    """Report the first message of a compared kind that differs. Cut recordings are compared as far as they go.

    ``outlives``: the downstairs ran already before the part of the recording that shows its log.
    """
    recorded = _kinds(event.lines, event.pattern)
    if not recorded:
        return
    records = [json.dumps(record, ensure_ascii=False, separators=(",", ":")) for record in log_records(output)]
    ours = _kinds([places.recorded(line) for line in records], event.pattern)
    if event.left_out:
        ours = ours[: len(recorded)]
    elif outlives and event.program.startswith("ds"):
        # What the downstairs wrote before was shown before, and how often a refused session came again is chance.
        if not explains(ours, recorded):
            report(event.line, f"log of {event.program}", "messages", str(recorded), str(ours))
        return
    recorded, ours = _in_order(recorded), _in_order(ours)
    for position in range(max(len(recorded), len(ours))):
        theirs, mine = recorded[position : position + 1], ours[position : position + 1]
        if theirs != mine:
            before = " <- ".join(reversed(recorded[max(0, position - 2) : position]))
            report(event.line, f"log of {event.program}", "messages", f"{theirs} after {before}", str(mine))
            return


def _kinds(lines: Sequence[str], pattern: str) -> list[str]:
    """The compared messages among log lines that match the pattern."""
    found = []
    for record in log_records("\n".join(line for line in lines if re.search(pattern, line))):
        message = record["msg"]
        fields = REQUESTS.get(message) or FAILURES.get(message)
        if fields is not None or message in REQUESTS:
            found.append(" ".join([message, *(f"{field}={_mask(str(record.get(field)))}" for field in fields or ())]))
        elif SESSIONS.match(message):
            found.append(_mask(message))
    return found


def _in_order(messages: Sequence[str]) -> list[str]:
    """What was asked for, then what was done, each in its own order."""
    return sorted(messages, key=lambda message: message.startswith(LATER))


def _mask(text: str) -> str:
    text = re.sub(r"session_id: [0-9a-f-]{36}", "session_id: <id>", text)
    return re.sub(r"\btask \d+ panicked", "task <n> panicked", text)
