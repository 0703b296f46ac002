# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the volume tool, and what its help says about what each command does to the world."""

from __future__ import annotations

import argparse
import base64
import binascii
import os
from pathlib import Path
from uuid import UUID

from propolis_lab.protocol.basics import SocketAddress
from propolis_lab.upstairs.errors import RequestError
from propolis_lab.upstairs.request import KEY_BYTES, parse_address

NIL = UUID(int=0)

_ABOUT = """\
Looks at, reads or writes the volume that lies on three downstairs. It is a stand-in's tool (Propolis lab), and speaks
Crucible's own protocol, so that the downstairs may be real ones."""

_SESSION = """\
{what} opens a session with all three downstairs. A session TAKES THE VOLUME AWAY from whoever uses it with a lower
generation: a running machine on this volume loses its disk. With an equal or higher generation in use, the downstairs
refuse this one, and it waits until --timeout. Choose a generation above every number that was ever used for the volume
(the ledger of the collection knows it); the tool never chooses one. While the downstairs differ, opening a session also
makes them equal."""

_WRITE = """\
THIS WRITES: the bytes at --offset are replaced on all three downstairs, for good. Nothing is asked."""

_STATUS = """\
Asks the three repair ports (data port + 4000) for the region behind them. No session is opened, nobody is disturbed,
nothing is changed. Exits with 0 when the three answer and can be replicas of one volume, else with 1."""


def _generation(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**64:
        raise argparse.ArgumentTypeError(f"a generation is a number from 0 to 2^64 - 1; found {text}")
    return value


def _target(text: str) -> SocketAddress:
    try:
        return parse_address(text)
    except RequestError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _bytes(text: str) -> int:
    """A number of bytes, with K, M or G for powers of 1024."""
    scale = {"K": 1024, "M": 1024**2, "G": 1024**3}.get(text[-1:].upper(), 1)
    digits = text if scale == 1 else text[:-1]
    if not (digits.isascii() and digits.isdigit()):
        raise argparse.ArgumentTypeError(f"a number of bytes is expected, for instance 4096 or 1M; found {text!r}")
    return int(digits) * scale


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"a number of seconds above 0 is expected; found {text}")
    return value


def _key(path: str) -> bytes:
    """The volume's key from a file: 32 raw bytes, or padded base64 of them. The key is never in a message."""
    try:
        content = Path(path).read_bytes()
        mode = os.stat(path).st_mode
    except OSError as error:
        raise argparse.ArgumentTypeError(f"the key file {path} can't be read: {error.strerror}") from None
    if mode & 0o077:
        raise argparse.ArgumentTypeError(f"the key file {path} is open to others (mode {mode & 0o777:o}); make it 0600")
    if len(content) == KEY_BYTES:
        return content
    try:
        key = base64.b64decode(content.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise argparse.ArgumentTypeError(f"the key file {path} must hold {KEY_BYTES} bytes, or base64 of them")
    return key


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="propolis_lab.volume", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    status = _command(commands, "status", "look, without opening a session", _STATUS)
    status.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    read = _command(commands, "read", "read bytes (opens a session)", _SESSION.format(what="Reading"))
    write = _command(commands, "write", "write bytes (opens a session)", _WRITE + "\n\n" + _SESSION.format(what="It"))
    for command in (read, write):
        _session_options(command)
    read.add_argument(
        "--length", metavar="BYTES", type=_bytes, help="how many bytes (K, M, G are allowed); default: to the end"
    )
    read.add_argument(
        "--output", metavar="FILE", type=Path, help="the file to write, which must not exist; default: standard output"
    )
    read.add_argument("--read-only", action="store_true", help="for downstairs that run with --mode ro; 0 is a good -g")
    write.add_argument(
        "--length", metavar="BYTES", type=_bytes, help="how many bytes at most; default: all that is there"
    )
    write.add_argument("--input", metavar="FILE", type=Path, help="the file to read; default: standard input")
    return top


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, short: str, about: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name, help=short, description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument(
        "-t",
        "--target",
        dest="targets",
        type=_target,
        action="append",
        required=True,
        metavar="IP:PORT",
        help="the data port of a downstairs; to be given three times, always in the same order",
    )
    command.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=60.0,
        help="how long to wait for the downstairs (default 60)",
    )
    return command


def _session_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-g",
        "--generation",
        metavar="NUMBER",
        type=_generation,
        required=True,
        help="the generation of the session, above every number ever used for this volume",
    )
    command.add_argument(
        "--offset", metavar="BYTES", type=_bytes, default=0, help="the first byte (K, M, G are allowed; default 0)"
    )
    command.add_argument(
        "--id", metavar="UUID", type=UUID, default=NIL, help="the upstairs id, normally the volume's id (default nil)"
    )
    command.add_argument(
        "--key-file",
        dest="key",
        type=_key,
        metavar="FILE",
        help="for an encrypted volume: a file of mode 0600 with the 32 bytes of its key, raw or in base64",
    )
    command.add_argument("--age", choices=("2023",), help="speak with downstairs of January 2023 (message version 1)")
    for name, what in (
        ("--block-size", "bytes per block"),
        ("--blocks-per-extent", "blocks per extent"),
        ("--extent-count", "number of extents"),
    ):
        command.add_argument(
            name, metavar="NUMBER", type=_bytes, help=f"{what}; only needed when the downstairs don't tell it (2023)"
        )
    command.add_argument("--verbose", action="store_true", help="tell on standard error what the session does")
