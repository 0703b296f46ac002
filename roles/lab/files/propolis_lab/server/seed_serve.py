# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to a server of January 2023: ordinary HTTP, and migrations, which leave HTTP after an upgrade of their
own.

The first line of a connection decides: `PUT /instance/migrate/start` is served here, on the bare stream; everything
else goes to aiohttp, which cannot hand over a connection that is upgraded to a protocol it does not know.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

from aiohttp import web

from propolis_lab.server.environment import Environment
from propolis_lab.server.errors import HttpError, bad_request
from propolis_lab.server.migration.channel import PROTOCOL, Channel, StreamLink
from propolis_lab.server.seed_api import SeedApi, error_text
from propolis_lab.server.seed_config import SeedConfig
from propolis_lab.server.seed_instance import abort
from propolis_lab.server.web import Frontend

_MIGRATE_START = b"PUT /instance/migrate/start "
ProtocolFactory = Callable[[], asyncio.BaseProtocol]


class _Front(asyncio.Protocol):
    """Looks at the first bytes of a connection and then steps aside."""

    def __init__(self, ordinary: Callable[[], asyncio.Protocol], migration: Callable[[], asyncio.Protocol]) -> None:
        self._ordinary = ordinary
        self._migration = migration
        self._seen = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a server's connections have transports to read and write")
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen += data
        if self._transport is None:
            return
        if _MIGRATE_START.startswith(self._seen) and len(self._seen) < len(_MIGRATE_START):
            return
        chosen = self._migration() if self._seen.startswith(_MIGRATE_START) else self._ordinary()
        self._transport.set_protocol(chosen)
        chosen.connection_made(self._transport)
        chosen.data_received(self._seen)


class _MigrationServer:
    """Serves the destination of a migration on a bare stream."""

    def __init__(self, api: SeedApi) -> None:
        self._api = api

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request_id = str(uuid.uuid4())
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            headers = _headers(head)
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            if "upgrade" not in headers.get("connection", "").lower():
                raise bad_request("expected connection upgrade")
            if headers.get("upgrade") != PROTOCOL:
                raise bad_request(f"unexpected protocol for upgrade: {headers.get('upgrade')}")
            migration_id, instance = self._api.source_for(body)
        except HttpError as error:
            text = error_text(error, request_id).encode()
            writer.write(
                f"HTTP/1.1 {error.status.value} {error.status.phrase}\r\ncontent-type: application/json\r\n"
                f"x-request-id: {request_id}\r\ncontent-length: {len(text)}\r\nconnection: close\r\n\r\n".encode()
                + text
            )
            writer.close()
            return
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.close()
            return
        writer.write(f"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {PROTOCOL}\r\n\r\n".encode())
        await self._api.hand_over(migration_id, instance, Channel(StreamLink(reader, writer)))
        writer.close()


def _headers(head: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            found[name.strip().lower()] = value.strip()
    return found


def seed(environment: Environment, config: SeedConfig, panic: Callable[[str], None] = abort) -> ProtocolFactory:
    """The protocol of one connection to a server of January 2023."""
    api = SeedApi(environment, config, panic)
    http = web.Server(Frontend(environment, api.routes(), None), access_log=None)
    migrations = _MigrationServer(api)

    def migration() -> asyncio.Protocol:
        reader = asyncio.StreamReader()
        return asyncio.StreamReaderProtocol(reader, migrations)

    return lambda: _Front(http, migration)
