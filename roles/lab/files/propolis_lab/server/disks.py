# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the bytes of an instance's disks are: Crucible volumes, files, blobs in memory.

Crucible volumes go through the lab's upstairs; `UpstairsMaker` is the seam at which tests put something else.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import stat
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from propolis_lab.guest.disk import DiskError
from propolis_lab.server.instance_spec import InstanceSpec
from propolis_lab.server.log import Log

_BLOB_BLOCK = 512
_BASE64 = frozenset(string.ascii_letters + string.digits + "+/=")


class BuildError(Exception):
    """A part of the VM cannot be made: the request is answered 500 and the instance is Failed."""


class PanicError(Exception):
    """The real program panics here: the request is answered 500 and the instance stays as it is for ever (debug
    builds)."""


class StartError(Exception):
    """A backend cannot be started: the instance is Failed."""


class StatusError(Exception):
    """The backend refuses a request about it; the text goes to the client."""


class Volume(Protocol):
    """One Crucible volume: what the server needs of `propolis_lab.upstairs.Upstairs`."""

    @property
    def block_size(self) -> int: ...
    @property
    def size(self) -> int: ...

    async def activate(self) -> None: ...
    def abandon(self) -> None: ...
    async def read(self, offset: int, length: int) -> bytes: ...
    async def write(self, offset: int, data: bytes) -> None: ...
    async def flush(self) -> None: ...
    def status_json(self) -> dict[str, Any]: ...
    def watch(self, changed: Callable[[], None]) -> None: ...
    async def replace(self, vcr_json: str) -> str: ...


VolumeMaker = Callable[[str, Log], Volume]


def regions(request: Any) -> Iterator[dict[str, Any]]:
    """The `region` parts of a volume construction request (parsed JSON), parents included."""
    if not isinstance(request, dict):
        return
    if request.get("type") == "region":
        yield request
    for part in [*(request.get("sub_volumes") or []), request.get("read_only_parent")]:
        yield from regions(part)


def parsed_request(request_json: str) -> Any:
    """The JSON of a volume construction request; raises BuildError, and PanicError for what makes the real one
    panic."""
    try:
        request = json.loads(request_json)
    except ValueError:
        raise BuildError("failed to deserialize volume construction request") from None
    for region in regions(request):
        options = region.get("opts")
        if not isinstance(options, dict):
            continue
        targets = options.get("target")
        if isinstance(targets, list) and len(targets) != 3:
            found = "[" + ", ".join(map(str, targets)) + "]"
            text = f"assertion `left == right` failed: bad targets {found}\n  left: {len(targets)}\n right: 3"
            raise PanicError(text)
        _check_key(options.get("key"))
    return request


def _check_key(key: Any) -> None:
    if not isinstance(key, str):
        return
    try:
        length = len(base64.b64decode(key, validate=True))
    except (binascii.Error, ValueError):
        wrong = next((place for place, letter in enumerate(key) if letter not in _BASE64), None)
        reason = "InvalidPadding" if wrong is None else f"InvalidByte({wrong}, {key.encode()[wrong]})"
        raise PanicError(f"could not base64 decode key!: {reason}") from None
    if length != 32:
        raise PanicError("Key length must be 32 bytes!")


def is_active(info: Any) -> bool:
    """Whether every upstairs in a `volume_info` is active."""
    if not isinstance(info, dict):
        return True
    if "upstairs" in info:
        return bool(info["upstairs"]["state"] == "active")
    volume = info["volume"]
    return all(is_active(part) for part in [*volume["sub_volumes"], volume["read_only_parent"]])


def generation_of(request: Any) -> int:
    """The highest generation in a request, 0 when it has none."""
    return max((region["gen"] for region in regions(request) if isinstance(region.get("gen"), int)), default=0)


class Backend(Protocol):
    """Where the bytes of a disk are."""

    @property
    def size(self) -> int: ...
    @property
    def block_size(self) -> int: ...
    @property
    def generation(self) -> int: ...

    async def start(self) -> None: ...
    def stop(self) -> None: ...
    async def read(self, offset: int, length: int) -> bytes: ...
    async def write(self, offset: int, data: bytes) -> None: ...
    async def flush(self) -> None: ...


