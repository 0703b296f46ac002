# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a recording of HTTP exchanges into events. Every line belongs to an event, or the reading fails."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from recordings.http_events import (
    Alive,
    Answer,
    Command,
    Cut,
    DiskWatched,
    Down,
    Event,
    Exchange,
    Frame,
    Headers,
    Killed,
    LogLines,
    Look,
    Looked,
    Monitored,
    NoAnswer,
    Note,
    Opening,
    Outcome,
    Polled,
    Publication,
    Published,
    RegionMade,
    Request,
    Started,
    StateMissed,
    StateSeen,
    Up,
    WebsocketEnd,
)

TIMED = re.compile(r"### \[ *([\d.]+)\] ?(.*)")
REQUEST = re.compile(r"===== \[ *([\d.]+)\] REQUEST (?:to [\d.]+:(\d+)|\(websocket\))(.*)")
ANSWER = re.compile(r"----- ANSWER(?: after ([\d.]+)s)?")
FRAME = re.compile(r"   \[ *([\d.]+)\] ws (client->server|server->client) opcode=(\d+) len=(\d+) payload=(.*)")
WEBSOCKET_END = re.compile(r"   ws ended (.*)")
LOG = re.compile(r"### raw log lines of (\w+) matching /(.*)/:")
LEFT_OUT = re.compile(r"\.\.\. (\d+) more")
TORN = re.compile(r"\.\.\. \(\d+ characters left out\) \.\.\.")
HEADING = re.compile(r"### \[ *[\d.]+\] #{8}")
CUT = re.compile(r"\.\.\. \((\d+) characters\)$")
TITLE = re.compile(r"#{16} (.*)")
EXIT = re.compile(r"--- exit (.*) after [\d.]+s")
MARKS = ("### ", "===== [", "----- ANSWER", "   [", "   ws ended", "#" * 16)

UP = re.compile(r"up: up: servers ([\d ]+) downstairs ([\d ]+) state STATE")
STATE = re.compile(r"state of :(\d+) = (\w+)")
MISSED = re.compile(r"state of :(\d+) did not become (\w+|\[[^]]*\]) within [\d.]+s, is (\w+)")
POLL = re.compile(r"POLL :(\d+) state=(\w+|\(424, 'NoInstance'\)) migration=(.*)")
MONITOR = re.compile(r"MONITOR :(\d+) (\{.*\})")
MONITOR_END = re.compile(r"MONITOR :(\d+) gen>=\d+ -> (\d+) (\{.*\})")
DISK = re.compile(r"\+([\d.]+)s B disk status (\{.*\}|424)")
OUTCOME = re.compile(r"outcome after [\d.]+s: A=(\w+) B=(\w+)")
ALIVE = re.compile(r"(?:server alive:|alive:?) (.*)")
KILLED = re.compile(r"kill -9 (ds\d) pid \d+")
STARTED = re.compile(r"started (ds\d) on (\d+) dir STATE/ds\d")
REGION_MADE = re.compile(r"\$ crucible-downstairs create -u ([0-9a-f-]{36}) -d STATE/(ds\d) .*")
LOOKED = re.compile(r"\+[\d.]+s state=(\w+) disk=(\{.*\}|\d+)")
LOOKED_SHORT = re.compile(r"(?::(\d+)|\b([AB])) (?:(\w+) )?\('(\w+)', (\d+), (\[[^]]*\])\)")
PUBLICATION = re.compile(r"\('(\d\d):(\d\d):([\d.]+)', (\d+), '(\w+)', (\[.*\])\)")


class TranscriptError(ValueError):
    """A line of a recording that is not understood; names the file and the line."""


def read(path: Path) -> list[Event]:
    """The events of a recording, in the order in which they were written down."""
    return parse(path.read_text(encoding="utf-8"), path.name)


def parse(text: str, name: str = "recording") -> list[Event]:
    """The events of a recording's text; `name` is for error messages."""
    return list(_Reader(text.split("\n"), name).events())


