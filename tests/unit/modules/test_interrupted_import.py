# SPDX-License-Identifier: GPL-3.0-or-later
"""An import ends with the module that began it: by a signal, or with the connection over which that was asked for."""

from __future__ import annotations

import getpass
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

IMPORTING = """
import sys
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.geometry import Geometry
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.program import DownstairsProgram
from pathlib import Path
DownstairsProgram(sys.argv[1], 60).create(Path(sys.argv[2]), "u", Geometry(512, 16, 3, False))
"""


@contextmanager
def importing(folder: Path, *before: str, stdout: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for an import which takes ten minutes; AssertionError unless that has ended afterwards.

    ``before`` are the first words of the command line.
    """
    os.mkfifo(folder / "begun")
    program = folder / "crucible-downstairs"
    program.write_text(f"#!/bin/sh\necho $$ > {folder / 'begun'}\nexec sleep 600\n")
    program.chmod(0o755)
    command = ["env", f"PYTHONPATH={os.pathsep.join(sys.path)}", sys.executable, "-c", IMPORTING, str(program)]
    command.append(str(folder / "r"))
    module = subprocess.Popen([*before, shlex.join(command)] if before else command, stdout=stdout)
    program_id = int((folder / "begun").read_text())
    handle = os.pidfd_open(program_id)
    try:
        assert module.poll() is None
        yield module
        assert select.select([handle], [], [], 10)[0], "the import goes on"
    except BaseException:
        os.killpg(program_id, signal.SIGKILL)
        raise
    finally:
        os.close(handle)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_ends_the_module_ends_the_import_too(tmp_path: Path, number: signal.Signals) -> None:
    with importing(tmp_path) as module:
        module.send_signal(number)
        assert module.wait(10) == -number


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_an_import_ends_when_nobody_can_read_the_result_of_its_module_any_more(tmp_path: Path, kind: str) -> None:
    ours, theirs = os.pipe() if kind == "pipe" else (end.detach() for end in socket.socketpair())
    with importing(tmp_path, stdout=theirs) as module:
        os.close(theirs)
        os.close(ours)
        assert module.wait(10) == -signal.SIGHUP


def lacking(why: str) -> None:
    sentence = f"SKIPPED LOUDLY: nothing can be interrupted over ssh here: {why}"
    pytest.fail(sentence) if os.environ.get("CI") == "true" else pytest.skip(sentence)


@pytest.fixture
def over_ssh(tmp_path: Path) -> list[str]:
    """The first words of a command line that logs in here by ssh. Its server lives for one connection, on no port."""
    server = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if server is None or shutil.which("ssh") is None:
        lacking("sshd and ssh are not installed")
    keys = [tmp_path / name for name in ("host", "user")]
    for key in keys:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    settings = {"HostKey": keys[0], "AuthorizedKeysFile": f"{keys[1]}.pub", "StrictModes": "no", "UsePAM": "no"}
    served = shlex.join(
        [str(server), "-i", "-f", "/dev/null", *(f"-o{name}={value}" for name, value in settings.items())]
    )
    options = {
        "ProxyCommand": served,
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "BatchMode": "yes",
    }
    login = ["ssh", "-F", "none", "-i", str(keys[1]), *(f"-o{name}={value}" for name, value in options.items())]
    login.append(f"{getpass.getuser()}@here")
    tried = subprocess.run([*login, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        lacking(tried.stderr.strip())
    return login


def test_an_import_ends_when_the_ssh_connection_of_its_module_is_cut(tmp_path: Path, over_ssh: list[str]) -> None:
    with importing(tmp_path, *over_ssh) as connection:
        connection.kill()
        connection.wait()
