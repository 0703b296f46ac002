# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's downstairs against recordings of the real one: the client halves are replayed, the answers compared.

Only the repair addresses are not compared: the ports are others here.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import wire_recordings as wire
from downstairs_harness import Client, Running, make_region, start
from propolis_lab.downstairs.options import Mode
from propolis_lab.protocol.basics import SocketAddress
from propolis_lab.protocol.codec import decode, encode, frame_length
from propolis_lab.protocol.messages import (
    ExtentLiveRepair,
    ExtentRepair,
    HereIAm,
    Message,
    RegionInfo,
    YesItsMe,
)
from propolis_lab.region import Region, context_of
from shared import needs_shared

pytestmark = needs_shared
NAMES = wire.names()


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_frame_decodes_and_encodes_to_the_same_bytes(name: str) -> None:
    seen = 0
    for event in wire.events(name):
        if event.kind not in ("send", "reply") or not event.whole:
            continue
        assert frame_length(event.frame) == len(event.frame)
        message = decode(event.frame[4:])
        assert type(message).__name__ == event.name
        assert message.sender == ("upstairs" if event.kind == "send" else "downstairs")
        assert encode(message) == event.frame
        seen += 1
    assert seen > 20


@pytest.mark.parametrize("name", NAMES)
def test_every_line_of_a_recording_is_a_frame_a_connection_or_a_note(name: str) -> None:
    lines = (wire.FOLDER / f"{name}.txt").read_text("utf-8").splitlines()
    assert len(lines) == len(list(wire.events(name)))
    assert sum(line[0] in "<>" for line in lines) == sum(bool(event.frame) for event in wire.events(name))


def test_what_is_kept_of_shortened_frames_is_written_alike_too() -> None:
    shortened = [event for event in wire.events("h-live-repair") if event.frame and not event.whole]
    assert len(shortened) == wire.coverage().shortened == 39
    for event in shortened:
        message = decode(event.frame[4:] + bytes(frame_length(event.frame) - len(event.frame)))
        assert type(message).__name__ == event.name
        assert encode(message)[4 : len(event.frame)] == event.frame[4:]


def test_the_recordings_hold_37_of_the_42_messages() -> None:
    found = wire.coverage()
    print(found)
    assert set(found.missing) == {"ExtentError", "WriteUnwritten", "WriteUnwrittenAck", "ErrorReport", "Unknown"}
    assert (found.messages, found.frames) == (42, 1088)


class Replay:
    """The client halves of one recording against three downstairs of ours."""

    def __init__(self, name: str, regions: list[Path], **options: Any) -> None:
        self.events = list(wire.events(name))
        self.regions = regions
        self.options = options
        self.running: dict[int, Running] = {}
        self.clients: dict[tuple[int, int], Client] = {}
        self.numbers: dict[tuple[int, int], int] = {}
        self.sessions: dict[tuple[int, int], str] = {}
        self.accepted: Counter[int] = Counter()
        self.closed: set[tuple[int, int]] = set()
        self.compared = 0

    async def run(self) -> None:
        try:
            for event in self.events:
                await self._step(event)
        finally:
            for client in self.clients.values():
                client.stream.abort()
            for running in self.running.values():
                await running.stop()

    async def _step(self, event: wire.Event) -> None:
        if event.kind == "note":
            await self._note(event.name)
        elif event.kind == "connected":
            if event.replica not in self.running:
                self.running[event.replica] = await start(self.regions[event.replica], **self.options)
            self.clients[event.key] = await Client.connect(self.running[event.replica].port)
            self.numbers[event.key] = self.accepted[event.replica]
            self.accepted[event.replica] += 1
        elif event.kind == "send":
            message = self._readdressed(decode(event.frame[4:]))
            if isinstance(message, HereIAm):
                self.sessions[event.key] = str(message.session_id)
            self.clients[event.key].send(message)
        elif event.kind == "reply":
            expected = decode(event.frame[4:])
            found = await self.clients[event.key].next()
            assert _masked(found) == _masked(expected), f"on connection {event.key}"
            self.compared += 1
        elif event.kind == "downstairs closed":
            if event.key in self.closed:  # what was still under way to the upstairs then was not recorded
                return
            assert await self.clients[event.key].next() is None, f"connection {event.key} was to be closed"
        else:
            await self._upstairs_closes(event)

    async def _upstairs_closes(self, event: wire.Event) -> None:
        """Close, unless the recorded downstairs had closed before."""
        before = self.events[: self.events.index(event)]
        running = self.running[event.replica]
        if running.task.done() or any(other.kind == "downstairs closed" and other.key == event.key for other in before):
            return
        self.closed.add(event.key)
        await self.clients[event.key].close()
        put_out = f"session_id: {self.sessions.get(event.key)}"
        if not any("shutting down connection for" in text and put_out in text for text in running.messages()):
            await running.said(f"(ConnectionId({self.numbers[event.key]})) removed")

    async def _note(self, text: str) -> None:
        if text.endswith(" killed"):
            await self.running[int(text[2])].stop()
        elif text.endswith(" restarted"):
            replica = int(text[2])
            port = self.running[replica].port
            self.accepted[replica] = 0
            self.running[replica] = await start(self.regions[replica], **{**self.options, "port": port})

    def _readdressed(self, message: Message) -> Message:
        if isinstance(message, ExtentRepair | ExtentLiveRepair):
            port = self.running[message.source_client_id].port + 4000
            return replace(message, source_repair_address=SocketAddress(ip_address("127.0.0.1"), port))
        return message


