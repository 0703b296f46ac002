# SPDX-License-Identifier: GPL-3.0-or-later
"""Our status has the recorded shape: every recorded ``volume_info``, read into our types, comes out the same."""

from __future__ import annotations

import json
import re
from ipaddress import ip_address
from typing import Any
from uuid import UUID

import pytest
from propolis_lab.protocol.basics import SocketAddress
from propolis_lab.upstairs.status import (
    Mode,
    Phase,
    RegionSetStatus,
    TargetStatus,
    UpstairsState,
    VolumeStatus,
)
from shared import needs_shared, recordings

pytestmark = needs_shared
LINE = re.compile(r'^\{"volume_info":(\{"volume":.*\})\}$', re.MULTILINE)


def recorded() -> list[str]:
    """All different ``volume_info`` texts of the recorded sessions."""
    found: dict[str, None] = {}
    for path in sorted((recordings / "transcripts" / "propolis").glob("*.txt")):
        found.update(dict.fromkeys(LINE.findall(path.read_text("utf-8"))))
    return list(found)


def address(text: str | None) -> SocketAddress | None:
    if text is None:
        return None
    host, _unused, port = text.rpartition(":")
    return SocketAddress(ip_address(host), int(port))


def target(found: dict[str, Any]) -> TargetStatus:
    state = found["state"]
    phase = Phase(state["state"] if state["type"] == "connecting" else state["type"])
    region = None if found["region_id"] is None else UUID(found["region_id"])
    where = address(found["target_addr"])
    assert where is not None
    mode = Mode(state.get("mode", "new"))
    return TargetStatus(region, where, address(found["repair_addr"]), phase, mode)


def piece(found: dict[str, Any]) -> RegionSetStatus | VolumeStatus:
    if "volume" in found:
        parent = found["volume"]["read_only_parent"]
        pieces = tuple(piece(one) for one in found["volume"]["sub_volumes"])
        return VolumeStatus(pieces, None if parent is None else piece(parent))
    inner = found["upstairs"]
    return RegionSetStatus(
        UpstairsState(inner["state"]),
        inner["block_size"],
        UUID(inner["upstairs_id"]),
        UUID(inner["session_id"]),
        inner["generation"],
        inner["read_only"],
        inner["encrypted"],
        inner["reconcile_in_progress"],
        inner["live_repair_in_progress"],
        tuple(target(one) for one in inner["targets"]),
    )


@pytest.mark.parametrize("text", recorded())
def test_every_recorded_status_comes_out_of_our_types_byte_for_byte(text: str) -> None:
    assert json.dumps(piece(json.loads(text)).to_json(), separators=(",", ":")) == text


def test_there_are_recorded_states_of_all_kinds() -> None:
    seen = {match for text in recorded() for match in re.findall(r'"state":"(\w+)"', text)}
    assert {"initializing", "go_active", "active", "disabled", "wait_connect", "negotiating", "wait_quorum"} <= seen
