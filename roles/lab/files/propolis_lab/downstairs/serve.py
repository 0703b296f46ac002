# SPDX-License-Identifier: GPL-3.0-or-later
"""``crucible-downstairs run``: opens the region, takes the two ports and serves until the process is killed.

The order of what happens and of what is logged, and the words of each failure, are the recorded ones: the region is
opened before the data port is taken, and the data port before the repair service's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator

from aiohttp import web

from propolis_lab.protocol.faults import Faults, FaultsError
from propolis_lab.protocol.stream import FrameStream
from propolis_lab.region import Age, Region
from propolis_lab.region.errors import os_error_text, quoted

from .connection import Connection
from .logs import Logger
from .opening import log_shape, open_logged
from .options import Mode, RunOptions
from .outcome import Failure, Panic
from .repair_api import RepairApi
from .service import REPAIR_PORT_OFFSET, Service
from .version import MESSAGE_VERSION_RECORD, VERSION_RECORD

_BACKLOG = 128
_NOTICE_2023 = (
    "This stand-in speaks message version 1 in the encodings of version 13, because those of version 1 are not known: "
    "it serves the laboratory's own upstairs only"
)


async def serve(options: RunOptions, log: Logger) -> int:
    """Serve the region until the process ends; the exit status if it ends here.

    Raises RegionError, Failure or Panic when it can't begin.
    """
    try:
        faults = Faults.load("downstairs", options.faults)
    except FaultsError as error:
        raise Failure(str(error)) from error
    region = open_logged(options.path, options.age, log, read_only=options.mode is Mode.READ_ONLY)
    log_shape(region, log)
    try:
        if options.port + REPAIR_PORT_OFFSET > 65535:
            raise Panic(
                "downstairs/src/main.rs:458:28" if options.age is Age.TODAY else "downstairs/src/main.rs:346:17",
                "attempt to add with overflow",
            )
        with _interruptible():
            return await _serve(region, options, faults, log)
    finally:
        region.close()


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Die of SIGINT at once, as of SIGTERM and as the real program: the files are sound at any moment."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


async def _serve(region: Region, options: RunOptions, faults: Faults, log: Logger) -> int:
    main = log.child(task="main")
    today = options.age is Age.TODAY
    with _listener(options) as listener:
        if today:
            main.info(VERSION_RECORD)
            main.info(MESSAGE_VERSION_RECORD)
        else:
            log.warn(_NOTICE_2023)
            main.info(f"Using address: {_text(options.address, listener.getsockname()[1])}")
        service = Service(region, options, faults, log)
        runner = await _start_repair_service(service, options, log)
        try:
            main.info(f"Using repair address: {service.terms.repair_address}")
            main.info("No SSL acceptor configured")
            place = _text(options.address, options.port)
            main.info(f"downstairs listening on {place}" if today else f"listening on {place}")
            await _accept(listener, service)
        finally:
            await runner.cleanup()
    return 0


def _listener(options: RunOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((options.address, options.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise Failure(os_error_text(error)) from error
    listener.setblocking(False)
    return listener


async def _start_repair_service(service: Service, options: RunOptions, log: Logger) -> web.AppRunner:
    place = str(service.terms.repair_address)
    repair = log.child(task="repair")
    where = f" for path:{quoted(options.path)}" if options.age is Age.TODAY else ""
    repair.info(f"Repair listens on {place}{where}")
    runner = web.AppRunner(
        RepairApi(service, place).application(), access_log=None, handle_signals=False, shutdown_timeout=1.0
    )
    await runner.setup()
    port = options.port + REPAIR_PORT_OFFSET
    try:
        await web.TCPSite(runner, options.address, port, reuse_address=True).start()
    except OSError as error:
        await runner.cleanup()
        text = f"[Errno {error.errno}]" if error.errno is None else _os_text(error.errno)
        raise Failure(
            f'got "failed to create server: error creating server listener: {text}" from repair main'
        ) from error
    repair.info("listening", local_addr=place)
    return runner


async def _accept(listener: socket.socket, service: Service) -> None:
    loop = asyncio.get_running_loop()
    port = service.options.port
    served: set[asyncio.Task[None]] = set()
    number = 0
    try:
        while True:
            try:
                connection, _unused = await loop.sock_accept(listener)
            except ConnectionAbortedError:  # gone before it was taken
                continue
            if service.faults.refuses(port):
                service.log.warn("A connection is refused, as a requested fault says")
                connection.close()
                continue
            try:
                stream = FrameStream(connection, port, service.faults)
            except OSError:  # gone before it was looked at
                connection.close()
                continue
            member = Connection(number, stream, service)
            service.connections[number] = member
            number += 1
            task = loop.create_task(member.run())
            served.add(task)
            task.add_done_callback(served.discard)
            task.add_done_callback(lambda done: _note_failure(done, service.log))
    finally:
        for task in served:
            task.cancel()
        await asyncio.gather(*served, return_exceptions=True)


def _note_failure(task: asyncio.Task[None], log: Logger) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error(f"The stand-in itself failed, and closed one connection: {error!r}")


def _text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _os_text(number: int) -> str:
    return os_error_text(OSError(number, os.strerror(number)))