class _Reader:
    """A cursor over the lines."""

    def __init__(self, lines: list[str], name: str) -> None:
        self.lines = lines
        self.name = name
        self.position = 0

    def events(self) -> Iterator[Event]:
        while self.position < len(self.lines):
            if not self.lines[self.position].strip():
                self.position += 1
                continue
            yield self._event()

    def _event(self) -> Event:  # noqa: PLR0911 - one return for each kind of line
        number, line = self.position + 1, self.lines[self.position]
        if found := REQUEST.fullmatch(line):
            return self._exchange(number, float(found[1]), int(found[2]) if found[2] else None)
        if found := FRAME.fullmatch(line):
            self.position += 1
            return self._frame(number, found)
        if found := WEBSOCKET_END.fullmatch(line):
            self.position += 1
            return WebsocketEnd(number, found[1])
        if found := LOG.fullmatch(line):
            return self._log(number, found[1], found[2])
        if found := TITLE.fullmatch(line):
            return self._command(number, found[1])
        if line.startswith("### published"):
            return self._published(number)
        if found := TIMED.fullmatch(line):
            self.position += 1
            if REGION_MADE.fullmatch(found[2]) or found[2].endswith(" serial:"):
                self._until_mark()  # the last words of that command's own log, or what the recorded guest showed
            return note(number, float(found[1]), found[2])
        raise self._error(number, f"not understood: {line[:120]!r}")

    def _error(self, number: int, problem: str) -> TranscriptError:
        return TranscriptError(f"{self.name}:{number}: {problem}")

    def _until_mark(self) -> str:
        """The text up to the next line that begins something else, without the blank lines at its end."""
        start = self.position
        while self.position < len(self.lines) and not self.lines[self.position].startswith(MARKS):
            self.position += 1
        return "\n".join(self.lines[start : self.position])

    def _headers(self) -> Headers:
        found = []
        while self.position < len(self.lines):
            line = self.lines[self.position]
            key, colon, value = line.partition(":")
            if not line or not colon or not re.fullmatch(r"[A-Za-z0-9-]+", key):
                break
            found.append((key, value.strip()))
            self.position += 1
        if self.position < len(self.lines) and not self.lines[self.position]:
            self.position += 1
        return tuple(found)

    def _exchange(self, number: int, at: float, port: int | None) -> Exchange | Opening:
        self.position += 1
        method, target, _version = self.lines[self.position].split(" ")
        self.position += 1
        headers = self._headers()
        length = int(dict(headers).get("content-length", "0"))
        body, cut = _body(self._until_mark(), length)
        if port is None:
            port = int(dict(headers)["Host"].rpartition(":")[2])
        request = Request(port, method, target, headers, body, cut)
        found = ANSWER.fullmatch(self.lines[self.position])
        if not found:
            raise self._error(self.position + 1, "a request without an answer")
        self.position += 1
        answer = self._answer()
        if found[1] is not None:
            return Exchange(number, at, request, answer, float(found[1]))
        if isinstance(answer, NoAnswer):
            raise self._error(number, "a websocket without an answer")
        return Opening(number, at, request, answer)

    def _answer(self) -> Answer | NoAnswer:
        line = self.lines[self.position]
        if line.startswith("(no answer: "):
            self.position += 1
            return NoAnswer(line.removeprefix("(no answer: ").removesuffix(")"))
        found = re.fullmatch(r"HTTP/1\.1 (\d{3}) (.*)", line)
        if not found:
            raise self._error(self.position + 1, f"not a status line: {line[:80]!r}")
        self.position += 1
        headers = self._headers()
        length = int(dict(headers).get("content-length", "0"))
        body, cut = _body(self._until_mark(), length)
        return Answer(int(found[1]), found[2], headers, body, cut)

    def _frame(self, number: int, found: re.Match[str]) -> Frame:
        payload = ast.literal_eval(found[5])
        if len(payload) != int(found[4]):
            raise self._error(number, f"a frame of {found[4]} bytes shows {len(payload)}")
        return Frame(number, float(found[1]), found[2] == "client->server", int(found[3]), payload)

    def _log(self, number: int, program: str, pattern: str) -> LogLines:
        self.position += 1
        lines = [line for line in self._until_mark().split("\n") if line]
        left_out = 0
        if torn := [place for place, text in enumerate(lines) if TORN.fullmatch(text)]:
            self._skip_to_heading()
            del lines[torn[0] :]
        if lines and (found := LEFT_OUT.fullmatch(lines[-1])):
            left_out = int(found[1])
            lines.pop()
        return LogLines(number, program, pattern, tuple(lines), left_out)

    def _skip_to_heading(self) -> None:
        """Go on where the recording begins anew, after text was left out in the middle of an exchange."""
        while self.position < len(self.lines) and not HEADING.match(self.lines[self.position]):
            self.position += 1

    def _published(self, number: int) -> Published:
        self.position += 1
        rows = []
        for line in self._until_mark().split("\n"):
            if not line:
                continue
            found = PUBLICATION.fullmatch(line)
            if not found:
                raise self._error(number, f"not a publication: {line[:80]!r}")
            seconds = int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
            rows.append(Publication(seconds, int(found[4]), found[5], tuple(ast.literal_eval(found[6]))))
        return Published(number, tuple(rows))

    def _command(self, number: int, title: str) -> Command:
        self.position += 1
        command = self.lines[self.position].removeprefix("$ ")
        found = EXIT.fullmatch(self.lines[self.position + 1])
        if not found:
            raise self._error(number, "a command without an exit")
        self.position += 2
        stdout, marker, stderr = self._until_mark().partition("--- stderr\n")
        if not marker or not stdout.startswith("--- stdout\n"):
            raise self._error(number, "a command without its output")
        stdout = stdout.removeprefix("--- stdout\n").strip("\n")
        return Command(number, title, command, found[1], stdout, stderr.strip("\n"))