class CrucibleBackend:
    """A Crucible volume; `start` returns when it is active, and waits for ever while a downstairs is missing."""

    def __init__(self, request_json: str, make: VolumeMaker, log: Log) -> None:
        self.generation = generation_of(parsed_request(request_json))
        self._volume = make(request_json, log)

    @property
    def size(self) -> int:
        return self._volume.size

    @property
    def block_size(self) -> int:
        return self._volume.block_size

    async def start(self) -> None:
        await self._volume.activate()

    def stop(self) -> None:
        """Let go without a last flush, as the real server does: what was not flushed by the guest may be lost."""
        self._volume.abandon()

    async def read(self, offset: int, length: int) -> bytes:
        return await self._volume.read(offset, length)

    async def write(self, offset: int, data: bytes) -> None:
        await self._volume.write(offset, data)

    async def flush(self) -> None:
        await self._volume.flush()

    def status_json(self) -> dict[str, Any]:
        """The `volume_info` of the API."""
        return self._volume.status_json()

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` from now on whenever `status_json` may have changed."""
        self._volume.watch(changed)

    async def snapshot(self) -> None:
        """A flush that all targets acknowledge; the region's file system would take the snapshot. Raises
        StatusError."""
        if not is_active(self.status_json()):
            raise StatusError("Upstairs is not active")
        try:
            await self._volume.flush()
        except DiskError as error:
            raise StatusError(str(error)) from None

    async def replace(self, vcr_json: str) -> str:
        """Change a target; returns the word for the client, raises StatusError."""
        return await self._volume.replace(vcr_json)


class FileBackend:
    """A file of this machine."""

    generation = 0

    def __init__(self, path: str, block_size: int, *, readonly: bool) -> None:
        try:
            status = os.stat(path)
        except OSError:
            raise BuildError(f'failed to read file backend metadata for "{path}"') from None
        if not stat.S_ISREG(status.st_mode):
            raise BuildError(f'failed to read file backend metadata for "{path}"')
        if block_size <= 0 or status.st_size % block_size:
            raise BuildError(f'failed to create file backend "{path}": size is not a multiple of {block_size}')
        self.size = status.st_size
        self.block_size = block_size
        self._path = Path(path)
        self._readonly = readonly
        self._descriptor: int | None = None

    async def start(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDONLY if self._readonly else os.O_RDWR)

    def stop(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            raise DiskError("the backend is not started")
        return self._descriptor

    async def read(self, offset: int, length: int) -> bytes:
        return await asyncio.to_thread(os.pread, self._open(), length, offset)

    async def write(self, offset: int, data: bytes) -> None:
        await asyncio.to_thread(os.pwrite, self._open(), data, offset)

    async def flush(self) -> None:
        await asyncio.to_thread(os.fsync, self._open())


class BlobBackend:
    """Bytes in memory; they move along with the instance."""

    generation = 0
    block_size = _BLOB_BLOCK

    def __init__(self, encoded: str) -> None:
        try:
            self.content = bytearray(base64.b64decode(encoded, validate=True))
        except (binascii.Error, ValueError):
            raise BuildError("failed to decode base64 contents of in-memory disk") from None

    @property
    def size(self) -> int:
        return len(self.content)

    async def start(self) -> None:
        """Nothing to do: memory is there."""

    def stop(self) -> None:
        """Nothing to do."""

    async def read(self, offset: int, length: int) -> bytes:
        return bytes(self.content[offset : offset + length])

    async def write(self, offset: int, data: bytes) -> None:
        self.content[offset : offset + len(data)] = data

    async def flush(self) -> None:
        """Nothing to do: memory is as durable as it gets."""


def make_backends(spec: InstanceSpec, make: VolumeMaker, log: Log) -> dict[str, Backend]:
    """The storage backends of a spec by name; raises BuildError or PanicError."""
    made: dict[str, Backend] = {}
    for name, part in spec.of_kind("crucible_storage_backend").items():
        made[name] = CrucibleBackend(part.text("request_json"), make, log)
    for name, part in spec.of_kind("file_storage_backend").items():
        made[name] = FileBackend(part.text("path"), int(part.fields["block_size"]), readonly=part.readonly)
    for name, part in spec.of_kind("blob_storage_backend").items():
        made[name] = BlobBackend(part.text("base64"))
    return made
