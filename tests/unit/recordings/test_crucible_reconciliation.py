# SPDX-License-Identifier: GPL-3.0-or-later
"""From what the recorded replicas said of their extents, our upstairs makes the list of steps that the real one did."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import pytest
from propolis_lab.protocol.basics import SocketAddress
from propolis_lab.protocol.messages import (
    ExtentClose,
    ExtentFlush,
    ExtentReopen,
    ExtentRepair,
    ExtentVersions,
    RepairAckId,
    RepairMessage,
)
from propolis_lab.upstairs.reconcile import Mend, Reconciliation, collate
from recordings.crucible_transcript import read_today
from shared import needs_shared, recordings

pytestmark = needs_shared

NEEDS = re.compile(r"extent (\d+) needs reconciliation: (.*)")
METADATA = re.compile(r"generation: (\d+), flush: (\d+), dirty: (\w+)")
FIX = re.compile(r"ExtentId\((\d+)\): ExtentFix \{ source: ClientId\((\d)\), dest: \[([^]]*)\] \}")
TASK = re.compile(r"op: (\w+) \{ repair_id: ReconciliationId\((\d+)\), extent_id: ExtentId\((\d+)\)(.*?) \}, state")
LOOKS = {
    "r-wild": ("07-wildcard-repair-address", "messages of r-wild.log that match /[Rr]econ|", 2),
    "r-addr": ("07-wildcard-repair-address", "messages of r-addr.log that match /[Rr]econ|", 2),
    "R": ("04-fencing-and-repair", "messages of R.log that match /[Rr]econcil|", 4),
}
"""By the log of a recorded upstairs: the recording, the look into the log, and how many extents the regions have."""


class Acknowledging:
    """A target that says of each step that it is done, and notes who was sent what."""

    def __init__(self, index: int, repair_address: SocketAddress, sent: list[tuple[int, RepairMessage]]) -> None:
        self.index = index
        self.repair_address = repair_address
        self.reconciliation: Reconciliation
        self._sent = sent

    def send(self, message: RepairMessage) -> None:
        self._sent.append((self.index, message))
        asyncio.get_running_loop().call_soon(self._acknowledge, RepairAckId(message.repair_id))

    def _acknowledge(self, message: RepairAckId) -> None:
        self.reconciliation.on_message(self, message)  # type: ignore[arg-type]  # no target, but all that is asked of one


def log(name: str) -> str:
    recording, look, _unused = LOOKS[name]
    steps = read_today(recordings / "transcripts" / "crucible" / f"{recording}.txt")
    return next(step.stdout or "" for step in steps if step.name.startswith(look))


def versions(text: str, extents: int) -> list[ExtentVersions]:
    """What the three replicas said; equal extents are not in the log, and count as never written."""
    rows = [[(0, 0, False)] * 3 for _unused in range(extents)]
    for extent, found in NEEDS.findall(text):
        rows[int(extent)] = [(int(gen), int(flush), dirty == "true") for gen, flush, dirty in METADATA.findall(found)]
    columns = [list(zip(*(row[number] for row in rows), strict=True)) for number in range(3)]
    return [ExtentVersions(*column) for column in columns]


def recorded_tasks(text: str) -> dict[int, list[str]]:
    """By extent its steps, in order, as the real upstairs listed them; their numbers count from the first one's."""
    tasks: dict[int, list[str]] = {}
    for operation, number, extent, details in TASK.findall(text):
        steps = tasks.setdefault(int(extent), [])
        assert int(number) % 4 == len(steps), "the steps of an extent have four numbers in a row"
        steps.append(operation + details)
    return tasks


def as_listed(message: RepairMessage) -> str:
    """A step in the words of the real list."""
    match message:
        case ExtentFlush():
            numbers = f"flush_number: {message.flush_number}, gen_number: {message.generation}"
            return f"ExtentFlush, client_id: ClientId({message.client_id}), {numbers}"
        case ExtentRepair():
            source = f"source_client_id: ClientId({message.source_client_id})"
            clients = ", ".join(f"ClientId({number})" for number in message.dest_clients)
            address = f"source_repair_address: {message.source_repair_address}"
            return f"ExtentRepair, {source}, {address}, dest_clients: [{clients}]"
        case ExtentClose() | ExtentReopen():
            return type(message).__name__
    raise TypeError(type(message).__name__)


def performed(three: Sequence[ExtentVersions], address: SocketAddress) -> list[tuple[int, RepairMessage]]:
    """Who is sent what by our upstairs, when the good replica serves its extents at ``address``."""
    sent: list[tuple[int, RepairMessage]] = []
    targets: list[Any] = [Acknowledging(index, address, sent) for index in range(3)]

    async def run() -> None:
        reconciliation = Reconciliation(collate(three), targets, lambda text, details: None)
        for target in targets:
            target.reconciliation = reconciliation
        await reconciliation.run()

    asyncio.run(run())
    return sent


@pytest.mark.parametrize("name", LOOKS)
def test_what_differs_is_copied_from_and_to_the_replicas_that_the_real_upstairs_chose(name: str) -> None:
    text = log(name)
    recorded = {
        Mend(int(extent), int(source), tuple(map(int, re.findall(r"\d+", to))))
        for extent, source, to in FIX.findall(text)
    }
    assert recorded
    assert set(collate(versions(text, LOOKS[name][2])).mends) == recorded


@pytest.mark.parametrize("name", LOOKS)
def test_each_extent_is_reconciled_with_the_steps_numbers_and_address_of_the_recorded_list(name: str) -> None:
    text = log(name)
    found = re.search(r"source_repair_address: ([\d.]+):(\d+)", text)
    assert found is not None
    sent = performed(versions(text, LOOKS[name][2]), SocketAddress(ip_address(found[1]), int(found[2])))
    ours: dict[int, list[str]] = {}
    for number, message in sorted({message.repair_id: message for _unused, message in sent}.items()):
        extent: int = message.extent_id  # type: ignore[attr-defined]  # every step has one
        steps = ours.setdefault(extent, [])
        assert number % 4 == len(steps)
        steps.append(as_listed(message))
    assert ours == recorded_tasks(text)
    everybody = {index for index, message in sent if isinstance(message, ExtentClose)}
    assert everybody == {0, 1, 2}
    assert f"found {len(TASK.findall(text))} extents that need repair" in text
