# SPDX-License-Identifier: GPL-3.0-or-later
"""The console part of a replay: opens the recorded websockets, types what was typed, and checks what comes back.

What the guest says is its own (the recorded guest was another one), so it is not compared. Compared are the handshake,
that history comes first and is the asked-for part of the console, that live output follows it, that text frames are
not input, and every frame that is not console output.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from recordings.http_compare import Slice, compare_answers
from recordings.http_events import Answer, Frame, NoAnswer, Opening, WebsocketEnd
from recordings.http_lab import wait_until
from recordings.http_masks import Places
from recordings.http_observing import console
from recordings.http_ports import ADDRESS
from recordings.http_wire import BINARY, CLOSE, TEXT, Websocket, open_websocket

PATIENCE = 15.0
"""Seconds to wait for the console: the guest boots, ticks twice a second and answers at once."""

BOOTING = b"Lab BIOS"
LOGIN, WELCOME = b"login: ", b"Welcome"
"""What the lab's guest shows at its start, when it takes a name, and when it takes commands."""

NO_LIMIT = 1 << 40

DROPPED = {
    "websocket opened, peer goes away before the version negotiation": 2,
    "websocket opened and left open without a word, then a real migration": 5,
}
"""Remarks after which the recorder opened a websocket and dropped it again, and after how many requests it did so: the
server's log tells when the connection was reset."""

Report = Callable[[int, str, str, str, str], None]
"""line, label, aspect, recorded, ours"""


@dataclass
class Console:
    """One websocket of the replay. `controls` are the frames other than output that the recording shows."""

    opening: Opening
    port: int
    websocket: Websocket | None
    total_before: int
    expected_controls: list[tuple[int, bytes]] = field(default_factory=list)
    requests_left: int | None = None
    """How many requests are made before it is dropped; None: it is not."""
    unheard: list[bytes] = field(default_factory=list)
    """Words that were sent in text frames and must not reach the guest."""

    def controls(self) -> list[tuple[int, bytes]]:
        frames = list(self.websocket.frames) if self.websocket else []
        return [(opcode, payload) for opcode, payload in frames if opcode != BINARY]


