# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays ``crudd`` and ``crutest one``, the real upstairs' own tools of the recordings, over the lab's upstairs.

``crudd -t ADDRESS:PORT (three times) -g GENERATION [-k KEY] [-b OFFSET] -n BYTES read|write``: writes what comes on
stdin, reads to file descriptor 3, flushes at the end. What the upstairs logs goes to the file that ``CRUDD_LOG`` names.

``crutest one (-t ADDRESS:PORT three times | --vcr-file FILE) -g GENERATION -q``: writes one block and flushes. It takes
``-b OFFSET`` too: the real one writes anywhere.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import urllib.request
from pathlib import Path
from typing import Any, NoReturn

from propolis_lab.upstairs import Upstairs, UpstairsError
from propolis_lab.upstairs.errors import RequestError

_NIL = "00000000-0000-0000-0000-000000000000"


def _definition(targets: list[str]) -> dict[str, Any]:
    """What the first target says about its region on its repair port."""
    host, _unused, port = targets[0].rpartition(":")
    with urllib.request.urlopen(f"http://{host}:{int(port) + 4000}/region-info", timeout=10) as answer:
        return dict(json.load(answer))


def _request(options: argparse.Namespace) -> dict[str, Any]:
    definition = _definition(options.target)
    return {
        "type": "region",
        "block_size": definition["block_size"],
        "blocks_per_extent": definition["extent_size"]["value"],
        "extent_count": definition["extent_count"],
        "gen": options.gen,
        "opts": {
            "id": _NIL,
            "target": options.target,
            "lossy": False,
            "flush_timeout": None,
            "key": options.key,
            "cert_pem": None,
            "key_pem": None,
            "root_cert_pem": None,
            "control": None,
            "read_only": False,
        },
    }


def _log(text: str, _details: dict[str, object]) -> None:
    if name := os.environ.get("CRUDD_LOG"):
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"msg": text}) + "\n")


async def _perform(options: argparse.Namespace, request: str | dict[str, Any]) -> None:
    parsed = Upstairs.parse(request)
    try:
        volume = Upstairs(parsed, log=_log)
    except RequestError:
        _abort()  # the tool itself insists that a volume can be built of what was read
    await volume.activate()
    if options.command == "one":
        await volume.write(options.offset, os.urandom(volume.block_size))
    elif options.command == "write":
        await volume.write(options.offset, sys.stdin.buffer.read(options.bytes))
    else:
        os.write(3, await volume.read(options.offset, options.bytes))
    await volume.deactivate()


def _abort() -> NoReturn:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.abort()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("-t", dest="target", action="append")
    parser.add_argument("--vcr-file", dest="file")
    parser.add_argument("-g", dest="gen", type=int, default=0)
    parser.add_argument("-k", dest="key")
    parser.add_argument("-b", dest="offset", type=int, default=0)
    parser.add_argument("-n", dest="bytes", type=int)
    parser.add_argument("-q", action="store_true")
    parser.add_argument("command", choices=["read", "write", "one"])
    return parser.parse_args()


def _main() -> int:
    options = _options()
    try:
        request = Path(options.file).read_text("utf-8") if options.file else _request(options)
        asyncio.run(_perform(options, request))
    except UpstairsError as error:
        if error.panics:
            _abort()
        unread = isinstance(error, RequestError) and options.file
        sys.stderr.write(f'Error: Error parse "{options.file}"\n' if unread else f"Error: {error.real}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
