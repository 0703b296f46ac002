# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest's terminal: echo, login, and the words of a command line. Commands themselves are the guest's business."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

HOST = "lab"
LOGIN_PROMPT = f"{HOST} login: "
SHELL_PROMPT = f"root@{HOST}:~# "
_ERASE = (0x08, 0x7F)
_LONGEST_LINE = 4096


@dataclass(frozen=True)
class ShellState:
    """What must survive a move: who is logged in, the line typed so far, and a command that was not yet answered."""

    user: str | None = None
    line: str = ""
    pending: str | None = None


class Shell:
    """Turns typed bytes into commands. `write` puts text on the console, `run` gets each command line of a logged-in
    user."""

    def __init__(self, write: Callable[[str], None], run: Callable[[str], None]) -> None:
        self._write = write
        self._run = run
        self.state = ShellState()
        self._last = 0

    def prompt(self) -> None:
        self._write(LOGIN_PROMPT if self.state.user is None else SHELL_PROMPT)

    def begin(self) -> None:
        """A freshly booted machine: nobody is logged in."""
        self.state = ShellState()
        self.prompt()

    def answered(self) -> None:
        """The pending command is done."""
        self.state = replace(self.state, pending=None)
        self.prompt()

    def typed(self, data: bytes) -> None:
        """Bytes from the console, at any time; while a command runs they wait in the line."""
        for byte in data:
            previous, self._last = self._last, byte
            if byte == 0x0A and previous == 0x0D:
                continue
            if byte in (0x0D, 0x0A):
                self._enter()
            elif byte in _ERASE:
                if self.state.line:
                    self.state = replace(self.state, line=self.state.line[:-1])
                    self._write("\b \b")
            elif byte == 0x03:
                self._write("^C\r\n")
                self.state = replace(self.state, line="")
                self.prompt()
            elif 0x20 <= byte < 0x7F and len(self.state.line) < _LONGEST_LINE:
                self.state = replace(self.state, line=self.state.line + chr(byte))
                self._write(chr(byte))

    def _enter(self) -> None:
        line, self.state = self.state.line.strip(), replace(self.state, line="")
        self._write("\r\n")
        if self.state.user is None:
            self._login(line)
        elif not line:
            self.prompt()
        elif line in ("exit", "logout"):
            self.begin()
        elif self.state.pending is not None:
            self._write(f"busy with `{self.state.pending}`\r\n")
        else:
            self.state = replace(self.state, pending=line)
            self._run(line)

    def _login(self, name: str) -> None:
        if name == "root":
            self.state = replace(self.state, user=name)
            self._write("Welcome to the lab's guest. `help` lists the commands.\r\n")
        elif name:
            self._write("Login incorrect\r\n")
        self.prompt()
