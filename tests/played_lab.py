# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab of the tests' own, playbooks run on it as a user runs them, and a hand inside it to break things with."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from ansible_collections.apiary.propolis.plugins.module_utils.supervisors.process import ProcessSupervisor
from ansible_collections.apiary.propolis.plugins.module_utils.supervisors.service import Service
from forked_plays import Networks, begin_server, can_be_forked, fork
from forked_processes import ForkedProcess

ROOT = Path(__file__).resolve().parents[1]
PLAY_SECONDS = 170
HOSTS = {"alpha": 1, "beta": 2, "ds0": 11, "ds1": 12, "ds2": 13}  # inventories/lab/hosts.yml


@dataclass(frozen=True)
class Played:
    """How a playbook ended: exit status, everything it printed, and changes counted over all hosts."""

    status: int
    output: str

    @property
    def changed(self) -> int:
        return sum(int(number) for number in re.findall(r"\bchanged=(\d+)", self.output))

    @property
    def words(self) -> str:
        """The output with line breaks and indentation folded, as sentences are broken over lines."""
        return " ".join(self.output.replace("''", "'").split())

    def says(self, *parts: str) -> None:
        """AssertionError with the end of the output unless each of these is said."""
        for part in parts:
            assert part in self.words, f"not said: {part}\n{self.output[-4000:]}"


