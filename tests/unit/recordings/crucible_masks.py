# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes out of a command's output what differs from run to run: times, process ids, host, random data, help texts.

The same masks go over what was recorded and over what the stand-in wrote.
"""

from __future__ import annotations

import json
import re

STAND_IN = "stand-in"
_ELISION = re.compile(r"\n\.\.\. \(\d+ lines(?: left out)?\)\n")
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_MASKS = (
    (re.compile(r"(?m)^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d\.\d{3} "), "<time> "),
    (re.compile(r"thread 'main' \(\d+\)"), "thread 'main' (<pid>)"),
    (re.compile(r"(?m)^\S*bash: (?:line \d+: +)?\d+ Aborted.*$"), "<the shell says: aborted>"),
    (re.compile(r"(?m)^(\S*)(?:bash|sh): (?:line \d+: )?ulimit: .*\n"), ""),
    (re.compile(r"(?m)^total +\d+$"), "total <blocks>"),
    (re.compile(r"(?m)^(d[rwx-]{9})(?: +\d+ \w+ \w+)? +\d+ +"), r"\1 "),
    (re.compile(r"(?m)^(-[rwx-]{9}) +(\d+) \w+ \w+ +(\d+)(?: \w{3} +\d+ [\d:]+)? +"), r"\1 \2 \3 "),
    (re.compile(r"(?m)^\d+\t(?=[\w/]+$)"), "<kilobytes>\t"),
    (re.compile(r"(?m)^(cmp: EOF on .*), in line \d+$"), r"\1"),
    (re.compile(r"(?mi)^date: .*$"), "date: <date>"),
    (re.compile(rf"(x-request-id: |request_id\": \"){_UUID}"), r"\1<random id>"),
    (re.compile(rf"session_id: {_UUID}"), "session_id: <random id>"),
    # Python's traceback, of the recorder's own script.
    (re.compile(r"(?ms)^Traceback .*?(?=^sqlite3\.)"), ""),
)
_HEADERS = re.compile(r"(?m)^(HTTP/1\.1 \d+ .*)\n((?:[\w-]+: .*\n)*[\w-]+: .*)$")
_HASH = re.compile(r"(?<![0-9A-Za-z-])(?:[0-9a-f]{64}|[0-9a-f]{16}|[0-9A-F]{16})(?![0-9A-Za-z-])")


def is_help(text: str) -> bool:
    """Whether a recorded output is a help text, which the stand-in words itself."""
    return "Print help" in text


def masked(text: str) -> str:
    """The text without what changes from run to run; of the stand-in's records, its notice is left out."""
    text = _HEADERS.sub(_sorted_headers, text.replace("\r\n", "\n"))
    lines = [_record(line) if line.startswith('{"msg":') else line for line in text.split("\n")]
    text = "\n".join(line for line in lines if line is not None and not _is_notice(line))
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    names: dict[str, str] = {}
    text = _HASH.sub(lambda match: names.setdefault(match.group(), f"<hash {len(names) + 1}>"), text)
    return text.rstrip("\n")


def same(recorded: str, ours: str) -> bool:
    """Whether two outputs say the same; where lines of the recorded one were left out, both ends must be equal."""
    expected, found = masked(recorded), masked(ours)
    if not _ELISION.search(expected):
        return expected == found
    head, tail = _ELISION.split(expected, maxsplit=1)
    return found.startswith(head + "\n") and found.endswith("\n" + tail)


def _sorted_headers(block: re.Match[str]) -> str:
    """HTTP gives no meaning to the order of headers and to the case of their names."""
    headers = [
        f"{name.lower()}: {value}" for name, _unused, value in (line.partition(": ") for line in block[2].split("\n"))
    ]
    return "\n".join([block[1], *sorted(headers)])


def _record(line: str) -> str | None:
    """One bunyan record in a fixed form, without time, host and process."""
    try:
        record = json.loads(line)
    except ValueError:
        return line
    if STAND_IN in record["msg"]:
        return None
    rest = [f"{key}={value}" for key, value in record.items() if key not in {"time", "hostname", "pid"}]
    return "record: " + ", ".join(rest)


def _is_notice(line: str) -> bool:
    return " This is the stand-in for " in line or " This stand-in speaks " in line
