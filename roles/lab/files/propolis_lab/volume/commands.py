# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of the volume tool: status over the repair API, read and write over a session."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import sys
from collections.abc import Sequence
from typing import Any

from propolis_lab.upstairs import Settings, Upstairs, UpstairsError, settings_for

from .survey import Answer, Geometry, SurveyError, agree, ask, problems
from .transfer import read_to, write_from


class ToolError(Exception):
    """The command can't be done; the text says why and what to do."""


def status(options: argparse.Namespace) -> int:
    """Print what the downstairs say of themselves; 0 when they can be replicas of one volume."""
    answers = ask(options.targets, options.timeout)
    wrong = problems(answers)
    if options.json:
        print(json.dumps({"targets": [_as_json(answer) for answer in answers], "problems": wrong}, indent=2))
    else:
        for answer in answers:
            print(_as_line(answer))
        for text in wrong:
            print(f"PROBLEM {text}")
        if not wrong:
            print(f"One volume of {_size(answers)} bytes can lie on them.")
    return 1 if wrong else 0


def _as_json(answer: Answer) -> dict[str, Any]:
    geometry = answer.geometry
    return {
        "target": str(answer.target),
        "problem": answer.problem or None,
        "region_id": None if answer.uuid is None else str(answer.uuid),
        "read_only": answer.read_only,
        "block_size": geometry and geometry.block_size,
        "blocks_per_extent": geometry and geometry.blocks_per_extent,
        "extent_count": geometry and geometry.extent_count,
        "encrypted": geometry and geometry.encrypted,
    }


def _as_line(answer: Answer) -> str:
    if answer.geometry is None:
        return f"{answer.target}  no answer"
    mode = {True: "read-only", False: "read-write", None: "mode unknown"}[answer.read_only]
    return f"{answer.target}  region {answer.uuid}  {answer.geometry}, {mode}"


def _size(answers: Sequence[Answer]) -> int:
    return agree(answers).size


async def read(options: argparse.Namespace) -> int:
    """Copy bytes of the volume to a file or to standard output."""
    volume = await _open(options, read_only=options.read_only)
    try:
        length = _length(volume, options.offset, options.length)
        if options.output is None:
            await read_to(volume, sys.stdout.buffer, options.offset, length)
        else:
            with options.output.open("xb") as output:
                await read_to(volume, output, options.offset, length)
        await volume.deactivate()
    finally:
        volume.abandon()
    return 0


async def write(options: argparse.Namespace) -> int:
    """Copy a file or standard input into the volume and flush it."""
    source = sys.stdin.buffer if options.input is None else options.input.open("rb")
    with source:
        volume = await _open(options, read_only=False)
        try:
            _length(volume, options.offset, options.length)
            total = await write_from(volume, source, options.offset, options.length)
            await volume.deactivate()
        finally:
            volume.abandon()
    print(f"{total} bytes were written at byte {options.offset} and flushed.", file=sys.stderr)
    return 0


def _length(volume: Upstairs, offset: int, length: int | None) -> int:
    rest = volume.size - offset
    if rest < 0 or (length is not None and length > rest):
        raise ToolError(
            f"The volume has {volume.size} bytes; --offset {offset} and --length {length or 0} lead past its end."
        )
    return rest if length is None else length


async def _open(options: argparse.Namespace, *, read_only: bool) -> Upstairs:
    """An active volume. Raises ToolError, UpstairsError and SurveyError; waits for --timeout seconds at most."""
    geometry = await _geometry(options)
    if geometry.encrypted and options.key is None:
        raise ToolError("The regions are encrypted: give the volume's key with --key-file.")
    settings = settings_for(1 if options.age else 13)
    volume = Upstairs(Upstairs.parse(_request(options, geometry, read_only)), log=_log(options), settings=settings)
    activation = asyncio.create_task(volume.activate())
    try:
        _unused, late = await asyncio.wait([activation], timeout=options.timeout)
        if late:
            raise ToolError(_why_not(volume, options.timeout, settings))
        await activation
    finally:
        activation.cancel()
    return volume


async def _geometry(options: argparse.Namespace) -> Geometry:
    given = (options.block_size, options.blocks_per_extent, options.extent_count)
    if None not in given:
        return Geometry(*given, options.key is not None)
    if any(value is not None for value in given):
        raise ToolError("Give all of --block-size, --blocks-per-extent and --extent-count, or none of them.")
    answers = await asyncio.to_thread(ask, options.targets, min(options.timeout, 10.0))
    try:
        return agree(answers)
    except SurveyError as error:
        hint = "Downstairs of 2023 don't tell it: give --block-size, --blocks-per-extent and --extent-count."
        raise SurveyError(f"{error}\n{hint}") from None


def _request(options: argparse.Namespace, geometry: Geometry, read_only: bool) -> dict[str, Any]:
    key = None if options.key is None else base64.b64encode(options.key).decode()
    opts = {
        "id": str(options.id),
        "target": [str(target) for target in options.targets],
        "lossy": False,
        "key": key,
        "read_only": read_only,
    }
    region = {
        "type": "region",
        "block_size": geometry.block_size,
        "blocks_per_extent": geometry.blocks_per_extent,
        "extent_count": geometry.extent_count,
        "gen": options.generation,
        "opts": opts,
    }
    return {"type": "volume", "id": str(options.id), "block_size": geometry.block_size, "sub_volumes": [region]}


def _log(options: argparse.Namespace) -> Any:
    def log(text: str, _details: dict[str, object]) -> None:
        if options.verbose:
            print(text, file=sys.stderr)

    return log


def _why_not(volume: Upstairs, timeout: float, settings: Settings) -> str:
    """Which downstairs the activation still waited for, when it was given up."""
    lines = [f"The volume was not active after {timeout:g} s; all three downstairs must take part:"]
    for target in volume.region_sets[0].targets:
        waits = "ready, waits for the others" if target.phase == "wait_quorum" else "absent, or refuses the session"
        lines.append(f"  {target.address}: {waits}")
    lines.append(
        "A downstairs refuses a generation that is not above that of a session in use. It was asked every "
        f"{settings.reconnect_delay:g} s; --verbose tells more."
    )
    return "\n".join(lines)


def run(options: argparse.Namespace) -> int:
    """Do what the command line asks for; the exit status. Errors are printed, as one line or a short list."""
    try:
        if options.command == "status":
            return status(options)
        return asyncio.run({"read": read, "write": write}[options.command](options))
    except (ToolError, SurveyError, UpstairsError, OSError, ValueError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Error: interrupted; what was not flushed may be lost.", file=sys.stderr)
        return 130
