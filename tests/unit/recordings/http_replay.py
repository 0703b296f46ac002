# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends the requests of a recording to the stand-ins, in their order, and collects every difference.

Where the recording waited by the clock, the replay waits for the state that the recording had reached by then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import singledispatchmethod

from recordings.http_compare import Finding, compare_answers, history_problem
from recordings.http_consoles import Consoles
from recordings.http_events import (
    Alive,
    Answer,
    DiskWatched,
    Down,
    Event,
    Exchange,
    Frame,
    Killed,
    LogLines,
    Looked,
    Monitored,
    NoAnswer,
    Note,
    Opening,
    Outcome,
    Polled,
    Published,
    RegionMade,
    Request,
    Started,
    StateMissed,
    StateSeen,
    Up,
    WebsocketEnd,
)
from recordings.http_following import Following, compare_order
from recordings.http_lab import Lab, wait_until
from recordings.http_logs import compare_course, compare_logs
from recordings.http_looking import Eyes
from recordings.http_masks import STRANGER
from recordings.http_observing import Watcher, console, instance_state, publications
from recordings.http_pacing import PATIENCE, Pacing, burst, polled_meanwhile, run_of_states, shows_output
from recordings.http_ports import ADDRESS
from recordings.http_scenario import CAUGHT, SERVERS, SIGNALLED, THIRD, Counts, Instructions, third_servers
from recordings.http_wire import send, send_ahead, send_together
from recordings.openapi import VERSIONS, ContractError, document, find_operation, validate_answer

QUIET = 0.4
"""Seconds after which a long poll counts as unanswered."""
USES_DISK = b"io "
"""The recorded guest's command to write and flush; the lab's guest does so by itself."""
FLUSHES = b"flush\r"
OF_OTHER_GUEST = (b"write ", b"read ", b"info\r", b"iotimeout ")
"""Commands of the recorded guest that the lab's guest does not know; what they showed is not compared."""
LOOKED = 5.0
"""Seconds within which a log says what the recorded one says."""
SLEPT = 0.5
"""Seconds between two events after which the recording had waited for something to have happened."""


