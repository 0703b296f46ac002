# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong between us and a propolis server, one class for each thing that a playbook may branch on."""

from __future__ import annotations

from typing import ClassVar

from ..failures import CollectionError


class PropolisError(CollectionError):
    """The base of every error about a propolis server or the instance that it holds."""

    default_code: ClassVar[str] = "propolis_error"


class BadAddress(PropolisError):
    """An address that a user gave is not the address of an HTTP server."""

    default_code = "bad_address"


class BadDescription(PropolisError):
    """A description of an instance, a disk or a migration cannot be turned into a request."""

    default_code = "bad_description"


class MissingLibrary(PropolisError):
    """A Python library that this needs is not installed where it runs."""

    default_code = "missing_library"


class Unreachable(PropolisError):
    """No connection: refused, no route, no such host, or dropped before a word was said."""

    default_code = "unreachable"


class NoAnswer(PropolisError):
    """The connection stands, the answer does not come in time. What was asked may still happen all the same."""

    default_code = "timeout"


class NotPropolis(PropolisError):
    """Something answers, but not in the words of a propolis server (HTML, malformed or unexpected JSON, a redirect)."""

    default_code = "not_propolis"


class UnsupportedDialect(PropolisError):
    """A propolis server of an age that this collection cannot speak with yet, or that could not be told."""

    default_code = "unsupported_dialect"


class ApiError(PropolisError):
    """A propolis server refused a request.

    ``status`` is the HTTP status; ``error_code``, ``api_message`` and ``request_id`` are the three fields of every
    error body of propolis (``error_code`` is absent in many, and holds the real reason in some).
    """

    default_code = "api_error"

    def __init__(
        self,
        message: str,
        *,
        status: int,
        error_code: str | None = None,
        api_message: str = "",
        request_id: str | None = None,
    ) -> None:
        super().__init__(
            message,
            details={"status": status, "error_code": error_code, "message": api_message, "request_id": request_id},
        )
        self.status = status
        self.error_code = error_code
        self.api_message = api_message
        self.request_id = request_id

    @classmethod
    def like(cls, error: ApiError, message: str | None = None) -> ApiError:
        """The same refusal as this more telling class, with another sentence if one is given."""
        return cls(
            message or error.message,
            status=error.status,
            error_code=error.error_code,
            api_message=error.api_message,
            request_id=error.request_id,
        )


class NoInstance(ApiError):
    """The server holds no instance (or none any more, for requests that need a live one)."""

    default_code = "no_instance"


class AlreadyInitialized(ApiError):
    """The server holds an instance already; one server serves one instance."""

    default_code = "already_initialized"


class StateChangeRefused(ApiError):
    """The instance is in a state in which what was asked for is not allowed."""

    default_code = "state_change_refused"


class StateChangeImpossible(PropolisError):
    """The same, found out before anything was asked of the server."""

    default_code = "state_change_refused"


class NoMigration(ApiError):
    """The server takes part in no migration (servers of 2023 say it with an error)."""

    default_code = "no_migration"


class OtherMigration(ApiError):
    """The server is busy with (or remembers) a migration of another id than the one that was asked about."""

    default_code = "other_migration"


class ServerOccupied(PropolisError):
    """The server holds another instance than the one that was asked for."""

    default_code = "server_occupied"


class WaitTimeout(PropolisError):
    """What was waited for did not come about in the time that the user allowed. ``details`` has the last thing seen."""

    default_code = "timed_out"


class InstanceFailed(PropolisError):
    """The instance is (or became) Failed."""

    default_code = "instance_failed"
