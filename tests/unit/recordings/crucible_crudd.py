# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays ``crudd``, the real upstairs' small tool of the recordings, over the lab's upstairs: one read or one write.

``crudd -t ADDRESS:PORT (three times) -g GENERATION [-b OFFSET] -n BYTES read|write``: writes what comes on stdin, reads
to file descriptor 3, flushes at the end. What the upstairs logs goes to the file that ``CRUDD_LOG`` names.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

from propolis_lab.upstairs import Upstairs, UpstairsError

_NIL = "00000000-0000-0000-0000-000000000000"


def _definition(targets: list[str]) -> dict[str, Any]:
    """What the first target says about its region on its repair port."""
    host, _unused, port = targets[0].rpartition(":")
    with urllib.request.urlopen(f"http://{host}:{int(port) + 4000}/region-info", timeout=10) as answer:
        return dict(json.load(answer))


def _log(text: str, _details: dict[str, object]) -> None:
    if name := os.environ.get("CRUDD_LOG"):
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"msg": text}) + "\n")


async def _perform(options: argparse.Namespace) -> None:
    definition = _definition(options.target)
    volume = Upstairs(
        Upstairs.parse(
            {
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
                    "key": None,
                    "cert_pem": None,
                    "key_pem": None,
                    "root_cert_pem": None,
                    "control": None,
                    "read_only": False,
                },
            }
        ),
        log=_log,
    )
    await volume.activate()
    if options.command == "write":
        await volume.write(options.offset, sys.stdin.buffer.read(options.bytes))
    else:
        os.write(3, await volume.read(options.offset, options.bytes))
    await volume.deactivate()


def _main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("-t", dest="target", action="append", required=True)
    parser.add_argument("-g", dest="gen", type=int, default=0)
    parser.add_argument("-b", dest="offset", type=int, default=0)
    parser.add_argument("-n", dest="bytes", type=int, required=True)
    parser.add_argument("command", choices=["read", "write"])
    try:
        asyncio.run(_perform(parser.parse_args()))
    except UpstairsError as error:
        sys.stderr.write(f"Error: {error.real}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