@dataclass(frozen=True)
class Playing:
    """A playbook that runs."""

    process: subprocess.Popen[bytes] | ForkedProcess
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text()

    @property
    def processes(self) -> list[int]:
        """The play and all below it. Ansible's workers have sessions of their own: no process group holds them all.

        The modules of a forked play are not below it, but named after it.
        """
        first = [self.process.pid, *_called(f"play-{self.process.pid}")]
        return [pid for one in first for pid in (one, *_below(one))]

    def send(self, number: int) -> None:
        """A signal to the play and to all that it started on the controller; what it left behind is not meant."""
        if self.process.poll() is not None:
            return  # its number may be that of another process by now
        for pid in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """SIGKILL to all of them; returns when the play is gone."""
        self.send(signal.SIGKILL)
        self.process.wait()

    def until_said(self, text: str) -> None:
        """Wait until the play says ``text``; AssertionError when it ends without."""
        Lab.until(text, lambda: text in self.output or self.process.poll() is not None, PLAY_SECONDS)
        assert text in self.output, self.output[-3000:]

    def until_lines(self, count: int) -> None:
        """Wait until the play has said so many lines, or has ended."""
        Lab.until(
            f"{count} lines", lambda: self.output.count("\n") >= count or self.process.poll() is not None, PLAY_SECONDS
        )

    @contextlib.contextmanager
    def halted(self) -> Iterator[None]:
        """Nothing of the play goes on for a while; a kill in that time is the last of it."""
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    def ended(self) -> Played:
        """Wait for the end of the play; one that does not end is killed and is a failure."""
        try:
            status = self.process.wait(PLAY_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the play did not end in {PLAY_SECONDS} s:\n{self.output[-3000:]}") from None
        except BaseException:  # an interrupted test must not leave a play behind that goes on in its lab
            self.kill()
            raise
        return Played(status, self.output)


def _below(pid: int) -> list[int]:
    try:
        children = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:  # it has ended since its parent was looked at
        return []
    return [*children, *(below for child in children for below in _below(child))]


def _called(name: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if path.read_text().rstrip("\n") == name:
                found.append(int(path.parent.name))
    return found


@dataclass
class Lab:
    """One lab: a directory, and a network of addresses in the form ``127.0.N``."""

    root: Path
    network: str
    environment: dict[str, str] = field(default_factory=dict)
    inventories: tuple[str, ...] = ("inventories/lab",)
    networks: Networks = field(default_factory=Networks)
    _plays: int = 0

    # --- plays --------------------------------------------------------------------------------------------------------

    def begin(self, name: str, *arguments: str, **variables: Any) -> Playing:
        """Start a playbook with extra variables: one of the collection by its name, or any other by its path."""
        playbook = name if name.endswith(".yml") else f"playbooks/{name}.yml"
        sources = [part for inventory in self.inventories for part in ("-i", inventory)]
        command = ["ansible-playbook", *sources, playbook, *arguments]
        if variables:
            command += ["-e", json.dumps(variables)]
        usual = self._usual_environment()
        environment = usual | self.environment
        self._plays += 1
        log = self.root.with_name(f"{self.root.name}-play-{self._plays}.log")
        if can_be_forked(environment, usual) and begin_server(usual):
            return Playing(fork(command, environment, ROOT, log, self.networks), log)
        # Read from a pipe, a packed module is read byte by byte, which costs more than a file: written, and removed.
        environment.setdefault("ANSIBLE_PIPELINING", "false")
        with log.open("wb") as sink:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Playing(process, log)

    def _usual_environment(self) -> dict[str, str]:
        own = {
            "LAB_ROOT": str(self.root),
            "LAB_NETWORK": self.network,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests" / "callback_plugins"),
        }
        return {name: value for name, value in os.environ.items() if name != "ANSIBLE_COLLECTIONS_PATH"} | own

    def get_ready(self) -> None:
        """Begin the process that plays are forked from, in the network namespace of who calls this."""
        begin_server(self._usual_environment())

    def play(self, name: str, *arguments: str, **variables: Any) -> Played:
        """Run a playbook to its end; see ``begin``."""
        return self.begin(name, *arguments, **variables).ended()

    # --- what is true -------------------------------------------------------------------------------------------------

    def truth(self) -> dict[str, Any]:
        """What a refused play must leave as it was: region files, ledgers, and which processes run."""
        files = sorted(self.root.glob("hosts/*/crucible/*/*"))
        processes = sorted(self.root.glob("hosts/*/*/**/*.json"))
        return {
            "regions": [str(path) for path in files if path.suffix not in (".lock",)],
            "ledgers": {str(path): path.read_text() for path in files if path.suffix == ".ledger"},
            "processes": {str(path): path.read_text() for path in processes if "pid" in path.read_text()},
        }

    def ledgers(self, volume: str = "vm0-boot") -> dict[str, list[int]]:
        """The numbers of each ledger of a volume in the order of their lines, by host."""
        found: dict[str, list[int]] = {}
        for path in sorted(self.root.glob(f"hosts/*/crucible/{volume}/*.ledger")):
            entries = [json.loads(line) for line in path.read_text().splitlines()[1:]]
            found[path.relative_to(self.root).parts[1]] = [int(entry["generation"]) for entry in entries]
        return found

    def address(self, host: str) -> str:
        """The ``IP:port`` of the propolis server on ``host``."""
        return f"{self.network}.{HOSTS[host]}:8000"

    def url(self, host: str) -> str:
        """Where the propolis server on ``host`` answers."""
        return f"http://{self.address(host)}"

    def ask(self, host: str, path: str, timeout: float = 5) -> Any:
        """What the propolis server on ``host`` answers to a GET, or None when it answers no JSON, an error, or not."""
        try:
            answer = requests.get(self.url(host) + path, headers={"api-version": "5.0.0"}, timeout=timeout)
        except requests.RequestException:
            return None
        return answer.json() if answer.ok else None

    def state(self, host: str) -> str | None:
        """The state of the instance on ``host``, or None."""
        answer = self.ask(host, "/instance")
        return str(answer["instance"]["state"]) if answer else None

    # --- breaking things ----------------------------------------------------------------------------------------------

    def fault(self, **settings: Any) -> None:
        """What goes wrong in the propolis servers from now on (``server/faults.py`` of the lab); nothing: no fault."""
        self._replace(self.root / "faults" / "server.json", settings)

    def fault_on_the_wire(self, *rules: Mapping[str, Any]) -> None:
        """What goes wrong between upstairs and downstairs that start from now on (``protocol/faults.py``)."""
        self._replace(self.root / "faults" / "wire.json", list(rules))

    @staticmethod
    def _replace(path: Path, value: Any) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(value))
        fresh.replace(path)

    def _service(self, host: str) -> tuple[ProcessSupervisor, str] | None:
        """Who looks after the one process of ``host`` (a propolis server or a downstairs), and its name there."""
        kinds = ("propolis/*/propolis-server-*.json", "crucible/run/crucible-downstairs-*.json")
        for path in (path for kind in kinds for path in self.root.glob(f"hosts/{host}/{kind}")):
            return ProcessSupervisor(path.parent), path.stem
        return None

    def started(self, host: str) -> bool:
        """Whether anything was ever started on ``host``."""
        return self._service(host) is not None

    def pid(self, host: str) -> int | None:
        """The process that serves on ``host``, or None when there is none."""
        service = self._service(host)
        if service is None:
            return None
        supervisor, name = service
        status = supervisor.status(name)
        return status.pid if status.running else None

    def restart(self, host: str) -> None:
        """Start what served on ``host`` again, with the command line that it had, as its service manager would."""
        supervisor, name = self._known_service(host)
        supervisor.start(Service(name, supervisor.status(name).argv, cwd=supervisor.run_dir), timeout=10)

    @contextlib.contextmanager
    def other_command(self, host: str, change: Callable[[list[str]], list[str]]) -> Iterator[None]:
        """What serves on ``host`` has a life with another command line, killed before it and after it."""
        supervisor, name = self._known_service(host)
        argv = list(supervisor.status(name).argv)
        self.kill(host)
        supervisor.start(Service(name, change(argv), cwd=supervisor.run_dir), timeout=10)
        try:
            yield
        finally:
            if self.pid(host) is not None:
                self.kill(host)
            supervisor.start(Service(name, argv, cwd=supervisor.run_dir), timeout=10)

    def _known_service(self, host: str) -> tuple[ProcessSupervisor, str]:
        service = self._service(host)
        assert service is not None, f"nothing was ever started on {host}"
        return service

    def kill(self, host: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to what serves on ``host``; after a deadly one, wait until it is gone."""
        pid = self.pid(host)
        assert pid is not None, f"nothing serves on {host}"
        os.kill(pid, number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            self.until(f"the process on {host} is gone", lambda: self.pid(host) is None)

    @contextlib.contextmanager
    def frozen(self, host: str) -> Iterator[None]:
        """What serves on ``host`` answers nothing for a while: its process is stopped and continued afterwards."""
        self.kill(host, signal.SIGSTOP)
        try:
            yield
        finally:
            self.kill(host, signal.SIGCONT)

    @staticmethod
    def until(what: str, true: Callable[[], Any], seconds: float = 30.0) -> Any:
        """Wait for something to be true and return it."""
        limit = time.monotonic() + seconds
        while not (found := true()):
            assert time.monotonic() < limit, f"not true after {seconds} s: {what}"
            time.sleep(0.02)  # files and processes of others: there is no event to wait for
        return found