class Replay:
    """One recording against one lab. Differences are in `findings` after `run`, what was compared in `counts`."""

    def __init__(self, name: str, events: Sequence[Event], lab: Lab, instructions: Instructions) -> None:
        self.name = name
        self.events = list(events)
        self.lab = lab
        self.instructions = instructions
        self.findings: list[Finding] = []
        self.counts = Counts()
        self.omitted: set[int] = set()
        self.pacing = Pacing(self.events, lab)
        self.consoles = Consoles(lab.places, self.report)
        self.eyes = Eyes(lab)
        self.following: Following | None = None
        self.published_before: dict[int, int] = {}
        self.sender = ThreadPoolExecutor(1)
        self.under_way: dict[int, Future[Answer | NoAnswer]] = {}
        """By line, requests that were sent before the recording shows them."""
        self.standing = False
        """Whether the source stands still in some phase."""
        self.uses_disks = any(isinstance(event, Exchange) and _starts(event) for event in self.events)
        """Whether a machine of this recording ever runs."""

    def report(self, line: int, label: str, aspect: str, recorded: str, ours: str) -> None:
        self.findings.append(Finding(self.name, line, label, aspect, recorded, self.lab.places.recorded(ours)))

    def run(self) -> None:
        position = 0
        try:
            while position < len(self.events):
                event = self.events[position]
                if isinstance(event, StateSeen):
                    last, used = run_of_states(self.events, position)
                    self._await(last.line, last.port, last.state)
                    position += used
                    continue
                together = polled_meanwhile(self.events, position) or burst(self.events, position)
                if len(together) > 1:
                    self._burst(together)
                    position += len(together)
                    continue
                self._replay(event, position)
                position += 1
        finally:
            if self.following:
                for watcher in self.following.watchers.values():
                    watcher.stopping.set()
            self.sender.shutdown(wait=False, cancel_futures=True)
            self.consoles.close()
            self.counts.frames = self.consoles.frames

    @singledispatchmethod
    def _replay(self, event: Event, position: int) -> None:
        raise TypeError(f"no replay of {type(event).__name__} at {self.name}:{event.line}, event {position}")

    @_replay.register
    def _on_note(self, event: Note, position: int) -> None:
        if self.standing:
            self.lab.faults_of(SERVERS[0]).write_text("{}", encoding="utf-8")
            self.standing = False
        if found := SIGNALLED.fullmatch(event.text):
            self.lab.processes[found[2]].popen.send_signal(int(found[1]))
        elif CAUGHT.fullmatch(event.text):
            self._ask_before(event, position)
            if SERVERS[0] in self.lab.processes and "stall" in self.lab.faults_of(SERVERS[0]).read_text("utf-8"):
                self.standing = True
                self._await(event.line, next(iter(self.pacing.names)), "Migrating")

    def _ask_before(self, event: Note, position: int) -> None:
        """Send the request that was under way when this was remarked, and is written down where it was answered."""
        asked = [one for one in self.events[position:] if isinstance(one, Exchange) and one.at < event.at]
        for one in asked:
            self.under_way[one.line] = self.sender.submit(self._send, one)

    @_replay.register(Polled | Monitored | DiskWatched)
    def _on_event(self, event: Event, position: int) -> None:
        """Remarks say nothing to do; what others saw is compared with the migration that they watched."""

    # -- processes -----------------------------------------------------------------------------------------------------

    @_replay.register
    def _on_up(self, event: Up, position: int) -> None:
        self.pacing.names = dict(zip(event.servers, SERVERS, strict=True))
        self.pacing.names |= dict.fromkeys(third_servers(self.events), THIRD)
        if self.uses_disks:
            self.lab.up_downstairs(event.downstairs)
        remark = self._remark(position)
        paths = [path for words, path in self.instructions.bootroms.items() if words in remark]
        bootrom = paths[0] if paths else self.lab.places.here("STATE/bootrom.bin")
        for port, name in self.pacing.names.items():
            if port in self._used_from(position):
                self.lab.up_server(name, port, bootrom)

    def _used_from(self, position: int) -> set[int]:
        """The ports that are asked before the servers are ended."""
        used = set()
        for event in self.events[position:]:
            if isinstance(event, Down) and "srvA" in event.names:
                break
            if isinstance(event, Exchange | Opening):
                used.add(event.request.port)
            if isinstance(event, Exchange) and '"MigrationTarget"' in event.request.body:
                used |= set(self.pacing.names)
        return used

    @_replay.register
    def _on_down(self, event: Down, position: int) -> None:
        self._end_following()
        self.consoles.check_unheard()
        for name in list(self.lab.processes) if event.names == ("all",) else event.names:
            self.lab.down(name)

    @_replay.register
    def _on_killed(self, event: Killed, position: int) -> None:
        self.lab.kill(event.name)

    @_replay.register
    def _on_region_made(self, event: RegionMade, position: int) -> None:
        """Nothing yet: the region is made, with this id, when its downstairs starts."""
        following = next(later for later in self.events[position:] if isinstance(later, Started))
        self.lab.regions[following.port] = event.id

    @_replay.register
    def _on_started(self, event: Started, position: int) -> None:
        self.lab.up_downstairs((event.port,), int(event.name[2:]))

    @_replay.register
    def _on_looked(self, event: Looked, position: int) -> None:
        for look in event.looks:
            named = self.pacing.names[look.server] if isinstance(look.server, int) else look.server
            names = list(SERVERS) if named is None else [named]
            self.counts.disk_looks += 1
            if not self.eyes.explained(look, names):
                self.report(event.line, f"look at {named}", "disk", f"{look.state} {look.disk}", self.eyes.shown(names))

    @_replay.register
    def _on_alive(self, event: Alive, position: int) -> None:
        if self._is_omitted(event.line):
            return
        for name, expected in event.alive.items():
            process = self.lab.processes.get(name)
            # Its connections end a moment before a dying process does; the recording looked seconds later.
            alive = process is not None and (process.alive if expected else not process.ends(PATIENCE))
            if alive != expected:
                self.report(event.line, f"alive {name}", "process", str(expected), str(alive))

    def _is_omitted(self, line: int) -> bool:
        if line in self.instructions.omitted:
            self.omitted.add(line)
            return True
        return False

    # -- requests ------------------------------------------------------------------------------------------------------

    @_replay.register
    def _on_exchange(self, event: Exchange, position: int) -> None:
        if self._is_omitted(event.line):
            return
        self._end_following()
        self._started_quietly(event)
        self.pacing.settle(event.at, event.request.port)
        if event.line in self.under_way:
            self._compare(event, self.under_way.pop(event.line).result(PATIENCE), 0)
            return
        if f"{STRANGER}:" in event.request.body:
            self.lab.up_stranger(next(iter(self.pacing.names)))
        elif '"MigrationTarget"' in event.request.body:
            self._until_stuck(event)
            self._follow(event, position)
        console_before = self._console_before(event)
        ours = self._send(event)
        if self._slept_before(event, position):
            ours = self._until_as_recorded(event, ours)
        self._compare(event, ours, console_before)
        self.consoles.count_request()

    def _until_stuck(self, event: Exchange) -> None:
        """Where a migration is asked for without a quorum of downstairs, the guest had written on for a second."""
        running = [name for name in self.lab.processes if name.startswith("ds")]
        port, source = next(iter(self.pacing.names.items()))
        if len(running) == 1 and not self.eyes.is_stuck(source, self.lab.places.ports[port]):
            self.report(event.line, "guest writes", "disk", "a write that nobody answers", "none")

    def _remark(self, position: int) -> str:
        """What the recorder said last before this event."""
        return next((event.text for event in reversed(self.events[:position]) if isinstance(event, Note)), "")

    def _slept_before(self, event: Exchange, position: int) -> bool:
        """Whether the recording had waited, or had changed nothing at this server, before it asked how things stand."""
        tells_now = event.request.method == "GET" and event.request.path.endswith(("/instance", "status"))
        if not tells_now or self.pacing.clock is not None:  # with a clock, that was waited for already
            return False
        before = [one for one in self.events[:position] if isinstance(one, Exchange | Opening)]
        while before and isinstance(before[-1], Exchange) and event.at - before[-1].at < SLEPT:
            if before[-1].request.method != "GET" and before[-1].request.port == event.request.port:
                return False
            before.pop()
        return True

    def _until_as_recorded(self, event: Exchange, ours: Answer | NoAnswer) -> Answer | NoAnswer:
        """The answer that came in the end, asked for until it is the recorded one."""
        last = ours

        def same() -> bool:
            nonlocal last
            if not compare_answers(event.answer, last, self.lab.places):
                return True
            last = self._send(event)
            return False

        wait_until(same, PATIENCE, 0.1)
        return last

    def _started_quietly(self, event: Exchange) -> None:
        """A server that has ended and answers again was started meanwhile, though the recording does not say so."""
        port = event.request.port
        name = self.pacing.names[port]
        if name in self.lab.processes and not self.lab.processes[name].alive:
            self.lab.down(name)
        if isinstance(event.answer, Answer) and name not in self.lab.processes:
            self.lab.up_server(name, port, self.lab.places.here("STATE/bootrom.bin"))

    def _burst(self, together: Sequence[Exchange]) -> None:
        self._end_following()
        self.pacing.settle(together[0].at, together[0].request.port)
        requests = [self._here(event) for event in together]
        if requests[-1].method == "GET":
            answers = send_ahead(ADDRESS, requests[1], requests[0], PATIENCE)
        else:
            answers = send_together(ADDRESS, requests, PATIENCE)
        for event, ours in zip(together, answers, strict=True):
            self._compare(event, ours, 0)

    def _send(self, event: Exchange) -> Answer | NoAnswer:
        quiet = isinstance(event.answer, NoAnswer) and event.answer.reason.startswith("TimeoutError")
        return send(ADDRESS, self._here(event), QUIET if quiet else PATIENCE)

    def _here(self, event: Exchange) -> Request:
        """The recorded request as it must be sent here."""
        here = self.lab.places.here
        body = here(self.instructions.bodies.get(event.line, event.request.body))
        headers = tuple((key, here(value)) for key, value in event.request.headers)
        port = self.lab.places.ports[event.request.port]
        return replace(event.request, port=port, headers=headers, body=body)

    def _compare(self, event: Exchange, ours: Answer | NoAnswer, console_before: int) -> None:
        self.counts.exchanges += 1
        self._contract(event, ours)
        differing = compare_answers(event.answer, ours, self.lab.places)
        if _gives_history(event) and isinstance(ours, Answer) and ours.status == 200:
            for aspect in ("body", "headers"):
                differing.pop(aspect, None)
            whole = console(self.lab.places.ports[event.request.port])
            totals = range(console_before, len(whole) + 1)
            if problem := history_problem(event.request.target, ours.body, whole, totals):
                differing["history"] = ("the asked-for part of the console", problem)
        for aspect, pair in differing.items():
            self.report(event.line, event.label, aspect, *pair)

    def _contract(self, event: Exchange, ours: Answer | NoAnswer) -> None:
        """Whatever is answered must be what the API document of the asked-for version allows."""
        version = dict(event.request.headers).get("api-version", "")
        if isinstance(ours, NoAnswer) or version not in VERSIONS:
            return
        method, target = event.request.method, event.request.target
        try:
            find_operation(document(version), method, target)
        except LookupError:
            return
        try:
            validate_answer(document(version), method, target, ours.status, ours.body.encode())
        except ContractError as error:
            self.report(event.line, event.label, "contract", f"an answer of API {version}", str(error))
        self.counts.contracts += 1

    def _console_before(self, event: Exchange) -> int:
        """Wait until the console is as long as the recorded answer needs; its length then."""
        if not _gives_history(event) or not isinstance(event.answer, Answer):
            return 0
        numbers = [int(number) for number in re.findall(r"=(\d+)", event.request.target)]
        needed = sum(number for number in numbers if number < 1000) if json.loads(event.answer.body)["data"] else 0
        port = self.lab.places.ports[event.request.port]
        wait_until(lambda: len(console(port)) >= needed, PATIENCE, 0.05)
        return len(console(port))

    # -- consoles ------------------------------------------------------------------------------------------------------

    @_replay.register
    def _on_opening(self, event: Opening, position: int) -> None:
        self._end_following()
        self.pacing.settle(event.at, event.request.port)
        self.counts.websockets += 1
        self.consoles.open(event, shows_output=shows_output(self.events, position), remark=self._remark(position))

    @_replay.register
    def _on_frame(self, event: Frame, position: int) -> None:
        port = self.consoles.all[-1].opening.request.port
        if event.from_client and event.payload.startswith(USES_DISK):
            if not self.pacing.has_written(port):
                self.report(event.line, "guest writes", "disk", "a flushed write on all regions", "none")
            return
        if event.from_client and event.payload == FLUSHES:
            if not self.eyes.has_flushed(self.pacing.names[port]):
                self.report(event.line, "guest writes", "disk", "a flushed write", "none")
            return
        if event.from_client and event.payload.startswith(OF_OTHER_GUEST):
            return
        if event.from_client:
            self.pacing.settle(event.at, port)
        self.consoles.frame(event)

    @_replay.register
    def _on_websocket_end(self, event: WebsocketEnd, position: int) -> None:
        self.consoles.ended(event)

    # -- states and logs -----------------------------------------------------------------------------------------------

    def _await(self, line: int, port: int, state: str) -> None:
        if not self.pacing.reaches(port, state):
            found = instance_state(self.lab.places.ports[port])
            self.report(line, f"state of :{port}", "state", state, str(found))

    @_replay.register
    def _on_state_missed(self, event: StateMissed, position: int) -> None:
        found = instance_state(self.lab.places.ports[event.port])
        if found != event.found:
            self.report(event.line, f"state of :{event.port}", "state", event.found, str(found))

    @_replay.register
    def _on_outcome(self, event: Outcome, position: int) -> None:
        for port, state in zip(self.pacing.names, (event.source, event.destination), strict=True):
            self._await(event.line, port, state)

    @_replay.register
    def _on_log_lines(self, event: LogLines, position: int) -> None:
        self._end_following()

        def is_said() -> bool:
            output = self.lab.output_of(event.program)
            return compare_course(event, output, self.lab.places, lambda *_unused: None)

        wait_until(is_said, LOOKED, 0.1)  # the recorder looked a second after what it asked last, or more
        output, outlives = self.lab.output_of(event.program), self.lab.newest_log
        if self._is_omitted(event.line):
            compare_course(event, output, self.lab.places, self.report)
        else:
            compare_logs(event, output, self.lab.places, self.report, outlives=outlives)

    @_replay.register
    def _on_published(self, event: Published, position: int) -> None:
        name = next(name for name, table in self.pacing.tables.items() if table is event)
        self.counts.publications += len(event.publications)
        if differing := compare_order(event.publications, publications(self.lab.output_of(name))):
            self.report(event.line, f"published by {name}", "order", *differing)

    # -- migrations ----------------------------------------------------------------------------------------------------

    def _follow(self, event: Exchange, position: int) -> None:
        watchers = {port: Watcher(self.lab.places.ports[port]) for port in self.pacing.names}
        port = event.request.port
        story = self.eyes.fresh_story(self.pacing.names[port])
        self.following = Following(event.line, watchers, self._watched(position), port, story)
        self.counts.migrations += 1
        for port, name in self.pacing.names.items():
            self.published_before[port] = len(publications(self.lab.output_of(name)))
        for watcher in watchers.values():
            watcher.start()

    def _watched(self, position: int) -> list[Polled | Monitored | DiskWatched]:
        """What the recording's own watchers saw around the request at `position`."""

        def belongs(event: Event) -> bool:
            return not isinstance(event, Exchange | Opening | Up | Down)

        start, end = position, position + 1
        while start > 0 and isinstance(self.events[start - 1], Polled | Monitored | DiskWatched):
            start -= 1
        while end < len(self.events) and belongs(self.events[end]):
            end += 1
        return [event for event in self.events[start:end] if isinstance(event, Polled | Monitored | DiskWatched)]

    def _end_following(self) -> None:
        if not self.following:
            return
        following, self.following = self.following, None
        orders = {}
        for port, watcher in following.watchers.items():
            watcher.stop(at_end=following.saw_end(port))
            everything = publications(self.lab.output_of(self.pacing.names[port]))
            orders[port] = everything[max(0, self.published_before[port] - 1) :]
        following.check(orders, self.report)
        self.counts.looks += following.looks


def _starts(event: Exchange) -> bool:
    accepted = isinstance(event.answer, Answer) and event.answer.status < 300
    return accepted and event.request.body == '"Run"'


def _gives_history(event: Exchange) -> bool:
    answered = isinstance(event.answer, Answer) and event.answer.status == 200
    return answered and event.request.path == "/instance/serial/history"
