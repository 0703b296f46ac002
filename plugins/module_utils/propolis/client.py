# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking a propolis server over HTTP, with a bound on every wait and every failure as an error of ours."""

from __future__ import annotations

import json
import queue
import threading
import time
from dataclasses import dataclass
from typing import Any

from .address import Address
from .errors import ApiError, MissingLibrary, NoAnswer, NotPropolis, PropolisError, Unreachable
from .redaction import scrub, secrets_in
from .values import Value

try:
    import requests
    from urllib3.exceptions import HTTPError as TransportError
except ImportError:
    HAS_REQUESTS = False
else:
    HAS_REQUESTS = True

# What may be asked a second time without harm, and why. Nothing else is ever repeated here: a server goes on
# working on a PUT after its client has left, so a repeated PUT could do a thing twice.
RETRIED_READS: dict[type[Exception], str] = {
    ConnectionResetError: "a server process that is just being replaced drops connections that its listener had taken",
    BrokenPipeError: "the same, noticed while the request was being sent",
}

LARGEST_ANSWER = 32 * 1024 * 1024  # bytes; 1 MiB of console history is about 4 MiB of JSON
NO_BODY = object()  # a request without a body; None would be the JSON value null
_GRACE = 0.25  # seconds in which the library may say more exactly than we what took too long
_LONGEST_MESSAGE = 600  # characters of a server's own words that are repeated to the user


@dataclass(frozen=True)
class Answer:
    """A successful answer: the HTTP status and the decoded JSON (None when there was no body)."""

    status: int
    body: object
    source: str

    def value(self) -> Value:
        """The body, ready for a typed reader."""
        return Value(self.body, self.source)


@dataclass(frozen=True)
class _Raw:
    status: int
    content_type: str
    request_id: str | None
    content: bytes


