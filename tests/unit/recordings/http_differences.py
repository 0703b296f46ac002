# SPDX-License-Identifier: GPL-3.0-or-later
"""All that differs on purpose between the recorded programs and the stand-ins, each with its reason.

A test fails when an entry of DIFFERENCES no longer differs, and when an entry of any list names nothing recorded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """What is answered otherwise: the recording's line, the aspect that differs, and what ours must contain."""

    recording: str
    line: int
    aspect: str
    ours: str
    reason: str


@dataclass(frozen=True)
class Race:
    """A moment at which the recording looked while things changed: ours may look a moment earlier or later."""

    recording: str
    line: int
    allowed: dict[str, tuple[str, ...]]
    """By aspect: texts, one of which ours contains when it differs."""
    reason: str


@dataclass(frozen=True)
class Omission:
    """Lines of a recording that are not replayed; of a log, the course of instances and migrations is compared all the
    same."""

    recording: str
    lines: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class Completion:
    """The end of a request that the recording cut; the length of the whole is recorded and is checked."""

    recording: str
    line: int
    tail: str


_DOORBELLS = "a guest whose write was under way rings two doorbells of its controller, the lab's guest but one"
DIFFERENCES: tuple[Difference, ...] = (
    Difference("c4-migration-disturbed", 1216, "course", "the submission queue specified (1) is invalid", _DOORBELLS),
    Difference("c4-migration-disturbed", 1216, "course", "nothing more", _DOORBELLS),
)

_DEAD_DESTINATION = "whether the source was writing or reading when its destination died was chance"
_READ = 'error=Codec("error occurred in websocket layer: '

_FIRST_TO_REFUSE = (
    "which of three downstairs refuses first, and so ends the start of a session, is chance; this is ds0's log"
)
_NEXT = (
    "upstairs UpstairsConnection { upstairs_id: bde9d2d4-f1c8-493a-853b-e35883737e78, session_id: <id>, "
    "generation: 32 } connected"
)
RACES = (
    Race(
        "b-http-api",
        2190,
        {
            "body": ('"state":"Stopping"', '"state":"Destroyed"'),
            "headers": ("content-length: 338", "content-length: 339"),
        },
        "the state is asked for in the moment after Stop, while the machine goes through three states",
    ),
    Race(
        "b2-ensure-failures",
        822,
        {"status": ("200 OK",), "headers": ("content-length: ",), "body": ('"state":"initializing"',)},
        "the disk is asked for in the moment after Run and Stop, before or after the machine is gone",
    ),
    Race("c5-migration-killed", 337, {"course": (_READ,)}, _DEAD_DESTINATION),
    Race("c6-migration-retry-and-hang", 321, {"course": (_READ,)}, _DEAD_DESTINATION),
    Race(
        "c5-migration-killed",
        146,
        {"course": ("Some(Err(Protocol(ResetWithoutClosingHandshake)))", "error=AlreadyClosed")},
        "of a source that refuses, the real destination finds the end (in c3 and c7) or the reset (here)",
    ),
    Race("e2-two-sessions", 416, {"messages": ("generation: 22 } is now active",)}, _FIRST_TO_REFUSE),
    Race(
        "e2-two-sessions",
        579,
        {"messages": (f"31 }} is now active (read-write)', '{_NEXT}", f"30 }} connected, version 13', '{_NEXT}")},
        _FIRST_TO_REFUSE,
    ),
)

OMISSIONS = (
    Omission(
        "c3-migration-failures",
        (1309, 1422),
        "the recorded log no longer begins with the first of the servers that wrote it, and ours does",
    ),
    Omission(
        "c2-migration-generation",
        (1087,),
        "the log spans four migrations, which are replayed each with its own downstairs",
    ),
    Omission(
        "c8-equal-generation-never-written",
        (418,),
        "the log spans two migrations, which are replayed each with its own downstairs",
    ),
    Omission(
        "b2-ensure-failures",
        (1422, 1434, 1435, 1445, 1457, 1467, 1479, 1491, 1502, 1514, 1524),
        "the recorded server died because its machine lacked a network library, which the lab does not use",
    ),
)

_A_BLOB = "A" * (4096 // 3 * 4 + 2 - 978) + '==", "readonly": true}}'
"""The rest of the base64 of 4096 zero bytes, of which 978 characters were kept."""
_BOOT = ', "boot-settings": {"type": "boot_settings", "component": {"order": [{"id": "disk0"}]}}}, "smbios": null}}}}'
_SHARED_VOLUME = "909e57c9-eeba-4e09-9ace-642108baf51b"
_SHARED_OPTIONS = {
    "id": _SHARED_VOLUME,
    "target": ["127.0.0.1:3810", "127.0.0.1:3820", "127.0.0.1:3830"],
    "lossy": False,
    **dict.fromkeys(("flush_timeout", "key", "cert_pem", "key_pem", "root_cert_pem", "control")),
    "read_only": False,
}
_SHARED_REGION = {
    "type": "region",
    "block_size": 512,
    "blocks_per_extent": 100,
    "extent_count": 20,
    "gen": 5,
    "opts": _SHARED_OPTIONS,
}
_SHARED_REQUEST = {
    "type": "volume",
    "id": _SHARED_VOLUME,
    "block_size": 512,
    "sub_volumes": [_SHARED_REGION],
    "read_only_parent": None,
}
_DISK_1 = {
    "disk1": {
        "type": "virtio_disk",
        "component": {"backend_id": "disk1-backend", "pci_path": {"bus": 0, "device": 18, "function": 0}},
    },
    "disk1-backend": {
        "type": "crucible_storage_backend",
        "component": {"request_json": json.dumps(_SHARED_REQUEST), "readonly": False},
    },
}

COMPLETIONS = (
    Completion(
        "b-http-api",
        724,
        'al_number": [' + ", ".join(["0"] * 20) + ']}}, "be1": {"type": "blob_storage_backend", "component": '
        '{"base64": "", "readonly": true}}}, "smbios": null}}}}',
    ),
    Completion("g-virtio-and-blob", 4, _A_BLOB + _BOOT),
    Completion("g-virtio-and-blob", 197, _A_BLOB + ", " + json.dumps(_DISK_1)[1:-1] + _BOOT),
)

BOOTROMS = {"bootrom missing": "/nonexistent/bootrom"}
"""Remarks after which the servers were started with another bootrom, and which."""

START_OMISSIONS = {
    "no vmm device (fake: FAKE_BHYVE_NODEV=1)": "the lab has no hypervisor that could be missing",
}
"""Recorded starts of the server that are not tried, by title, each with its reason."""

START_OWN_WORDS = {
    "no arguments": "the stand-in's help is in our own words and says that it is a stand-in",
    "--help": "the stand-in's help is in our own words and says that it is a stand-in",
}
"""Recorded starts whose text differs, by title; the exit status and the stream that it goes to do not."""
