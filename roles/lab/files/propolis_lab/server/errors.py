# SPDX-License-Identifier: GPL-3.0-or-later
"""Error answers: which status, `error_code` and `message` the real server gives; all seen on the real program."""

from __future__ import annotations

import json
from http import HTTPStatus


class HttpError(Exception):
    """An error answer; `internal` is what the log says when it is more than the client is told."""

    def __init__(
        self, status: HTTPStatus, message: str, code: str | None = None, *, internal: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.internal = internal or message
        self.headers: list[tuple[str, str]] = []

    @property
    def log_name(self) -> str:
        """The error as the log of a websocket endpoint names it (recorded)."""
        code = f"Some({json.dumps(self.code)})" if self.code else "None"
        texts = f"external_message: {json.dumps(self.message)}, internal_message: {json.dumps(self.internal)}"
        return f"HttpError {{ status_code: {self.status:d}, error_code: {code}, {texts}, headers: None }}"


def bad_request(message: str) -> HttpError:
    return HttpError(HTTPStatus.BAD_REQUEST, message)


def refused(reason: str) -> HttpError:
    """A request that the block layer refuses: the reason is code and message."""
    return HttpError(HTTPStatus.BAD_REQUEST, reason, reason)


def not_found(code: str | None = None) -> HttpError:
    return HttpError(HTTPStatus.NOT_FOUND, "Not Found", code, internal=code)


def method_not_allowed(allowed: list[str]) -> HttpError:
    error = HttpError(HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed")
    error.headers = [("allow", method) for method in allowed]
    return error


def no_instance() -> HttpError:
    return HttpError(HTTPStatus.FAILED_DEPENDENCY, "Server not initialized (no instance)", "NoInstance")


def already_initialized() -> HttpError:
    return HttpError(HTTPStatus.CONFLICT, "instance already initialized", "AlreadyInitialized")


def forbidden(reason: str) -> HttpError:
    code = f"instance state change not allowed: {reason}"
    return HttpError(HTTPStatus.FORBIDDEN, "Forbidden", code, internal=code)


def gone(code: str) -> HttpError:
    return HttpError(HTTPStatus.GONE, "Gone", code, internal=code)


def never_reached(generation: int) -> HttpError:
    text = f"No instance present; will never reach generation {generation}"
    return HttpError(HTTPStatus.GONE, text, "NoInstance")


def internal(reason: str) -> HttpError:
    """The client learns nothing; the log has the reason."""
    return HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error", "Internal", internal=reason)
