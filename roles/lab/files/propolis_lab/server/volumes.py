# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's upstairs as the server's disks want it: the one file of the server that knows `propolis_lab.upstairs`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from propolis_lab.guest.disk import DiskError
from propolis_lab.server.disks import BuildError, PanicError, StartError, StatusError, Volume, VolumeMaker
from propolis_lab.server.log import Level, Log
from propolis_lab.server.strict_json import JsonError, parse
from propolis_lab.upstairs import ActivationError, IoError, ReplaceError, RequestError, Upstairs


class CrucibleVolume:
    """One `Upstairs`, with its errors turned into those of the server's rooms."""

    def __init__(self, request_json: str, message_version: int, log: Log) -> None:
        self._message_version = message_version

        def note(message: str, fields: dict[str, Any]) -> None:
            shown = {
                name: value if isinstance(value, str | int | float | bool) else str(value)
                for name, value in fields.items()
                if name != "level"
            }
            log.record(Level(fields.get("level", Level.INFO)), message, **shown)

        try:
            request = Upstairs.parse(request_json, message_version)
        except RequestError as error:
            if error.panics:
                raise PanicError(error.real) from None
            raise BuildError("failed to deserialize volume construction request") from None
        self._watchers: list[Callable[[], None]] = []
        try:
            self._upstairs = Upstairs(request, message_version=message_version, log=note, changed=self._changed)
        except RequestError as error:
            log.error(str(error))
            raise BuildError("failed to create Crucible backend") from None

    @property
    def block_size(self) -> int:
        return self._upstairs.block_size

    @property
    def size(self) -> int:
        return self._upstairs.size

    async def activate(self) -> None:
        try:
            await self._upstairs.activate()
        except ActivationError as error:
            raise StartError(error.real) from None

    def abandon(self) -> None:
        self._upstairs.abandon()

    async def read(self, offset: int, length: int) -> bytes:
        try:
            return await self._upstairs.read(offset, length)
        except IoError as error:
            raise DiskError(f"disk error 0x4 ({error})") from None

    async def write(self, offset: int, data: bytes) -> None:
        try:
            await self._upstairs.write(offset, data)
        except IoError as error:
            raise DiskError(f"disk error 0x4 ({error})") from None

    async def flush(self) -> None:
        try:
            await self._upstairs.flush()
        except IoError as error:
            raise DiskError(f"disk error 0x4 ({error})") from None

    def watch(self, changed: Callable[[], None]) -> None:
        self._watchers.append(changed)

    def _changed(self) -> None:
        for watcher in self._watchers:
            watcher()

    def status_json(self) -> dict[str, Any]:
        return self._upstairs.status().to_json()

    async def replace(self, vcr_json: str) -> str:
        try:
            parse(vcr_json.encode())
        except JsonError as error:
            raise StatusError(error.describe(vcr_json.encode())) from None
        try:
            return await self._upstairs.replace_target(Upstairs.parse(vcr_json, self._message_version))
        except (RequestError, ReplaceError) as error:
            raise StatusError(str(error)) from None


def volume_maker(message_version: int) -> VolumeMaker:
    """Makes volumes that speak this version of Crucible's protocol."""

    def make(request_json: str, log: Log) -> Volume:
        return CrucibleVolume(request_json, message_version, log)

    return make
