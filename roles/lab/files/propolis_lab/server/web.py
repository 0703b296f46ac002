# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP as the real server speaks it: version header first, then route, then body; error bodies; websockets.

Written on aiohttp's low-level server, because the order of the checks and the shape of the errors are the point.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from aiohttp import web

from propolis_lab.server.api_version import VersionRules
from propolis_lab.server.deserialize import Reader, deserialize, uuid_text
from propolis_lab.server.environment import Environment
from propolis_lab.server.errors import HttpError, bad_request, method_not_allowed, not_found
from propolis_lab.server.instance_spec import Version
from propolis_lab.server.sockets import Upgraded
from propolis_lab.server.strict_json import JsonError

LARGEST_BODY = 1048576
_JSON = "application/json"


class _Response(web.Response):
    """Without the `Server` header, which the real server does not send."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall("Server", None)


class _Websocket(web.WebSocketResponse):
    """The 101 of the real server, letter by letter."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall("Server", None)
        self.headers["Connection"] = "Upgrade"


@dataclass(frozen=True)
class Answer:
    """A good answer; `value` becomes compact JSON, unless the status is 204. `raw` is an answer already sent
    (websocket)."""

    value: Any = None
    status: HTTPStatus = HTTPStatus.OK
    raw: web.StreamResponse | None = None


@dataclass(frozen=True)
class Call:
    """One request: API version (None on servers without versions), path parameters and the request itself.

    ``answered`` is set once the answer has been given to the kernel, or the client has gone.
    """

    request: web.BaseRequest
    version: Version | None
    parameters: dict[str, str]
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    def uuid_parameter(self, name: str) -> uuid.UUID:
        try:
            return uuid_text(self.parameters[name])
        except ValueError as error:
            raise bad_request(f"bad parameter in URL path: {error}") from None

    def number_from_query(self, name: str) -> int | None:
        """An unsigned number of 64 bits; absent reads as None."""
        text = self.request.query.get(name)
        if text is None:
            return None
        digits = text.removeprefix("+")
        if not digits:
            raise bad_request("unable to parse query string: cannot parse integer from empty string")
        if not (digits.isascii() and digits.isdigit()):
            raise bad_request("unable to parse query string: invalid digit found in string")
        if int(digits) >= 1 << 64:
            raise bad_request("unable to parse query string: number too large to fit in target type")
        return int(digits)

    async def body(self, reader: Reader) -> Any:
        """The JSON body; a missing content type is taken for JSON."""
        kind = self.request.headers.get("content-type", _JSON).split(";")[0].strip().lower()
        if kind != _JSON:
            raise bad_request(f"unsupported content-type: {kind}")
        source = bytearray()
        async for chunk in self.request.content.iter_any():
            source += chunk
            if len(source) > LARGEST_BODY:
                raise bad_request(f"request body exceeded maximum size of {LARGEST_BODY} bytes")
        text = bytes(source)
        try:
            return deserialize(text, reader)
        except JsonError as error:
            raise bad_request(f"unable to parse JSON body: {error.describe(text)}") from None

    async def websocket(self) -> Upgraded:
        """Answer 101; raises HttpError when the client did not ask for it."""
        if "upgrade" not in self.request.headers.get("connection", "").lower():
            raise bad_request("expected connection upgrade")
        socket = _Websocket(compress=False, max_msg_size=0, timeout=1.0, autoclose=False)
        if not socket.can_prepare(self.request):
            raise bad_request("unexpected protocol for upgrade")
        socket.headers["x-request-id"] = self.request_id
        await socket.prepare(self.request)
        return Upgraded(socket, self.request.transport)


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True)
class Route:
    """A method and a path like `/instance/disk/{id}/vcr`."""

    method: str
    path: str
    handler: Handler

    def match(self, segments: list[str]) -> dict[str, str] | None:
        """The path parameters if the path is this one."""
        parts = self.path.strip("/").split("/")
        if len(parts) != len(segments):
            return None
        found: dict[str, str] = {}
        for part, segment in zip(parts, segments, strict=True):
            if part.startswith("{"):
                found[part[1:-1]] = segment
            elif part != segment:
                return None
        return found


class Frontend:
    """Turns requests into calls of handlers, and their answers or errors into responses."""

    def __init__(self, environment: Environment, routes: list[Route], versions: VersionRules | None) -> None:
        self._environment = environment
        self._log = environment.log
        self._routes = routes
        self._versions = versions

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        began = time.monotonic()
        call = Call(request, None, {})
        internal: str | None = None
        try:
            await self._delay()
            version = self._versions.check(request.headers.get("api-version")) if self._versions else None
            handler, parameters = self._route(request)
            call = Call(request, version, parameters, call.request_id)
            answer = await handler(call)
            response = self._success(call, answer)
        except HttpError as error:
            internal = error.internal
            response = self._error(call, error)
        self._log.info(
            "request completed",
            uri=request.path_qs,
            method=request.method,
            req_id=call.request_id,
            remote_addr=_address(request, "peername"),
            local_addr=_address(request, "sockname"),
            **({"error_message_internal": internal} if internal is not None else {}),
            latency_us=int((time.monotonic() - began) * 1e6),
            response_code=response.status,
        )
        await self._send(call, response)
        return response

    @staticmethod
    async def _send(call: Call, response: web.StreamResponse) -> None:
        """Write the response now, not when aiohttp comes to it, so that others can wait until it is written."""
        try:
            await response.prepare(call.request)
            await response.write_eof()
        except ConnectionError:
            pass  # the client has gone, which aiohttp finds once more and heeds
        finally:
            call.answered.set()

    async def _delay(self) -> None:
        self._environment.faults.reload()
        milliseconds = self._environment.faults.settings.request_delay_ms
        if milliseconds:
            await asyncio.sleep(milliseconds / 1000)

    def _route(self, request: web.BaseRequest) -> tuple[Handler, dict[str, str]]:
        segments = [segment for segment in request.path.split("/") if segment]
        allowed: list[str] = []
        for route in self._routes:
            parameters = route.match(segments)
            if parameters is None:
                continue
            if route.method == request.method:
                return route.handler, parameters
            allowed.append(route.method)
        if allowed:
            raise method_not_allowed(sorted(allowed))
        raise not_found()

    @staticmethod
    def _success(call: Call, answer: Answer) -> web.StreamResponse:
        if answer.raw is not None:
            return answer.raw
        headers = {"x-request-id": call.request_id}
        if answer.status is HTTPStatus.NO_CONTENT:
            return _Response(status=answer.status, headers=headers)
        text = json.dumps(answer.value, separators=(",", ":"), ensure_ascii=False)
        return _Response(status=answer.status, body=text.encode(), content_type=_JSON, headers=headers)

    @staticmethod
    def _error(call: Call, error: HttpError) -> web.StreamResponse:
        body: dict[str, str] = {"request_id": call.request_id}
        if error.code is not None:
            body["error_code"] = error.code
        body["message"] = error.message
        text = json.dumps(body, indent=2, ensure_ascii=False)
        response = _Response(status=error.status, body=text.encode(), content_type=_JSON)
        response.headers["x-request-id"] = call.request_id
        for name, value in error.headers:
            response.headers.add(name, value)
        return response


def _address(request: web.BaseRequest, which: str) -> str:
    info = request.transport.get_extra_info(which) if request.transport else None
    return f"{info[0]}:{info[1]}" if info else ""
