# SPDX-License-Identifier: GPL-3.0-or-later
"""The repair service of a downstairs: HTTP on the data port + 4000, from which others copy extents.

Routes, statuses, bodies and headers are the recorded ones of both ages. No authentication and no TLS, as the real one.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias
from weakref import WeakSet

from aiohttp import web

from propolis_lab.region import Age
from propolis_lab.region.errors import os_error_text, quoted

from .endings import ABORTS
from .negotiation import Step
from .service import Service

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
REQUEST_ID = web.RequestKey("id", str)
_CHUNK = 256 * 1024
_SUFFIXES = {"data": "", "db": ".db", "db_shm": ".db-shm", "db_wal": ".db-wal"}
_SWAPPED_2023 = {"db_shm": ".db-wal", "db_wal": ".db-shm"}  # a bug of the time (seen)
_U32 = re.compile(r"\+?[0-9]+")


class Refusal(Exception):
    """A request that is answered with status 400 and this text."""


class RepairApi:
    """The handlers of one downstairs' repair service."""

    def __init__(self, service: Service, local_address: str) -> None:
        self._service = service
        self._region = service.region
        self._local = local_address
        self._log = service.log.child(task="repair")
        self._known: WeakSet[object] = WeakSet()  # connections that were logged

    def application(self) -> web.Application:
        """The routes of the service's age."""
        app = web.Application(middlewares=[self._dropshot])
        app.on_response_prepare.append(_prepare)
        app.router.add_get("/extent/{eid}/files", self._files, allow_head=False)
        app.router.add_get("/newextent/{eid}/{file_type}", self._file, allow_head=False)
        if self._service.options.age is Age.TODAY:
            app.router.add_get("/region-info", self._region_info, allow_head=False)
            app.router.add_get("/region-mode", self._region_mode, allow_head=False)
            app.router.add_get("/extent/{eid}/repair-ready", self._repair_ready, allow_head=False)
            app.router.add_get("/work", self._work, allow_head=False)
        return app

    @web.middleware
    async def _dropshot(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer and log as the real program's HTTP library does."""
        request[REQUEST_ID] = str(uuid.uuid4())
        if request.transport is not None and request.transport not in self._known:
            self._known.add(request.transport)
            self._log.info("accepted connection", remote_addr=_remote(request), local_addr=self._local)
        response: web.StreamResponse
        internal = ""
        try:
            response = await handler(request)
        except Refusal as refusal:
            internal = str(refusal)
            response = _error(request, 400, internal)
        except web.HTTPMethodNotAllowed:
            internal = "Method Not Allowed"
            response = _error(request, 405, internal)
        except web.HTTPNotFound:
            internal = "Not Found"
            response = _error(request, 404, internal)
        keys = {"error_message_external": internal} if internal else {}
        self._log.info(
            "request completed",
            **keys,
            response_code=str(response.status),
            uri=request.path_qs,
            method=request.method,
            req_id=request[REQUEST_ID],
            remote_addr=_remote(request),
            local_addr=self._local,
        )
        return response

    async def _region_info(self, _unused: web.Request) -> web.Response:
        return _json(self._region.definition.as_json(Age.TODAY))

    async def _region_mode(self, _unused: web.Request) -> web.Response:
        return _json(self._service.read_only)

    async def _repair_ready(self, request: web.Request) -> web.StreamResponse:
        extent = _extent(request)
        if self._service.read_only:
            return _json(True)
        async with self._service.repairs.busy:  # a real downstairs that copies answers nobody here
            if extent < self._region.definition.extent_count:
                return _json(self._region.is_closed(extent))
        return self._hang_up(request, f"extent {extent} is not one of the region's")

    async def _work(self, request: web.Request) -> web.StreamResponse:
        connections = list(self._service.connections.values())
        if any(connection.step in (Step.PROMOTED, Step.INFORMED) for connection in connections):
            return self._hang_up(request, "an upstairs is between its promotion and the end of its negotiation")
        for connection in connections:
            for line in connection.jobs.describe():
                self._log.info(f"ConnectionId({connection.number}): {line}")
        return _json(True)

    async def _files(self, request: web.Request) -> web.Response:
        path = self._extent_file(_extent(request))
        names = [path.name + suffix for suffix in _SUFFIXES.values() if path.with_name(path.name + suffix).exists()]
        return _json(names)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        extent = _extent(request)
        kind = request.match_info["file_type"]
        if kind not in _SUFFIXES:
            expected = ", ".join(f"`{name}`" for name in _SUFFIXES)
            raise Refusal(f"bad parameter in URL path: unknown variant `{kind}`, expected one of {expected}")
        suffix = _SUFFIXES[kind]
        if self._service.options.age is Age.JANUARY_2023:
            suffix = _SWAPPED_2023.get(kind, suffix)
        path = self._region.extent_file(extent)
        path = path.with_name(path.name + suffix)
        try:
            reader = path.open("rb")
        except OSError as error:
            raise Refusal(f"Failed to get {quoted(path)} metadata: {os_error_text(error)}") from error
        with reader:
            response = web.StreamResponse(headers={"content-type": "application/octet-stream"})
            response.enable_chunked_encoding()
            await response.prepare(request)
            while chunk := reader.read(_CHUNK):
                await response.write(chunk)
        await response.write_eof()
        return response

    def _extent_file(self, extent: int) -> Path:
        """The file of an extent that exists; the texts for others are recorded."""
        path = self._region.extent_file(extent)
        if not path.parent.is_dir():
            raise Refusal(f"Failed to get {quoted(path.parent)} metadata: No such file or directory (os error 2)")
        if not path.exists():
            raise Refusal("EBADF")
        return path

    def _hang_up(self, request: web.Request, reason: str) -> web.StreamResponse:
        """Where a real downstairs aborts: close the connection without an answer, and say so in the log."""
        self._log.error(f"{request.path}: {reason}")
        self._log.error(f"The stand-in closes the connection; with the real program, {ABORTS}")
        if request.transport is not None:
            request.transport.abort()
        return web.Response()


def _extent(request: web.Request) -> int:
    text = request.match_info["eid"]
    if not _U32.fullmatch(text) or int(text) >= 1 << 32:
        raise Refusal(f"bad parameter in URL path: unable to parse '{text}' as u32")
    return int(text)


def _json(value: object) -> web.Response:
    return web.Response(
        body=json.dumps(value, separators=(",", ":")).encode(), headers={"content-type": "application/json"}
    )


def _error(request: web.Request, status: int, message: str) -> web.Response:
    body = json.dumps({"request_id": request[REQUEST_ID], "message": message}, indent=2)
    return web.Response(status=status, body=body.encode(), headers={"content-type": "application/json"})


def _remote(request: web.Request) -> str:
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return f"{peer[0]}:{peer[1]}" if peer else ""


async def _prepare(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.popall("Server", None)
    response.headers["x-request-id"] = request[REQUEST_ID]