class Client:
    """Talks to one server. Holds no connection between requests, so that a long wait never meets a stale one.

    ``name`` is what people call the server (an inventory name); ``timeout`` bounds each request in seconds, from
    name resolution to the last byte; ``api_version`` is sent with every request when it is set.
    """

    def __init__(
        self, address: Address, *, name: str | None = None, timeout: float = 10.0, api_version: str | None = None
    ) -> None:
        self.address = address
        self.name = name
        self.timeout = timeout
        self.api_version = api_version

    def __str__(self) -> str:
        return f"server {self.name} ({self.address})" if self.name else f"server {self.address}"

    def call(
        self,
        method: str,
        path: str,
        body: object = NO_BODY,
        *,
        timeout: float | None = None,
        api_version: str | None = None,
    ) -> Answer:
        """Send one request and return the answer when it is a success.

        ``body`` is sent as JSON, with GET too (two requests of this API want that). ``timeout`` and ``api_version``
        override the client's own. Raises Unreachable, NoAnswer, NotPropolis or ApiError.
        """
        if not HAS_REQUESTS:
            raise MissingLibrary("The Python library requests is needed to talk to propolis servers; install it here.")
        asked = f"{method} {path}"
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        headers = {"Accept": "application/json"}
        version = api_version or self.api_version
        if version is not None:
            headers["api-version"] = version
        data = None
        if body is not NO_BODY:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        try:
            raw = self._exchange(method, path, headers, data, deadline)
        except Unreachable as error:
            if method != "GET" or not isinstance(_root_cause(error), tuple(RETRIED_READS)):
                raise
            raw = self._exchange(method, path, headers, data, deadline)
        return self._understand(asked, raw, secrets_in(body) if body is not NO_BODY else set())

    def _exchange(self, method: str, path: str, headers: dict[str, str], data: bytes | None, deadline: float) -> _Raw:
        """Send and receive on a thread of its own, because only that bounds name resolution and dripping answers."""
        asked = f"{method} {path}"
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise self._no_answer(asked, 0)
        outcome: queue.SimpleQueue[_Raw | Exception] = queue.SimpleQueue()

        def work() -> None:
            try:
                outcome.put(self._transfer(method, path, headers, data, deadline))
            except (requests.exceptions.RequestException, TransportError, OSError, ValueError, PropolisError) as error:
                outcome.put(error)

        threading.Thread(target=work, name=f"{asked} {self.address}", daemon=True).start()
        try:
            result = outcome.get(timeout=seconds + _GRACE)
        except queue.Empty:
            raise self._no_answer(asked, seconds) from None
        if isinstance(result, _Raw):
            return result
        raise self._explain(asked, seconds, result) from result

    def _transfer(self, method: str, path: str, headers: dict[str, str], data: bytes | None, deadline: float) -> _Raw:
        seconds = max(deadline - time.monotonic(), 0.001)
        with requests.Session() as session:
            # The user's proxies and .netrc are not for machines of a lab network, and would see volume keys.
            session.trust_env = False
            with session.request(
                method,
                self.address.url + path,
                headers=headers,
                data=data,
                timeout=(seconds, seconds),
                allow_redirects=False,
                stream=True,
            ) as response:
                content = bytearray()
                for chunk in response.iter_content(65536):
                    content += chunk
                    if len(content) > LARGEST_ANSWER:
                        raise NotPropolis(
                            f"{self} answered {method} {path} with more than {LARGEST_ANSWER} bytes; "
                            "no propolis server does. Check the address.",
                        )
                return _Raw(
                    response.status_code,
                    response.headers.get("content-type", "no content type"),
                    response.headers.get("x-request-id"),
                    bytes(content),
                )

    def _no_answer(self, asked: str, seconds: float) -> NoAnswer:
        advice = (
            "Does the server hang? Its log may say why."
            if asked.startswith("GET ")
            else "It may still do what was asked; look at its state before asking again."
        )
        return NoAnswer(
            f"{self} did not answer {asked} within {seconds:.1f} s. {advice}",
            details={"server": str(self.address), "asked": asked, "seconds": round(seconds, 3)},
        )

    def _explain(self, asked: str, seconds: float, error: Exception) -> PropolisError:
        """Our error for what the library raised: a slow server, no server, or no HTTP at all."""
        if isinstance(error, PropolisError):
            return error
        if isinstance(error, requests.exceptions.ConnectTimeout):
            return Unreachable(
                f"{self} cannot be reached for {asked}: no connection within {seconds:.1f} s. "
                "Is the host up, and does a firewall let this port through?",
                details={"server": str(self.address), "asked": asked, "reason": "connect timeout"},
            )
        cause = _root_cause(error)
        if isinstance(error, requests.exceptions.Timeout) or isinstance(cause, TimeoutError):
            return self._no_answer(asked, seconds)
        if isinstance(cause, OSError) and not isinstance(cause, requests.exceptions.RequestException):
            reason = cause.strerror or type(cause).__name__
            return Unreachable(
                f"{self} cannot be reached for {asked}: {reason}. Is propolis-server running there, on that port?",
                details={"server": str(self.address), "asked": asked, "reason": reason},
            )
        return NotPropolis(
            f"{self} did not answer {asked} in HTTP ({type(cause).__name__}). Check the address: another program "
            "seems to listen there.",
            details={"server": str(self.address), "asked": asked, "reason": type(cause).__name__},
        )

    def _understand(self, asked: str, raw: _Raw, secrets: set[str]) -> Answer:
        source = f"{self}, {asked}"
        if raw.status // 100 not in (2, 4, 5):
            raise NotPropolis(
                f"{self} answered {asked} with HTTP {raw.status}, which no propolis server does. Check the address.",
                details={"server": str(self.address), "asked": asked, "status": raw.status},
            )
        body: Any = None
        if raw.content.strip():
            try:
                body = json.loads(raw.content)
            except (ValueError, RecursionError):
                raise NotPropolis(
                    f"{self} answered {asked} with HTTP {raw.status} and {raw.content_type} that is not JSON. "
                    "Check the address: another program seems to listen there.",
                    details={
                        "server": str(self.address),
                        "asked": asked,
                        "status": raw.status,
                        "content_type": raw.content_type,
                    },
                ) from None
        if raw.status < 400:
            return Answer(raw.status, body, source)
        raise self._refusal(asked, raw, Value(body, source), secrets)

    def _refusal(self, asked: str, raw: _Raw, body: Value, secrets: set[str]) -> ApiError:
        message = scrub(body.get("message").text(), secrets)[:_LONGEST_MESSAGE]
        error_code = body.get("error_code").optional_text()
        if error_code is not None:
            error_code = scrub(error_code, secrets)[:_LONGEST_MESSAGE]
        request_id = body.get("request_id").optional_text() or raw.request_id
        # Some refusals carry their reason in error_code and only "Forbidden" or "Not Found" in message.
        reason = message if error_code in (None, message) else f"{error_code}: {message}"
        return ApiError(
            f"{self} refused {asked} with HTTP {raw.status}: {reason}",
            status=raw.status,
            error_code=error_code,
            api_message=message,
            request_id=request_id,
        )


def _root_cause(error: BaseException) -> BaseException:
    """The innermost error: the libraries wrap the operating system's error several times, partly in ``reason``."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = getattr(error, "reason", None)
        candidates = [inner, error.__cause__, error.__context__, *error.args[:2]]
        found = [one for one in candidates if isinstance(one, BaseException) and id(one) not in seen]
        if not found:
            break
        error = found[0]
    return error
