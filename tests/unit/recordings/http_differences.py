# SPDX-License-Identifier: GPL-3.0-or-later
"""All that differs on purpose between the recorded programs and the stand-ins, each with its reason.

A test fails when an entry of DIFFERENCES no longer differs, and when an entry of any list is not used.
"""

from __future__ import annotations

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
    aspect: str
    allowed: tuple[str, ...]
    """Texts, one of which ours contains when it differs."""
    reason: str


@dataclass(frozen=True)
class Omission:
    """Lines of a recording that are not replayed."""

    recording: str
    lines: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class Completion:
    """The end of a request that the recording cut; the length of the whole is recorded and is checked."""

    recording: str
    line: int
    tail: str


DIFFERENCES: tuple[Difference, ...] = ()

RACES: tuple[Race, ...] = ()

OMISSIONS: tuple[Omission, ...] = ()

COMPLETIONS = (
    Completion(
        "b-http-api",
        724,
        'al_number": [' + ", ".join(["0"] * 20) + ']}}, "be1": {"type": "blob_storage_backend", "component": '
        '{"base64": "", "readonly": true}}}, "smbios": null}}}}',
    ),
)

BOOTROMS = {"bootrom missing": "/nonexistent/bootrom"}
"""Remarks after which the servers were started with another bootrom, and which."""
