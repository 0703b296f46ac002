# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the volume tool as a person does, as a program of its own."""

from __future__ import annotations

import asyncio
import sys

from downstairs_harness import ENVIRONMENT
from trio import Trio


async def tool(*arguments: object, stdin: bytes = b"", **environment: str) -> tuple[int, bytes, str]:
    """Run the tool; exit status, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "propolis_lab.volume",
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**ENVIRONMENT, **environment},
    )
    out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return process.returncode, out, err.decode()


def targets(trio: Trio, numbers: tuple[int, ...] = (0, 1, 2)) -> list[str]:
    """The options that name these replicas."""
    return [part for number in numbers for part in ("-t", f"127.0.0.1:{trio.ports[number]}")]
