# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m propolis_lab.server`: the stand-in for propolis-server as a program."""

from __future__ import annotations

import asyncio
import signal
import sys
from functools import partial
from pathlib import Path

from propolis_lab.server.commandline import Arguments, ExitWith, parse
from propolis_lab.server.environment import Environment
from propolis_lab.server.faults import Faults, FaultsError
from propolis_lab.server.history import History
from propolis_lab.server.log import STAND_IN_NOTICE, Log
from propolis_lab.server.serve import BindError, Listener, ProtocolFactory, bound_socket, today
from propolis_lab.server.volumes import volume_maker

_MESSAGE_VERSION_TODAY = 13
_MESSAGE_VERSION_SEED = 1


def _environment(arguments: Arguments, log: Log, bootrom: Path) -> Environment:
    host, port = arguments.listen
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        history = History(arguments.history, address)
    except OSError as error:
        raise ExitWith(1, err=f"Error: history file {arguments.history}: {error.strerror}\n") from None
    try:
        faults = Faults(arguments.faults, warn=log.warn, last_words=partial(history.record, "died"))
    except FaultsError as error:
        raise ExitWith(2, err=f"error: {error}\n") from None
    version = _MESSAGE_VERSION_SEED if arguments.seed else _MESSAGE_VERSION_TODAY
    latest = None if arguments.seed else arguments.latest_api
    return Environment(arguments.listen, bootrom, log, history, faults, volume_maker(version), latest)


async def _serve(environment: Environment, factory: ProtocolFactory) -> None:
    listener = Listener(environment, factory)
    try:
        bound = bound_socket(*environment.listen)
    except BindError:
        text = f"Failed to start server: failed to bind to {environment.address}"
        raise ExitWith(1, err=f"Error: {text}\n") from None
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, partial(environment.faults.reload, force=True))
    await listener.open(bound)
    environment.log.info("listening", local_addr=environment.address)
    environment.history.record("started")
    await listener.serve()


async def _today(arguments: Arguments, log: Log) -> None:
    log.info("metric registration is disabled, no metric data will be produced by this server")
    log.info("reservoir too small (0MiB) to use for guest memory")
    environment = _environment(arguments, log, arguments.boot)
    log.info("Starting server...")
    await _serve(environment, today(environment))


async def _seed(arguments: Arguments, log: Log) -> None:
    from propolis_lab.server.seed_config import ConfigError, read_config  # noqa: PLC0415 - each age loads its own
    from propolis_lab.server.seed_serve import seed  # noqa: PLC0415 - each age loads its own

    try:
        config = read_config(arguments.boot)
    except ConfigError as error:
        raise ExitWith(1, err=f"Error: {error}\n") from None
    environment = _environment(arguments, log, config.bootrom)
    log.info("Starting server...")
    await _serve(environment, seed(environment, config))


def main(words: list[str]) -> int:
    """Run until a signal ends the process; returns the exit status of what ends earlier."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        arguments = parse(words)
        log = Log(sys.stderr if arguments.seed else sys.stdout, text=arguments.seed, level=arguments.level)
        log.info(STAND_IN_NOTICE)
        asyncio.run(_seed(arguments, log) if arguments.seed else _today(arguments, log))
    except ExitWith as end:
        sys.stdout.write(end.out)
        sys.stderr.write(end.err)
        return end.status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
