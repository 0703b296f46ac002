# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line, of today's server and of January 2023's: options, error texts and exit codes as seen on the real
one.

Options of the lab itself stand before the subcommand, where the real program has none:
`[--age 2023-01 | --latest-api X.Y.Z] [--history FILE] [--faults JSON|FILE]`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from propolis_lab.server.api_version import VersionSyntaxError, parse_version
from propolis_lab.server.deserialize import socket_address_text
from propolis_lab.server.instance_spec import Version
from propolis_lab.server.log import Level

SEED_AGE = "2023-01"
_NOTICE = "This is the lab's stand-in: hypervisor, devices and guest are imitated."
_LAB_HELP = """Options of the lab (before the command):
      --age 2023-01        Be the server of January 2023
      --latest-api X.Y.Z   Newest API version to accept (default: 5.0.0)
      --history FILE       Append what happens, as JSON lines
      --faults JSON|FILE   What goes wrong on purpose
"""
_TOP_HELP = f"""HTTP server for one virtual machine
{_NOTICE}

Usage: propolis-server <COMMAND>

Commands:
  run   Start the server
  help  Show this text

Options:
  -h, --help     Show this text
  -V, --version  Show the version

{_LAB_HELP}"""
_RUN_USAGE = "Usage: propolis-server run [OPTIONS] <BOOTROM_PATH> <PROPOLIS_IP:PORT> [VNC_IP:PORT]"
_RUN_HELP = f"""Start the server
{_NOTICE}

{_RUN_USAGE}

Arguments:
  <BOOTROM_PATH>      Boot ROM; looked at when an instance is made
  <PROPOLIS_IP:PORT>  Where to listen for HTTP
  [VNC_IP:PORT]       Where the real server would listen for VNC

Options:
      --bootrom-version <BOOTROM_VERSION>  Taken and not used
      --metric-addr <METRIC_ADDR>          disable, dns or IP:PORT; taken and not used [default: disable]
      --log-level <LOG_LEVEL>              critical, error, warning, info, debug or trace [default: info]
  -h, --help                               Show this text
"""
_SEED_HELP = f"""Propolis server of January 2023
{_NOTICE}

Usage: propolis-server <COMMAND>

Commands:
  run   Start the server: run [OPTIONS] <CONFIG_TOML> <PROPOLIS_IP:PORT> [VNC_IP:PORT]
  help  Show this text

{_LAB_HELP}"""
_VERSION = "propolis-server 0.1.0"
_MORE = "\n\nFor more information, try '--help'.\n"
_LEVELS = {
    "critical": Level.CRITICAL,
    "error": Level.ERROR,
    "warning": Level.WARN,
    "warn": Level.WARN,
    "info": Level.INFO,
    "debug": Level.DEBUG,
    "trace": Level.TRACE,
}


class ExitWith(Exception):
    """End the program with this status after writing these texts."""

    def __init__(self, status: int, *, out: str = "", err: str = "") -> None:
        super().__init__(err or out)
        self.status = status
        self.out = out
        self.err = err


@dataclass(frozen=True)
class Arguments:
    """What the command line asks for. `boot` is the boot ROM today, the configuration file in January 2023."""

    boot: Path
    listen: tuple[str, int]
    seed: bool = False
    latest_api: Version = (5, 0, 0)
    history: Path | None = None
    faults: str | None = None
    level: Level = Level.INFO


@dataclass
class _Lab:
    """The lab's own options, while they are collected."""

    seed: bool = False
    latest_api: Version = (5, 0, 0)
    history: Path | None = None
    faults: str | None = None
    rest: list[str] = field(default_factory=list)


def _usage_error(text: str) -> ExitWith:
    return ExitWith(2, err=f"error: {text}{_MORE}")


def _lab_options(words: list[str]) -> _Lab:
    found = _Lab()
    left = list(words)
    while left and left[0].partition("=")[0] in ("--age", "--latest-api", "--history", "--faults"):
        name, equals, value = left.pop(0).partition("=")
        if not equals:
            if not left:
                raise _usage_error(f"a value is required for '{name}' but none was supplied")
            value = left.pop(0)
        if name == "--age":
            if value != SEED_AGE:
                raise _usage_error(f"invalid value '{value}' for '--age': expected {SEED_AGE}")
            found.seed = True
        elif name == "--latest-api":
            try:
                found.latest_api = parse_version(value)
            except VersionSyntaxError as error:
                raise _usage_error(f"invalid value '{value}' for '--latest-api': {error}") from None
        elif name == "--history":
            found.history = Path(value)
        else:
            found.faults = value
    found.rest = left
    return found