def _masked(message: Message | None) -> Message | None:
    return replace(message, repair_addr=None) if isinstance(message, YesItsMe) else message  # type: ignore[arg-type]


def _fresh(folder: Path, name: str, replicas: int = 3) -> list[Path]:
    """Regions with the ids and the encryption of those in a recording."""
    infos = {
        event.replica: message.definition
        for event in wire.events(name)
        if event.name == "RegionInfo" and isinstance(message := decode(event.frame[4:]), RegionInfo)
    }
    return [
        make_region(folder / f"ds{number}", uuid=str(infos[number].uuid), encrypted=infos[number].encrypted)
        for number in range(replicas)
    ]


def _replay(name: str, regions: list[Path], **options: Any) -> Replay:
    replay = Replay(name, regions, **options)
    asyncio.run(replay.run())
    assert replay.compared > 5
    return replay


def _extent_0(region: Path) -> bytes:
    return (region / "00" / "000" / "000").read_bytes()


def _kept(region: Path, name: str) -> Path:
    return Path(shutil.copytree(region, region.with_name(name)))


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """The regions after each of the recordings that were made one after the other on the same three replicas."""
    folder = tmp_path_factory.mktemp("history")
    regions = _fresh(folder, "a-write")
    after = {"fresh": [_kept(region, f"{region.name}-fresh") for region in regions]}
    for name in ("a-write", "b-read", "c-read-unwritten", "d-low-generation", "a2-overwrite-gen2"):
        _replay(name, regions)
        after[name] = [_kept(region, f"{region.name}-{name}") for region in regions]
    return after


@pytest.mark.parametrize(
    ("when", "recorded"),
    [
        ("fresh", "1-fresh"),
        ("a-write", "3-write-gen1"),
        ("d-low-generation", "3-write-gen1"),
        ("a2-overwrite-gen2", "4-overwrite-gen2"),
    ],
)
def test_replayed_writes_get_the_recorded_answers_and_leave_the_recorded_bytes(
    history: dict[str, list[Path]], when: str, recorded: str
) -> None:
    for region in history[when]:
        assert _extent_0(region) == wire.extent(recorded)


@pytest.mark.parametrize(
    "name",
    ["e1-same-gen-other-upstairs-id", "e2-same-gen-same-upstairs-id", "e3-takeover-higher-generation"],
)
def test_replayed_rivals_get_the_recorded_answers_the_real_fault_included(tmp_path: Path, name: str) -> None:
    _replay(name, _fresh(tmp_path, name))


def test_a_replayed_encrypted_session_gets_the_recorded_answers_and_leaves_the_recorded_bytes(tmp_path: Path) -> None:
    regions = _fresh(tmp_path, "f-encrypted")
    _replay("f-encrypted", regions)
    assert _extent_0(regions[0]) == wire.extent("8-encrypted-gen1")


