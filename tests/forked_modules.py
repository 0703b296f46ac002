# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules of the tests' plays, each in a process forked from one that has imported already what modules import.

Two thirds of a play's processor time are modules that start Python and import the same files as the one before. Here
ansible-core packs a module, and chooses how to run it, as always; only the command that it gives to a local connection
to run the packed module with Python becomes a request to a server, which forks. The module gets the source,
environment, directory and umask that it would have had, and its own session, standard output and standard error.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import selectors
import shlex
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from namespaces import enter

_ROOT = Path(__file__).resolve().parents[1]
_SIZES = struct.Struct("!II")  # of the request as JSON, and of the module's source
_STATUS = struct.Struct("!i")
_Ran = tuple[int, bytes, bytes]  # exit status, standard output, standard error
_IMPORTED = (
    "ansible.module_utils._internal._ansiballz._loader",
    "ansible.module_utils._internal._json._profiles._module_legacy_c2m",
    "ansible.module_utils._internal._json._profiles._module_legacy_m2c",
    *("base64", "datetime", "runpy", "shutil", "tempfile", "zipfile"),  # by the code that unpacks a module
)


class Server:
    """The process that forks. It must begin before the process that makes it has imported anything of ansible-core.

    It ends when its maker and all processes that were forked from that have ended: they alone can ask it.
    """

    def __init__(self) -> None:
        asking, self._asking = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            try:
                self._asking.close()
                _serve(asking)
            finally:
                _end(1)
        asking.close()

    def run(self, play: str, source: bytes, network: Path | None) -> _Ran:
        """Run a packed module; its exit status (that of a signal is negative), and what it wrote to its two outputs.

        The module's process is called ``play``, and is in the network namespace of the file ``network``.
        """
        umask = os.umask(0o77)
        os.umask(umask)
        about = {
            "name": play,
            "environment": dict(os.environ),
            "directory": os.getcwd(),
            "umask": umask,
            "network": network and str(network),
        }
        request = json.dumps(about).encode()
        outputs = [os.pipe(), os.pipe()]
        asked, given = socket.socketpair()
        with asked:
            with given:
                writing = [written for _read, written in outputs]
                socket.send_fds(self._asking, [b"module"], [given.fileno(), *writing])
            for file in writing:
                os.close(file)
            asked.sendall(_SIZES.pack(len(request), len(source)) + request + source)
            written = _read_to_their_ends([read for read, _written in outputs])
            status = asked.recv(_STATUS.size)
        if not status:
            raise RuntimeError(f"the server of modules went away from a module of {play}")
        return _STATUS.unpack(status)[0], written[0], written[1]


def _read_to_their_ends(files: list[int]) -> list[bytes]:
    found = {file: bytearray() for file in files}
    with selectors.DefaultSelector() as selector:
        for file in files:
            selector.register(file, selectors.EVENT_READ)
        while selector.get_map():
            for key, _events in selector.select():
                if part := os.read(key.fd, 1 << 16):
                    found[key.fd] += part
                else:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return [bytes(found[file]) for file in files]


def _serve(asking: socket.socket) -> None:
    """Fork for each request, and tell who asked how the process ended."""
    atexit._clear()  # type: ignore[attr-defined]  # what the maker of the server wants done at its own end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _import_all()
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    gc.disable()  # looking for garbage would copy the memory that the processes share
    gc.freeze()
    running: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        for waited in (asking, woken):
            selector.register(waited, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _events in selector.select()}
            if woken in ready:
                os.read(woken, 1 << 12)
                _tell_the_ends(running)
            if asking in ready:
                _word, files, *_rest = socket.recv_fds(asking, 16, 3)
                if not files:  # nobody is left who could ask
                    os._exit(0)
                asked, outputs = socket.socket(fileno=files[0]), files[1:]
                pid = os.fork()
                if pid == 0:
                    _be_the_module(asked, outputs)
                running[pid] = asked
                for file in outputs:
                    os.close(file)


def _tell_the_ends(running: dict[int, socket.socket]) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            # Who asked may have been killed meanwhile.
            with contextlib.suppress(OSError), running.pop(pid) as asked:
                asked.sendall(_STATUS.pack(os.waitstatus_to_exitcode(status)))


def _import_all() -> None:
    for name in _IMPORTED:
        importlib.import_module(name)
    plugins = _ROOT / "plugins"
    for path in sorted((plugins / "module_utils").rglob("[a-z]*.py")):
        name = ".".join(path.relative_to(plugins).with_suffix("").parts)
        importlib.import_module(f"ansible_collections.apiary.propolis.plugins.{name}")


def _be_the_module(asked: socket.socket, outputs: list[int]) -> NoReturn:
    """Do what Python does that is started with the module's source on its standard input."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        source = _become_what_was_asked_for(asked, outputs)
        sys.argv = ["-"]
        main = sys.modules["__main__"] = ModuleType("__main__")
        try:
            exec(compile(source, "<stdin>", "exec", dont_inherit=True), main.__dict__)  # noqa: S102  # that is the purpose
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        _end(status)


def _end(status: int) -> NoReturn:
    """End this process as Python would, but without what was forked with it: says what was raised, if anything was."""
    if sys.exc_info()[0] not in (None, SystemExit):
        sys.excepthook(*sys.exc_info())
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the end of Python does
        atexit._run_exitfuncs()  # type: ignore[attr-defined]  # what the module wants done at its end, as Python does
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _become_what_was_asked_for(asked: socket.socket, outputs: list[int]) -> bytes:
    with asked.makefile("rb") as stream:
        about_size, source_size = _SIZES.unpack(stream.read(_SIZES.size))
        about = json.loads(stream.read(about_size))
        source = stream.read(source_size)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate((nothing, *outputs)):
        os.dup2(file, number)
    os.closerange(3, 1 << 10)
    Path("/proc/self/comm").write_text(about["name"])
    if about["network"] is not None:
        enter(Path(about["network"]))
    os.environ.clear()
    os.environ.update(about["environment"])
    os.chdir(about["directory"])
    os.umask(about["umask"])
    return source


def use(server: Server, play: str, networks: Mapping[str, Path | None]) -> None:
    """From now on the local connections of this process, and of those forked from it, run packed modules so.

    ``networks`` are the network namespaces of modules by their interpreter: this Python, or a script that becomes it.
    """
    from ansible.plugins.connection import local

    ordinary: Callable[..., _Ran] = local.Connection.exec_command
    commands = {
        f"/bin/sh -c {shlex.quote(f'{shlex.quote(python)} && sleep 0')}": networks[python] for python in networks
    }

    def exec_command(
        self: Any, cmd: str, in_data: bytes | None = None, sudoable: bool = True
    ) -> tuple[int, bytes, bytes]:
        if cmd in commands and in_data is not None:
            return server.run(play, in_data, commands[cmd])
        return ordinary(self, cmd, in_data=in_data, sudoable=sudoable)

    local.Connection.exec_command = exec_command
