# SPDX-License-Identifier: GPL-3.0-or-later
"""What the log says about connections and sessions, in the recorded words of each age."""

from __future__ import annotations

import sys
from uuid import UUID

from propolis_lab.region import Age

from .endings import Ending
from .identity import Identity
from .logs import Logger


class SessionLog:
    """Writes about sessions; ``mode`` is ``read-write`` or ``read-only``."""

    def __init__(self, log: Logger, age: Age, mode: str) -> None:
        self._log = log
        self._today = age is Age.TODAY
        self._age = age
        self._mode = mode
        self._main = log.child(task="main")
        # Only the program of 2023 marks these records with the task.
        self._negotiating = log if self._today else log.child(task="proc")

    def accepted(self, peer: str) -> None:
        """A connection came."""
        self._main.info(f"accepted connection from {peer}")

    def request(self, upstairs_id: UUID, version: int) -> None:
        """An upstairs said hello in a version that fits."""
        if self._today:
            self._log.info(f"Connection request from {upstairs_id} with version {version}")

    def connected(self, who: Identity, version: int) -> None:
        """The hello was accepted."""
        tail = f", version {version}" if self._today else ""
        self._negotiating.info(f"upstairs {who.text(self._age)} connected{tail}")

    def attempt(self, live: Identity, new: Identity) -> None:
        """A session wants to be active while another one is."""
        text = f"Attempting RW takeover from {live.text(self._age)} to {new.text(self._age)}"
        if self._today:
            self._log.warn(text)
        else:
            print(text, file=sys.stdout, flush=True)

    def taken_over(self, live: Identity, new: Identity) -> None:
        """The other session is put out."""
        if self._today:
            promoted = f"{new.text(self._age)} is being promoted ({self._mode})"
            self._log.warn(f"Signaling to {live.text(self._age)} thread that {promoted}")

    def put_out(self, old: Identity | None, new: Identity, peer: str) -> None:
        """The connection of the session that is put out closes."""
        if not self._today:
            self._log.info(f"connection({peer}): all done")
            return
        closing = "None" if old is None else f"Some({old.text(self._age)})"
        self._log.warn(
            f"Another upstairs {new.text(self._age)} promoted to active, shutting down connection for {closing}"
        )

    def active(self, who: Identity) -> None:
        """A session became active."""
        self._log.info(f"{who.text(self._age)} is now active ({self._mode})")

    def flush_numbers(self, numbers: list[int]) -> None:
        """The session was told the numbers of the extents."""
        self._log.info(f"Current flush_numbers [0..12]: {numbers[:12]}")

    def negotiated(self) -> None:
        """The session runs."""
        self._negotiating.info("Downstairs has completed Negotiation")

    def ending(self, ending: Ending, peer: str, *, negotiating: bool) -> None:
        """A connection is closed from this side."""
        if not self._today:
            self._log.error(f"connection({peer}): {ending.reason}")
        elif negotiating:
            self._log.warn(f"on_negotiation_step returns error {ending.reason}, disconnecting")
        else:
            self._log.warn(f"connection closed; {ending.reason}")
        if ending.really is not None:
            self._log.error(f"The stand-in closes the connection; with the real program, {ending.really}")

    def closed(self) -> None:
        """The upstairs closed its connection."""
        if self._today:
            self._log.info("connection closed; disconnection")

    def removed(self, number: int, who: Identity | None, jobs_left: int | None, *, cleared: bool) -> None:
        """A connection is out of the tables; ``jobs_left`` None: it never ran. ``cleared``: a session went with it."""
        if not self._today:
            return
        name = "unknown upstairs" if who is None else f"upstairs {who.text(self._age)}"
        jobs = "" if jobs_left is None else f", {jobs_left} jobs left"
        self._log.info(f"{name} (ConnectionId({number})) removed{jobs}")
        if cleared:
            self._log.info(f"{name} (ConnectionId({number})) was previously active, clearing")

    def done(self, peer: str, who: Identity | None, jobs_left: int, *, cleared: bool) -> None:
        """The same for the program of 2023, which notes an orderly end only."""
        if self._today:
            return
        if who is not None:
            self._main.warn(f"upstairs {who.text(self._age)} disconnected, {jobs_left} jobs left")
            if cleared:
                self._main.warn(f"upstairs {who.text(self._age)} was previously active, clearing")
        self._log.info(f"connection({peer}): all done")