def _body(text: str, length: int) -> tuple[str, Cut | None]:
    """A body without the blank lines that the recording put after it; `length` is its content-length."""
    stripped = text.rstrip("\n")
    if found := CUT.search(stripped):
        return stripped[: found.start()], Cut(int(found[1]))
    if len(text.encode()) >= length > len(stripped.encode()):
        return text.encode()[:length].decode(), None
    return stripped, None


def note(number: int, at: float, text: str) -> Event:  # noqa: PLR0911 - one return for each kind of remark
    """The event that a remark stands for: a Note when it is only a remark."""
    if found := UP.fullmatch(text):
        return Up(number, tuple(map(int, found[1].split())), tuple(map(int, found[2].split())))
    if text.startswith("down: "):
        return Down(number, tuple(text.removeprefix("down: ").split()))
    if found := STATE.fullmatch(text):
        return StateSeen(number, int(found[1]), found[2])
    if found := MISSED.fullmatch(text):
        return StateMissed(number, int(found[1]), found[2], found[3])
    if found := POLL.fullmatch(text):
        state = None if found[2].startswith("(") else found[2]
        return Polled(number, int(found[1]), state, None if found[3] == "424" else json.loads(found[3]))
    if found := MONITOR.fullmatch(text):
        return Monitored(number, int(found[1]), 200, json.loads(found[2]))
    if found := MONITOR_END.fullmatch(text):
        return Monitored(number, int(found[1]), int(found[2]), json.loads(found[3]))
    if found := DISK.fullmatch(text):
        status = {} if found[2] == "424" else json.loads(found[2])
        return DiskWatched(number, float(found[1]), status.get("state"), status.get("generation"))
    if found := OUTCOME.fullmatch(text):
        return Outcome(number, found[1], found[2])
    if found := ALIVE.fullmatch(text):
        return _alive(number, found[1]) or Note(number, at, text)
    return _of_storage(number, text) or Note(number, at, text)


def _of_storage(number: int, text: str) -> Event | None:
    """What happened to downstairs, and how a disk looked."""
    if found := KILLED.fullmatch(text):
        return Killed(number, found[1])
    if found := STARTED.fullmatch(text.strip()):
        return Started(number, found[1], int(found[2]))
    if found := REGION_MADE.fullmatch(text):
        return RegionMade(number, found[2], found[1])
    if found := LOOKED.fullmatch(text):
        disk = json.loads(found[2])
        seen = disk if isinstance(disk, dict) else None
        if seen is not None:
            seen["targets"] = [state for _unused, state in seen["targets"]]
        return Looked(number, (Look(None, found[1], seen),))
    looks = tuple(
        Look(
            int(found[1]) if found[1] else f"srv{found[2]}",
            found[3],
            {"state": found[4], "gen": int(found[5]), "targets": ast.literal_eval(found[6])},
        )
        for found in LOOKED_SHORT.finditer(text)
    )
    return Looked(number, looks) if looks else None


def _alive(number: int, text: str) -> Alive | None:
    if text in ("True", "False"):
        return Alive(number, {"srvA": text == "True"})
    if found := re.fullmatch(r"A (True|False) B (True|False)", text):
        return Alive(number, {"srvA": found[1] == "True", "srvB": found[2] == "True"})
    return None
