# SPDX-License-Identifier: GPL-3.0-or-later
"""A look at a server from its own host, with the standard library alone: does it answer, and what does it hold?"""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from dataclasses import dataclass
from enum import Enum

from ..http_bound import connected
from .address import Address
from .errors import NotPropolis
from .instance import State
from .values import Value

_LARGEST = 1024 * 1024  # bytes of an answer to GET /instance
_HEADER_MISSING = b'missing expected header \\"api-version\\"'
# A versioned server takes every version up to its own; the later one is for servers that have dropped the first.
_PROBED_VERSIONS = ("1.0.0", "5.0.0")


class Answering(Enum):
    """How something at an address behaves."""

    NOTHING = "nothing listens"
    DEAF = "accepts connections and does not answer"
    STRANGER = "answers, but not like a propolis server"
    SERVER = "answers like a propolis server"


@dataclass(frozen=True)
class Held:
    """The instance that a server holds or held last."""

    id: str
    name: str
    state: State


@dataclass(frozen=True)
class Probe:
    """The result of a look. ``held`` is None when the server holds no instance, or when there is no server."""

    answering: Answering
    held: Held | None = None

    @property
    def live(self) -> Held | None:
        """The instance, if it is not over."""
        return self.held if self.held and not self.held.state.is_final else None


def probe(address: Address, timeout: float) -> Probe:
    """Ask ``GET /instance``, which changes nothing. Never raises; ``timeout`` (seconds) bounds each read."""
    deadline = time.monotonic() + timeout
    answer = _get(address, None, deadline)
    if isinstance(answer, Answering):
        return Probe(answer)
    status, body = answer
    if status == 400 and _HEADER_MISSING in body:
        for version in _PROBED_VERSIONS:
            answer = _get(address, version, deadline)
            if isinstance(answer, Answering):
                return Probe(answer)
            status, body = answer
            if status in (200, 424):
                break
    return _understand(address, status, body)


def _get(address: Address, version: str | None, deadline: float) -> tuple[int, bytes] | Answering:
    left = max(deadline - time.monotonic(), 0.05)
    connection = http.client.HTTPConnection(address.host, address.port, timeout=left)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(connected(connection, 2 * left))
        except OSError:
            return Answering.NOTHING
        try:
            connection.request("GET", "/instance", headers={"api-version": version} if version else {})
            response = connection.getresponse()
            return response.status, response.read(_LARGEST)
        except TimeoutError:
            return Answering.DEAF
        except OSError:
            return Answering.NOTHING  # dropped before a word was said: the program is going away
        except http.client.HTTPException:
            return Answering.STRANGER


def _understand(address: Address, status: int, body: bytes) -> Probe:
    try:
        value = Value(json.loads(body), f"server {address}, GET /instance")
        if status != 200:
            # Every refusal of a propolis server, of whatever age, has these two.
            value.get("request_id").text()
            value.get("message").text()
            return Probe(Answering.SERVER)
        instance = value.get("instance")
        properties = instance.get("properties")
        held = Held(properties.get("id").uuid(), properties.get("name").text(), instance.get("state").choice(State))
    except (ValueError, RecursionError, NotPropolis):
        return Probe(Answering.STRANGER)
    return Probe(Answering.SERVER, held)