def parse(words: list[str]) -> Arguments:
    """The arguments after the program's name; raises ExitWith for help and for errors."""
    lab = _lab_options(words)
    top = _SEED_HELP if lab.seed else _TOP_HELP
    if not lab.rest:
        raise ExitWith(2, err=top)
    command, *rest = lab.rest
    if command in ("-h", "--help", "help"):
        raise ExitWith(0, out=top)
    if command in ("-V", "--version"):
        raise ExitWith(0, out=_VERSION + "\n")
    if command.startswith("-"):
        raise _usage_error(f"unexpected argument '{command}' found\n\nUsage: propolis-server <COMMAND>")
    if command != "run":
        raise _usage_error(f"unrecognized subcommand '{command}'\n\nUsage: propolis-server <COMMAND>")
    return _run(lab, rest)


def _run(lab: _Lab, words: list[str]) -> Arguments:
    first = "CONFIG_TOML" if lab.seed else "BOOTROM_PATH"
    names = [f"<{first}>", "<PROPOLIS_IP:PORT>", "[VNC_IP:PORT]"]
    plain, options = _collect(lab, words, names)
    if len(plain) < 2:
        missing = "\n".join(f"  {name}" for name in names[len(plain) : 2])
        usage = f"Usage: propolis-server run <{first}> <PROPOLIS_IP:PORT> [VNC_IP:PORT]"
        raise _usage_error(f"the following required arguments were not provided:\n{missing}\n\n{usage}")
    for name, check in _option_checks(lab.seed).items():
        if name in options:
            check(options[name])
    listen = _checked_address(plain[1], names[1])
    if options.get("--metric-addr") == "dns" and not lab.seed and _is_local_or_v4(listen[0]):
        text = "Metric registration can only use DNS if the Propolis server is provided a non-localhost IPv6 address"
        raise ExitWith(1, err=f"Error: {text}\n")
    level = _LEVELS[options.get("--log-level", "info").lower()]
    return Arguments(Path(plain[0]), listen, lab.seed, lab.latest_api, lab.history, lab.faults, level)


def _collect(lab: _Lab, words: list[str], names: list[str]) -> tuple[list[str], dict[str, str]]:
    """The plain arguments and the options of `run`; addresses are checked as they come, like the real program does."""
    plain: list[str] = []
    options: dict[str, str] = {}
    left = list(words)
    while left:
        word = left.pop(0)
        if word in ("-h", "--help"):
            raise ExitWith(0, out=_SEED_HELP if lab.seed else _RUN_HELP)
        name, equals, value = word.partition("=")
        if name in _option_checks(lab.seed):
            if not equals:
                if not left:
                    raise _usage_error(f"a value is required for '{name} <{_value_name(name)}>' but none was supplied")
                value = left.pop(0)
            options[name] = value
        elif word.startswith("-") and word != "-":
            raise _unexpected(word, bool(plain))
        else:
            plain.append(word)
            if len(plain) > len(names):
                raise _usage_error(f"unexpected argument '{word}' found\n\n{_RUN_USAGE}")
            if len(plain) > 1:
                _checked_address(word, names[len(plain) - 1])
    return plain, options


def _is_local_or_v4(host: str) -> bool:
    return ":" not in host or host == "::1"


def _value_name(option: str) -> str:
    return option.removeprefix("--").replace("-", "_").upper()


def _checked_address(text: str, name: str) -> tuple[str, int]:
    try:
        return socket_address_text(text)
    except ValueError as error:
        raise _usage_error(f"invalid value '{text}' for '{name}': {error}") from None


def _option_checks(seed: bool) -> dict[str, Callable[[str], None]]:
    if seed:
        return {"--metric-addr": _check_seed_metrics}
    return {"--bootrom-version": lambda _text: None, "--metric-addr": _check_metrics, "--log-level": _check_level}


def _check_level(text: str) -> None:
    if text.lower() not in _LEVELS:
        raise _usage_error(f"invalid value '{text}' for '--log-level <LOG_LEVEL>': Invalid log level")


def _check_metrics(text: str) -> None:
    if text in ("disable", "dns"):
        return
    try:
        socket_address_text(text)
    except ValueError:
        reason = "Metric registration must be 'disable', 'dns', or an explicit socket address written as `IP:port`"
        raise _usage_error(f"invalid value '{text}' for '--metric-addr <METRIC_ADDR>': {reason}") from None


def _check_seed_metrics(text: str) -> None:
    _checked_address(text, "--metric-addr <METRIC_ADDR>")


def _unexpected(word: str, after_arguments: bool) -> ExitWith:
    tip = f"  tip: to pass '{word}' as a value, use '-- {word}'" if word.startswith("--") else ""
    usage = _RUN_USAGE
    if after_arguments:
        parts = "BOOTROM_PATH|PROPOLIS_IP:PORT|--bootrom-version <BOOTROM_VERSION>|--metric-addr <METRIC_ADDR>"
        usage = f"Usage: propolis-server run <{parts}|VNC_IP:PORT|--log-level <LOG_LEVEL>>"
    text = f"unexpected argument '{word}' found"
    return _usage_error("\n\n".join(part for part in (text, tip, usage) if part))
