# SPDX-License-Identifier: GPL-3.0-or-later
"""From the arguments to the exit status: chooses the age and the subcommand, and shows how it ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from propolis_lab import certificates
from propolis_lab.downstairs import help as help_text
from propolis_lab.downstairs.clap import HelpWanted, Parser
from propolis_lab.downstairs.command_line import commands_of
from propolis_lab.downstairs.logs import Logger
from propolis_lab.downstairs.options import RunOptions
from propolis_lab.downstairs.outcome import Failure, Panic, report_failure, report_panic
from propolis_lab.region import Age, RegionError


def main(arguments: Sequence[str]) -> int:
    """Run one command line (without the program's name) and give its exit status."""
    age, rest = _age_of(list(arguments))
    try:
        status = _perform(age, rest)
        sys.stdout.flush()
    except (Failure, RegionError) as error:
        return report_failure(error.message, error.cause)
    except Panic as panic:
        return report_panic(panic, age, in_service=rest[:1] == ["run"])
    except BrokenPipeError:
        # Whoever read the output has gone; the rest of it must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _age_of(arguments: list[str]) -> tuple[Age, list[str]]:
    """The laboratory's own global option ``--age``, which must come first."""
    if arguments[:1] == ["--age"] and len(arguments) > 1:
        return _named_age(arguments[1]), arguments[2:]
    if arguments and arguments[0].startswith("--age="):
        return _named_age(arguments[0].removeprefix("--age=")), arguments[1:]
    return Age.TODAY, arguments


def _named_age(name: str) -> Age:
    try:
        return Age(name)
    except ValueError:
        sys.exit(f"--age is {name!r}; it must be 'today' or '2023'")


def _perform(age: Age, arguments: Sequence[str]) -> int:
    commands = commands_of(age)
    try:
        name, values = Parser(commands, age).parse(arguments)
    except HelpWanted as wanted:
        chosen = [command for command in commands if command.name == wanted.command]
        return report_failure(help_text.command_help(chosen[0]) if chosen else help_text.program_help(commands))
    log = Logger.of_process(age)
    if name == "run":
        return _run(age, values, log)
    _COMMANDS.get(name, _left_out)(name, age, values, log)
    return 0


def _create(_name: str, age: Age, values: dict[str, Any], log: Logger) -> None:
    from propolis_lab.downstairs.create import CreateOptions, create  # noqa: PLC0415 - each command loads its own

    image = values["import_path"]
    options = CreateOptions(
        directory=Path(values["data"]),
        uuid=values["uuid"],
        block_size=values["block_size"],
        blocks_per_extent=values["extent_size"],
        extent_count=values["extent_count"],
        encrypted=values["encrypted"],
        image=None if image is None else Path(image),
        clone_source=values.get("clone_source"),
        age=age,
    )
    create(options, log)


def _dump(_name: str, age: Age, values: dict[str, Any], log: Logger) -> None:
    from propolis_lab.downstairs.dump import DumpOptions, dump  # noqa: PLC0415 - each command loads its own

    options = DumpOptions(
        directories=[Path(directory) for directory in values["data"]],
        extent=values["extent"],
        block=values["block"],
        only_differences=values["only_show_differences"],
        colour=not values["no_color"],
        age=age,
    )
    dump(options, log)


def _export(_name: str, age: Age, values: dict[str, Any], log: Logger) -> None:
    from propolis_lab.downstairs.export import export  # noqa: PLC0415 - each command loads its own

    target = Path(values["export_path"])
    export(Path(values["data"]), target, count=values["count"], skip=values["skip"], age=age, log=log)


def _verify(_name: str, _age: Age, values: dict[str, Any], _log: Logger) -> None:
    from propolis_lab.downstairs.verify import verify  # noqa: PLC0415 - each command loads its own

    verify(Path(values["data"]), threads=values["threads"])


def _extent_info(_name: str, _age: Age, values: dict[str, Any], _log: Logger) -> None:
    from propolis_lab.downstairs.extent_info import extent_info  # noqa: PLC0415 - each command loads its own

    extent_info(Path(values["data"]), values["block"])


def _version(_name: str, _age: Age, _values: dict[str, Any], _log: Logger) -> None:
    from propolis_lab.downstairs.version import version_text  # noqa: PLC0415 - each command loads its own

    sys.stdout.write(version_text())


def _clone(_name: str, _age: Age, values: dict[str, Any], log: Logger) -> None:
    from propolis_lab.downstairs.clone import clone  # noqa: PLC0415 - each command loads its own

    clone(Path(values["data"]), values["source"], log)


def _left_out(name: str, _age: Age, _values: dict[str, Any], _log: Logger) -> None:
    raise Failure(f"this stand-in has no `{name}`: it imitates what serves regions and what operators ask about them")


_COMMANDS = {
    "create": _create,
    "dump": _dump,
    "export": _export,
    "verify": _verify,
    "extent-info": _extent_info,
    "version": _version,
    "clone": _clone,
}


def _run(age: Age, values: dict[str, Any], log: Logger) -> int:
    import asyncio  # noqa: PLC0415 - half of the start-up time of commands that do not need it

    with certificates.not_read():
        from propolis_lab.downstairs.serve import serve  # noqa: PLC0415 - each command loads its own

    if values["cert_pem"] is not None:
        raise Failure("this stand-in speaks no TLS: leave out --cert-pem, --key-pem and --root-cert-pem")
    for name in ("oximeter", "trace_endpoint"):
        if values[name] is not None:
            log.warn(
                f"--{name.replace('_', '-')} {values[name]} is ignored: the stand-in sends no metrics and no traces"
            )
    options = RunOptions(
        path=Path(values["data"]),
        address=values["address"],
        port=values["port"],
        mode=values["mode"],
        lossy=values["lossy"],
        read_errors=values["read_errors"],
        write_errors=values["write_errors"],
        flush_errors=values["flush_errors"],
        age=age,
        faults=values["faults"],
        advertise=values["advertise"],
        strict_fence=values["strict_fence"],
    )
    return asyncio.run(serve(options, log))
