# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guest needs of a disk."""

from __future__ import annotations

from typing import Protocol


class DiskError(Exception):
    """The device reports an error; the text is what the guest's driver would print."""


class Disk(Protocol):
    """A block device of `size` bytes in blocks of `block_size`; offsets and lengths are whole blocks.

    `replicated` says that it is a Crucible volume, `generation` the number of its session (0 for other disks).
    `ready` returns when the device takes commands, at once unless its controller hangs. `read`, `write` and `flush`
    raise DiskError.
    """

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def block_size(self) -> int: ...
    @property
    def read_only(self) -> bool: ...
    @property
    def replicated(self) -> bool: ...
    @property
    def generation(self) -> int: ...

    async def ready(self) -> None: ...
    async def read(self, offset: int, length: int) -> bytes: ...
    async def write(self, offset: int, data: bytes) -> None: ...
    async def flush(self) -> None: ...
