# SPDX-License-Identifier: GPL-3.0-or-later
"""The subcommands and options of crucible-downstairs, those of today and those of January 2023."""

from __future__ import annotations

from propolis_lab.downstairs import values
from propolis_lab.downstairs.clap import Command, Option
from propolis_lab.downstairs.options import Mode
from propolis_lab.region.age import Age

DATA = Option("data", "DIRECTORY", "d", required=True, about="the region's directory")


def commands_of(age: Age) -> tuple[Command, ...]:
    """In the order of the program's help."""
    if age is Age.JANUARY_2023:
        return (_create(age), _dump(), _export(), _run(), Command("repair-api", about=_NOT_HERE), _serve())
    return (
        _clone(),
        _create(age),
        _dump(),
        _export(),
        _run(),
        _serve(),
        _verify(),
        _extent_info(),
        Command("version", about="Say which build this imitates and which messages it speaks"),
        Command("dynamometer", about=_NOT_HERE),
        Command("repair-dynamometer", about=_NOT_HERE),
    )


_NOT_HERE = "Part of the real program that the stand-in leaves out"


def _create(age: Age) -> Command:
    u64 = values.unsigned(64)
    count = values.unsigned(32) if age is Age.TODAY else u64
    options = [
        Option("block-size", "BLOCK_SIZE", parse=u64, default=512, about="bytes in a block"),
        DATA,
        Option("extent-size", "EXTENT_SIZE", parse=u64, default=100, about="blocks in an extent"),
        Option("extent-count", "EXTENT_COUNT", parse=count, default=15, about="extents in the region"),
        Option("import-path", "FILE", "i", conflicts=("clone-source",), about="an image to fill the region with"),
        Option("uuid", "UUID", "u", parse=values.uuid_of(age), required=True, about="the region's own id"),
        Option("encrypted", default=False, about="only upstairs with a key may use the region"),
    ]
    if age is Age.TODAY:
        about = "repair address of a read-only downstairs to copy"
        options.append(Option("clone-source", "SOURCE", parse=values.socket_address, about=about))
    else:
        options[4] = Option("import-path", "FILE", "i", about="an image to fill the region with")
    return Command("create", tuple(options), "Make a region")


def _dump() -> Command:
    options = (
        Option("data", "DIRECTORY", "d", many=True, default=(), about="a region's directory; up to three"),
        Option("extent", "EXTENT", "e", parse=values.unsigned(32), about="compare the blocks of one extent"),
        Option("block", "BLOCK", "b", parse=values.unsigned(64), about="compare one block"),
        Option("only-show-differences", short="o", default=False, about="leave out what is equal"),
        Option("no-color", default=False, about="mark differences with arrows, not with colours"),
    )
    return Command("dump", options, "Show generation, flush number and dirty mark of every extent")


def _export() -> Command:
    u64 = values.unsigned(64)
    options = (
        Option("count", "COUNT", parse=u64, default=0, about="blocks to write; 0 for all"),
        DATA,
        Option("export-path", "OUT_FILE", "e", required=True, about="the file to write"),
        Option("skip", "SKIP", "s", parse=u64, default=0, about="blocks to leave out at the start"),
    )
    return Command("export", options, "Write a region's data to a file")


def _run() -> Command:
    options = (
        Option("address", "ADDRESS", "a", parse=values.ip_address, default="0.0.0.0", about="IP to listen on"),  # noqa: S104
        DATA,
        Option("lossy", default=False, about="now and then be slow and forgetful"),
        Option("oximeter", "OXIMETER_ADDRESS:PORT", parse=values.socket_address, about="ignored by the stand-in"),
        Option("port", "PORT", "p", parse=values.unsigned(16), default=9000, about="data port; repairs at +4000"),
        Option("read-errors", default=False, about="let some reads fail"),
        Option("write-errors", default=False, about="let some writes fail"),
        Option("flush-errors", default=False, about="let some flushes fail"),
        Option("trace-endpoint", "TRACE_ENDPOINT", "t", about="ignored by the stand-in"),
        Option("cert-pem", "CERT_PEM", requires=("root-cert-pem", "key-pem"), about="refused: no TLS here"),
        Option("key-pem", "KEY_PEM", requires=("cert-pem", "root-cert-pem"), about="refused: no TLS here"),
        Option("root-cert-pem", "ROOT_CERT_PEM", requires=("cert-pem", "key-pem"), about="refused: no TLS here"),
        Option("mode", "MODE", parse=values.mode, default=Mode.READ_WRITE, about="rw or ro"),
        Option("faults", "FILE|JSON", about="laboratory: what to break and when"),
        Option("advertise", "ADDRESS", parse=values.ip_address, about="laboratory: IP to name to others for repair"),
        Option("strict-fence", default=False, about="laboratory: close the real program's gap in fencing"),
    )
    return Command("run", options, "Serve a region")


def _serve() -> Command:
    options = (
        Option("trace-endpoint", "TRACE_ENDPOINT", "t"),
        Option("bind-addr", "BIND_ADDR", parse=values.socket_address, default="127.0.0.1:4567"),
    )
    return Command("serve", options, _NOT_HERE)


def _clone() -> Command:
    options = (
        DATA,
        Option("source", "SOURCE", "s", parse=values.socket_address, required=True, about="repair address to copy"),
        Option("trace-endpoint", "TRACE_ENDPOINT", "t", about="ignored by the stand-in"),
    )
    return Command("clone", options, "Replace all data of a region by that of a read-only downstairs")


def _verify() -> Command:
    options = (
        DATA,
        Option("threads", "THREADS", "t", parse=values.unsigned(64), about="how many extents to check at a time"),
    )
    return Command("verify", options, "Hold every block of a region against its context")


def _extent_info() -> Command:
    options = (
        DATA,
        Option("block", "BLOCK_RANGE", "b", parse=values.block_range, about="also where these blocks lie: 5 or 5-9"),
    )
    return Command("extent-info", options, "Show where everything lies in an extent's file")
