# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes for tests of the upstairs: requests, short times, and a log that can be asked."""

from __future__ import annotations

import asyncio
import base64
import functools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ParamSpec

from propolis_lab.upstairs import Settings

VOLUME = "12345678-0000-4000-8000-0000000000bb"
QUICK = Settings(reconnect_delay=0.05, flush_delay=0.05, connect_timeout=5.0)
"""As the real times, but a downstairs is tried again after 50 ms and flushes come as soon."""


def region_request(
    ports: Sequence[int],
    generation: int = 1,
    *,
    block_size: int = 512,
    blocks: int = 16,
    extents: int = 4,
    key: bytes | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The request for one region set at local ports."""
    return {
        "type": "region",
        "block_size": block_size,
        "blocks_per_extent": blocks,
        "extent_count": extents,
        "gen": generation,
        "opts": {
            "id": VOLUME,
            "target": [f"127.0.0.1:{port}" for port in ports],
            "lossy": False,
            "key": None if key is None else base64.b64encode(key).decode(),
            "read_only": False,
            **options,
        },
    }


def volume_request(*regions: dict[str, Any], parent: dict[str, Any] | None = None) -> dict[str, Any]:
    """The request for a volume of these pieces."""
    return {
        "type": "volume",
        "id": VOLUME,
        "block_size": regions[0]["block_size"],
        "sub_volumes": list(regions),
        "read_only_parent": parent,
    }


Parameters = ParamSpec("Parameters")


def on_loop(test: Callable[Parameters, Coroutine[Any, Any, None]]) -> Callable[Parameters, None]:
    """Runs a test on an event loop of its own, for 60 seconds at most."""

    @functools.wraps(test)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        async def limited() -> None:
            async with asyncio.timeout(60):
                await test(*args, **kwargs)

        asyncio.run(limited())

    return run


async def eventually(condition: Callable[[], object], within: float = 10.0) -> None:
    """Wait until a condition holds, looking every millisecond. Raises TimeoutError."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 -- the condition may be about anything
            await asyncio.sleep(0.001)


class Notes:
    """A log of an upstairs."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def __call__(self, text: str, details: dict[str, object]) -> None:
        self.lines.append((text, details))

    def texts(self, least_level: int = 0) -> list[str]:
        return [text for text, details in self.lines if int(str(details.get("level", 30))) >= least_level]
