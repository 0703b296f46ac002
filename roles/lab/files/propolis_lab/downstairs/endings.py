# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a downstairs closes a connection, and what the real program does where closing is only our stand-in for it."""

from __future__ import annotations

from collections.abc import Sequence

from propolis_lab.protocol.messages import Message

ABORTS = "the whole process aborts"
WEDGES = "the job is tried again for ever and the whole process answers nobody any more"


class Ending(Exception):
    """The connection must be closed, after ``replies`` were sent.

    ``really`` says what the real program does when that is more than closing this connection.
    """

    def __init__(self, reason: str, *, really: str | None = None, replies: Sequence[Message] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.really = really
        self.replies = tuple(replies)
