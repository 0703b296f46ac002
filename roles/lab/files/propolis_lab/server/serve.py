# SPDX-License-Identifier: GPL-3.0-or-later
"""The listening server of one process: binds, serves, and follows the faults that concern connections."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from aiohttp import web

from propolis_lab.server.api import Api
from propolis_lab.server.api_version import VersionRules
from propolis_lab.server.environment import Environment
from propolis_lab.server.web import Frontend

_FAULTS_POLL_SECONDS = 0.1
ProtocolFactory = Callable[[], asyncio.BaseProtocol]


class BindError(Exception):
    """The address cannot be listened on."""


def bound_socket(host: str, port: int) -> socket.socket:
    """A listening socket; raises BindError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise BindError(os.strerror(error.errno or errno.EIO)) from None
    listener.setblocking(False)
    return listener


def today(environment: Environment) -> ProtocolFactory:
    """The protocol of one connection to today's server."""
    latest = environment.latest_api
    if latest is None:
        raise ValueError("today's server has a latest API version")
    routes = Api(environment).routes()
    return web.Server(Frontend(environment, routes, VersionRules(latest)), access_log=None)


class Listener:
    """Accepts connections at the environment's address; closes its door while a fault says so."""

    def __init__(self, environment: Environment, factory: ProtocolFactory) -> None:
        self._environment = environment
        self._factory = factory
        self._server: asyncio.Server | None = None

    async def open(self, listener: socket.socket) -> None:
        self._server = await asyncio.get_running_loop().create_server(self._factory, sock=listener)

    async def serve(self) -> None:
        """Until cancelled."""
        faults = self._environment.faults
        try:
            while True:
                faults.reload()
                await self._follow(refuse=faults.settings.refuse_connections)
                if not faults.may_change:
                    await asyncio.get_running_loop().create_future()
                await asyncio.sleep(_FAULTS_POLL_SECONDS)
        finally:
            self.close()

    async def _follow(self, *, refuse: bool) -> None:
        if refuse and self._server is not None:
            self.close()
        elif not refuse and self._server is None:
            with suppress(BindError):
                await self.open(bound_socket(*self._environment.listen))

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
