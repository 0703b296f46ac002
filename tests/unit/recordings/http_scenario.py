# SPDX-License-Identifier: GPL-3.0-or-later
"""What a replay is given and what it gives: the lab for a recording, its pieces, instructions, and counts."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recordings.http_events import Answer, Down, Event, Exchange, LogLines, Note, Opening, Up
from recordings.http_lab import Lab
from recordings.http_ports import Ports

SERVERS = ("srvA", "srvB")
"""The recorded names of the servers, in the order of their ports."""
THIRD = "srvC"

CAUGHT = re.compile(r"caught :(\d+) migration_in=(\w+)")
KILLED = re.compile(r"kill -9 (srv[AB]) pid \d+")
SIGNALLED = re.compile(r"signal (\d+) to (srv[AB])")
FIXED = "with FIX_NVME_IMPORT=1"
"""Remarks on what was done to a server, or with one that had a fault of the real program mended."""


@dataclass
class Counts:
    """How much one replay compared."""

    exchanges: int = 0
    contracts: int = 0
    websockets: int = 0
    frames: int = 0
    publications: int = 0
    migrations: int = 0
    looks: int = 0
    disk_looks: int = 0


@dataclass(frozen=True)
class Instructions:
    """What a replay must know beside the recording: lines of exchanges not to send, whole bodies of cut requests by
    line, and the bootrom path after a remark with these words."""

    omitted: frozenset[int] = frozenset()
    bodies: Mapping[int, str] = field(default_factory=dict)
    bootroms: Mapping[str, str] = field(default_factory=dict)


def pieces(events: Sequence[Event]) -> list[list[Event]]:
    """The parts of a recording between which all servers were started anew; each can be replayed by itself."""
    found: list[list[Event]] = [[]]
    for event in events:
        found[-1].append(event)
        if isinstance(event, Down) and (event.names == ("all",) or set(SERVERS) <= set(event.names)):
            found.append([])
    return [piece for piece in found if any(isinstance(event, Exchange | Opening) for event in piece)]


def prepare(events: Sequence[Event], folder: Path) -> Lab:
    """A lab for this recording: ports chosen, nothing running yet."""
    folder.mkdir(exist_ok=True)
    servers = {port for event in events if isinstance(event, Up) for port in event.servers} | third_servers(events)
    downstairs = {port for event in events if isinstance(event, Up) for port in event.downstairs}
    mentioned = {port for event in events if isinstance(event, Exchange) for port in _targets(event.request.body)}
    ports = Ports.choose(servers, downstairs | (mentioned - servers))
    (folder / "bootrom.bin").write_bytes(b"\0" * 4096)
    return Lab(folder, ports, recorded_regions(events, downstairs), faults=recorded_faults(events))


def third_servers(events: Sequence[Event]) -> set[int]:
    """The ports of servers that the recorder started by hand beside the two."""
    usual = {port for event in events if isinstance(event, Up) for port in event.servers}
    used = {event.request.port for event in events if isinstance(event, Exchange | Opening)}
    return used - usual


def recorded_faults(events: Sequence[Event]) -> dict[str, str]:
    """By server, the lab's faults that make it do what the recorded one did.

    The recorder caught a destination in some phase. Where it killed a server then, that one dies in this phase; where
    it did something else, the source stands still in this phase until that is done.
    """
    found: dict[str, str] = {}
    caught = ""
    for event in events:
        if not isinstance(event, Note):
            continue
        if FIXED in event.text:
            found.update(dict.fromkeys(SERVERS, json.dumps({"nvme_stall_seconds": 0})))
        if phase := CAUGHT.fullmatch(event.text):
            caught = phase[2]
            if not any(isinstance(other, Note) and KILLED.fullmatch(other.text) for other in events):
                step = {"side": "source", "phase": caught, "action": "stall"}
                found[SERVERS[0]] = json.dumps({"steps": [step]})
        elif caught and (killed := KILLED.fullmatch(event.text)):
            side = "source" if killed[1] == SERVERS[0] else "destination"
            step = {"side": side, "action": "die", **_place(caught, events)}
            found.setdefault(killed[1], json.dumps({"steps": [step]}))
    return found


def _place(caught: str, events: Sequence[Event]) -> dict[str, str]:
    """Where the step is of which a server dies that was caught in this phase: the logs tell how far it had come."""
    said = [line for event in events if isinstance(event, LogLines) for line in event.lines]
    if caught == "Sync":
        # A destination shows Sync from the moment in which it is asked, before it has asked the source.
        met = any("destination side did not begin migration version handshake" in line for line in said)
        return {"phase": "Negotiate" if met else "Connect"}
    # A destination asks the source in the moment in which it shows RamPull, and shows it until it is answered.
    return {"phase": caught, "at": "end" if caught == "RamPull" else "begin"}


def recorded_regions(events: Sequence[Event], downstairs: set[int]) -> dict[int, str]:
    """The region id behind each recorded downstairs port, from the disk statuses; a new one where none is shown."""
    found = {port: str(uuid.uuid4()) for port in downstairs}
    pattern = r'"region_id":"([0-9a-f-]{36})","target_addr":"127\.0\.0\.1:(\d+)"'
    for event in events:
        if isinstance(event, Exchange) and isinstance(event.answer, Answer):
            found.update({int(port): region for region, port in re.findall(pattern, event.answer.body)})
    return found


def _targets(body: str) -> list[int]:
    return [int(port) for port in re.findall(r"127\.0\.0\.1:([1-5]\d{3}|\d{5})\b", body)]
