# SPDX-License-Identifier: GPL-3.0-or-later
"""The words in which the real servers' logs say why a migration failed; all of them were recorded.

They are the names that the real program's own types have for an error, so they differ from the error's text.
"""

from __future__ import annotations

from dataclasses import dataclass

from propolis_lab.server.migration.channel import PeerGoneError, RemoteError


@dataclass(frozen=True)
class Gone:
    """The peer went away before a version was agreed on: how that was found, and why the peer could not be told."""

    found: str
    unable: str


BEFORE_THE_SOURCE = Gone(
    'Some(Err(Io(Os { code: 104, kind: ConnectionReset, message: "Connection reset by peer" })))',
    'Io(Os { code: 32, kind: BrokenPipe, message: "Broken pipe" })',
)
"""As a source finds it, whose destination has died."""
BEFORE_THE_DESTINATION = Gone("Some(Err(Protocol(ResetWithoutClosingHandshake)))", "AlreadyClosed")
"""As a destination finds it, whose source has refused."""


class IncompatibleError(Exception):
    """The replacements do not fit the source's spec."""


_INCOMPATIBLE = "instance specs incompatible: "
"""Stands twice in that error's text and once in its name."""
_RESET = "WebSocket protocol error: Connection reset without closing handshake"
_BROKEN_PIPE = "IO error: Broken pipe (os error 32)"


def of_source(error: Exception) -> str:
    """The `error` of `migration out failed, resuming`."""
    if isinstance(error, RemoteError):
        return f'RemoteError(Destination, "{error}")'
    if isinstance(error, PeerGoneError):
        if error.writing:
            return f'Websocket("{_BROKEN_PIPE}")'
        return f'Codec("error occurred in websocket layer: {_RESET}")'
    return f'Websocket("{error}")'


def of_destination(error: Exception) -> str:
    """The `error` of `migration in failed`."""
    if isinstance(error, IncompatibleError):
        return f'InstanceSpecsIncompatible("{str(error).removeprefix(_INCOMPATIBLE)}")'
    return f'Websocket("{_RESET}")' if isinstance(error, PeerGoneError) else str(error)
