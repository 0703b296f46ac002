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

COURSE = {
    **FAILURES,
    "publishing new instance state": ("migration", "state", "gen"),
    "migration out failed, resuming": ("error",),
    "migration in failed": ("error",),
    "source and destination instance specs incompatible": ("error",),
    "failed to send handshake failed message to source": ("error",),
    "failed to send handshake failure to source": ("error",),
    "state driver handled event": ("outcome",),
    "nvme reg r/w failure": ("error",),
}
"""Messages about the course of an instance and of its migrations, with the fields that belong to them."""

COURSE_WORDS = re.compile(
    r"migration failed due to error from target: .*|Error returned from handler: .*"
    r"|source instance failed to negotiate protocol version: .*"
    r"|destination side did not begin migration version handshake: .*"
)
"""Messages about it that say everything themselves."""

SESSIONS = re.compile(
    r"^(upstairs )?UpstairsConnection .* (connected, version \d+|is now active .*)$"
    r"|^on_negotiation_step returns error .*"
)
"""Messages of a downstairs about who is served and who is refused. Not those about who is cast out: whether somebody
who is followed goes by itself before that is chance."""

Report = Callable[[int, str, str, str, str], None]


def compare_logs(event: LogLines, output: str, places: Places, report: Report, *, outlives: bool = False) -> None:
    """Report the first message of a compared kind that differs. Cut recordings are compared as far as they go.

    ``outlives``: the downstairs ran already before the part of the recording that shows its log.
    """
    compare_course(event, output, places, report)
    lines = _lines(output, places)
    recorded, ours = _kinds(event.lines, event.pattern), _kinds(lines, event.pattern)
    if not recorded:
        return
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


def _lines(output: str, places: Places) -> list[str]:
    """The records of a log, one a line as they would stand in the recording."""
    records = [json.dumps(record, ensure_ascii=False, separators=(",", ":")) for record in log_records(output)]
    return [places.recorded(line) for line in records]


def _course(lines: Sequence[str], pattern: str) -> list[str]:
    """The messages about the course of things among log lines that match the pattern."""
    found = []
    for record in log_records("\n".join(line for line in lines if re.search(pattern, line))):
        message = record["msg"]
        if message in COURSE:
            found.append(" ".join([message, *(f"{name}={_mask(str(record.get(name)))}" for name in COURSE[message])]))
        elif COURSE_WORDS.fullmatch(message):
            found.append(message)
    return found


def compare_course(event: LogLines, output: str, places: Places, report: Report) -> bool:
    """Report each message that stands elsewhere or is another one than recorded; whether there is none.

    The recorded log may begin later than ours, which has all processes of the same name, and it was looked at in some
    moment; but what it shows follows one another. So it is compared with the part of ours that agrees in most places.
    """
    recorded = _course(event.lines, event.pattern)
    ours = _course(_lines(output, places), event.pattern)
    starts = range(max(1, len(ours) - len(recorded) + 1))
    parts = [ours[start : start + len(recorded)] for start in starts]
    best = max(parts, key=lambda part: sum(map(str.__eq__, recorded, part)))
    for position, theirs in enumerate(recorded):
        mine = best[position] if position < len(best) else "nothing more"
        if theirs != mine:
            report(event.line, f"log of {event.program}", "course", theirs, mine)
    return best == recorded


def _in_order(messages: Sequence[str]) -> list[str]:
    """What was asked for, then what was done, each in its own order."""
    return sorted(messages, key=lambda message: message.startswith(LATER))


def _mask(text: str) -> str:
    text = re.sub(r"session_id: [0-9a-f-]{36}", "session_id: <id>", text)
    return re.sub(r"\btask \d+ panicked", "task <n> panicked", text)