def test_a_replayed_reconciliation_gets_the_recorded_answers_and_makes_the_replicas_equal(
    tmp_path: Path, history: dict[str, list[Path]]
) -> None:
    names = ("a2-overwrite-gen2", "d-low-generation", "a2-overwrite-gen2")
    regions = [
        Path(shutil.copytree(history[name][number], tmp_path / f"ds{number}")) for number, name in enumerate(names)
    ]
    assert _extent_0(regions[1]) != _extent_0(regions[0])
    _replay("g-reconcile", regions)
    assert {_extent_0(region) for region in regions} == {wire.extent("4-overwrite-gen2")}


def test_a_replayed_read_only_downstairs_gives_the_recorded_answers(
    tmp_path: Path, history: dict[str, list[Path]]
) -> None:
    regions = [Path(shutil.copytree(history["a-write"][number], tmp_path / f"ds{number}")) for number in range(3)]
    _replay("i-read-only", regions, mode=Mode.READ_ONLY)


def test_a_replayed_return_after_a_kill_gets_the_recorded_answers(tmp_path: Path) -> None:
    regions = _fresh(tmp_path, "j-replay-lastflush")
    _replay("j-replay-lastflush", regions)
    assert len({_extent_0(region) for region in regions}) == 1


def test_hand_made_errors_get_the_recorded_answers(tmp_path: Path) -> None:
    _replay("k-errors", _fresh(tmp_path, "k-errors", 1))


LIVE_REPAIR = [
    "HereIAm",
    "YesItsMe",
    "PromoteToActive",
    "YouAreNowActive",
    "RegionInfoPlease",
    "RegionInfo",
    "ExtentVersionsPlease",
    "ExtentVersions",
    "ExtentLiveClose",
    "ExtentLiveFlushClose",
    "ExtentLiveCloseAck",
    "ExtentLiveRepair",
    "ExtentLiveRepairAckId",
    "ExtentLiveNoOp",
    "ExtentLiveReopen",
    "ExtentLiveAckId",
]


class LiveRepairReplay(Replay):
    """The live repair of extent 0; the recording left out most reads and writes around it, and the other extents."""

    def __init__(self, regions: list[Path]) -> None:
        super().__init__("h-live-repair", regions)
        end = next(number for number, event in enumerate(self.events) if event.name.startswith("--- extents 1, 2"))
        # The first session of the replica that was killed, and all sessions' numbers before, are not of interest.
        self.events = [
            replace(event, connection=1)
            for event in self.events[:end]
            if (event.kind == "connected" or event.name in LIVE_REPAIR)
            and event.key in ((0, 1), (1, 2), (2, 1))
            and not (event.name == "ExtentVersions" and event.replica != 1)
            and not (event.name.startswith("ExtentLive") and event.frame and _extent_of(event) not in (0, None))
        ]

    async def _step(self, event: wire.Event) -> None:
        await super()._step(event)
        if event.name == "ExtentVersionsPlease" and event.replica != 1:
            await self.clients[event.key].next()  # their numbers have grown since the recorded ones


def _extent_of(event: wire.Event) -> int | None:
    return getattr(decode(event.frame[4:]), "extent_id", None)


def test_a_replayed_live_repair_gets_the_recorded_answers_and_makes_the_replicas_equal(tmp_path: Path) -> None:
    regions = _fresh(tmp_path, "h-live-repair")
    for number, path in enumerate(regions):
        region = Region.open(path)
        data = bytes([number]) * 512
        for extent, flush in enumerate((0xF1, 0xF2, 0xF2, 0xF2) if number == 1 else (0x5B6,) * 4):
            region.write(extent * 16, [context_of(data)], data)
            region.extent_flush(extent, flush, 1)
            if number == 1 and extent < 3:
                region.write(extent * 16 + 1, [context_of(data)], data)
        region.close()
    shutil.copy(regions[2] / "00" / "000" / "000", regions[0] / "00" / "000" / "000")
    replay = LiveRepairReplay(regions)
    asyncio.run(replay.run())
    assert replay.compared >= 20
    assert len({_extent_0(region) for region in regions}) == 1