@dataclass
class Consoles:
    """All websockets of one replay; a frame of the recording belongs to the newest one."""

    places: Places
    report: Report
    all: list[Console] = field(default_factory=list)
    frames: int = 0

    def open(self, opening: Opening, *, shows_output: bool, remark: str = "") -> Answer | NoAnswer:
        """Open it as recorded; `shows_output`: the recording has output before the next websocket. `remark` is what the
        recorder said before."""
        port = self.places.ports[opening.request.port]
        total_before = len(console(port))
        headers = tuple((key, self.places.here(value)) for key, value in opening.request.headers)
        answer, websocket = open_websocket(ADDRESS, replace(opening.request, port=port, headers=headers), PATIENCE)
        for aspect, pair in compare_answers(opening.answer, answer, self.places).items():
            self.report(opening.line, opening.label, aspect, *pair)
        opened = Console(opening, port, websocket, total_before, requests_left=DROPPED.get(remark.lstrip("# ")))
        self.all.append(opened)
        if websocket and shows_output:
            self._check_output(opened)
        return answer

    def _check_output(self, opened: Console) -> None:
        """The asked-for history comes first, then live output without a gap."""
        assert opened.websocket is not None
        websocket, opening = opened.websocket, opened.opening
        asked = Slice.of(opening.request.target, NO_LIMIT)
        wanted = opened.total_before - asked.within(opened.total_before)[0] + 1
        if not websocket.wait(lambda: len(websocket.output()) >= wanted, PATIENCE):
            self.report(opening.line, opening.label, "output", f"{wanted} bytes", f"{len(websocket.output())} bytes")
            return
        frames = [payload for opcode, payload in list(websocket.frames) if opcode == BINARY]
        whole = console(opened.port)
        for total in range(opened.total_before, len(whole) + 1):
            start, end = asked.within(total)
            if start == end and _follows(whole, total, b"".join(frames)):
                return
            if start < end and frames[0] == whole[start:end] and _follows(whole, total, b"".join(frames[1:])):
                return
        self.report(opening.line, opening.label, "output", "history, then what follows it", repr(frames[:4]))

    def frame(self, frame: Frame) -> None:
        if not self.all or self.all[-1].websocket is None:
            self.report(frame.line, "frame", "websocket", "open", "not open")
            return
        self.frames += 1
        newest = self.all[-1]
        if frame.from_client:
            self._send(newest, frame)
        elif frame.opcode != BINARY:
            newest.expected_controls.append((frame.opcode, frame.payload))
            self._check_controls(newest, frame.line, len(newest.expected_controls))

    def _send(self, newest: Console, frame: Frame) -> None:
        assert newest.websocket is not None
        if frame.opcode == BINARY:
            if not self.log_in(newest):
                shown = repr(console(newest.port)[-200:])
                self.report(frame.line, "typing", "login", "a guest that takes commands", shown)
            newest.websocket.send(BINARY, frame.payload)
            return
        if frame.opcode == TEXT:
            newest.unheard.append(frame.payload.strip())
        newest.websocket.send(frame.opcode, frame.payload)

    def log_in(self, on: Console) -> bool:
        """Bring the guest to its command line, as a person would. The recorded guest had no login."""
        assert on.websocket is not None

        def since_boot() -> bytes:
            return console(on.port).rpartition(BOOTING)[2]

        if not wait_until(lambda: LOGIN in since_boot(), PATIENCE, 0.05):
            return False
        if WELCOME in since_boot():
            return True
        on.websocket.send(BINARY, b"root\r")
        return wait_until(lambda: WELCOME in since_boot(), PATIENCE, 0.05)

    def _check_controls(self, on: Console, line: int, count: int) -> None:
        """The first `count` frames other than output are those recorded."""
        assert on.websocket is not None
        on.websocket.wait(lambda: len(on.controls()) >= count, PATIENCE)
        recorded = [_mask_control(control, self.places) for control in on.expected_controls[:count]]
        ours = [_mask_control(control, self.places) for control in on.controls()[:count]]
        if recorded != ours:
            self.report(line, on.opening.label, "frames", repr(recorded), repr(ours))

    def ended(self, event: WebsocketEnd) -> None:
        """The newest websocket ends, and showed no other frames than the recorded ones."""
        newest = self.all[-1]
        if newest.websocket is None:
            self.report(event.line, newest.opening.label, "end", event.reason, "was not open")
            return
        if not newest.websocket.ended.wait(PATIENCE):
            self.report(event.line, newest.opening.label, "end", event.reason, f"still open after {PATIENCE} s")
        more = newest.controls()[len(newest.expected_controls) :]
        if more:
            self.report(event.line, newest.opening.label, "frames", "no more than before", repr(more))

    def count_request(self) -> None:
        """Another request was made: websockets that the recorder dropped then are dropped here too."""
        for one in self.all:
            if one.requests_left is not None and one.websocket is not None:
                one.requests_left -= 1
                if one.requests_left == 0:
                    one.websocket.close()

    def check_unheard(self) -> None:
        """No text frame became input."""
        for one in self.all:
            for word in one.unheard:
                if word in console(one.port):
                    shown = f"{word!r} on the console"
                    self.report(one.opening.line, one.opening.label, "text frame", "ignored", shown)
            one.unheard.clear()

    def close(self) -> None:
        for websocket in self._open():
            websocket.close()

    def _open(self) -> Iterator[Websocket]:
        return (one.websocket for one in self.all if one.websocket)


def _follows(whole: bytes, total: int, live: bytes) -> bool:
    """Live output goes on at `total`, or repeats some of the last bytes before it (the real server does)."""
    latest = whole.find(live, max(0, total - 64))
    return not live or 0 <= latest <= total


def _mask_control(control: tuple[int, bytes], places: Places) -> tuple[int, bytes]:
    opcode, payload = control
    if opcode == TEXT:
        text = places.recorded(payload.decode())
        return opcode, re.sub(r'"from_start":\d+', '"from_start":<offset>', text).encode()
    if opcode == CLOSE:
        return opcode, payload
    return opcode, payload


def migrating_offset(console_: Console) -> int | None:
    """Where the console goes on at the destination, as the frame of the move says; None without such a frame."""
    for opcode, payload in console_.controls():
        if opcode == TEXT:
            offset: int = json.loads(payload)["Migrating"]["from_start"]
            return offset
    return None
