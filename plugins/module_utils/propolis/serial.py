# SPDX-License-Identifier: GPL-3.0-or-later
"""The serial console of an instance: waiting for a pattern, typing lines, keeping the output, following a move.

The history endpoint gives the bytes by their offset, so nothing is lost or seen twice; the websocket says when to
look. A server of January 2023 starts a new history at the destination of a move, so we start anew there too.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from .address import Address
from .dialects import Request
from .errors import (
    ApiError,
    BadDescription,
    NoAnswer,
    NoInstance,
    NotPropolis,
    PropolisError,
    Unreachable,
    WaitTimeout,
)
from .instance import Phase
from .observation import Place, Reach, ServerName, Sighting, place
from .observe import Look, Observer
from .serial_output import Output, compile_pattern
from .serial_socket import News, Socket, Told
from .server import Server

_READ = 64 * 1024  # bytes that are asked for at once
# Without news the history is read this often: a websocket may be gone without a word.
_STEP = 0.5  # seconds
_ALIVE = (Place.RUNS, Place.MOVING, Place.STARTING, Place.STOPPING, Place.CREATED)


class ConsoleEnded(PropolisError):
    """The instance whose console is watched has ended."""

    default_code = "console_ended"


@dataclass(frozen=True)
class Wish:
    """What is wanted of a console. One of ``from_start`` and ``most_recent`` (bytes) or neither: only what is new.

    ``send`` are lines; a carriage return is typed after each. ``others`` are servers where the instance may go.
    """

    server: ServerName
    expect: str | None = None
    send: tuple[str, ...] = ()
    from_start: int | None = None
    most_recent: int | None = None
    timeout: float = 60.0
    capture: Path | None = None
    others: tuple[ServerName, ...] = ()
    api: str = "auto"
    ask_timeout: float = 5.0

    def check(self) -> None:
        """Raise BadDescription for what cannot be meant."""
        if self.from_start is not None and self.most_recent is not None:
            raise BadDescription("from_start and most_recent exclude each other; give one of them, or none.")
        for name, number in (("from_start", self.from_start), ("most_recent", self.most_recent)):
            if number is not None and number < 0:
                raise BadDescription(f"{name} is {number}; it must be a number of bytes from 0 up.")
        if self.timeout <= 0:
            raise BadDescription(f"timeout is {self.timeout}; it must be a number of seconds above 0.")
        if self.expect is None and not self.send and self.capture is None:
            raise BadDescription("Nothing is asked of the console: give expect, send or capture.")


@dataclass(frozen=True)
class Heard:
    """What came of it. ``offset`` is where to go on reading at ``server``; ``output`` is the end of the output.

    ``lost`` counts bytes that the server no longer had when we asked.
    """

    match: str | None
    groups: tuple[str | None, ...]
    named_groups: dict[str, str | None]
    output: str
    offset: int
    server: ServerName
    sent: int = 0
    lost: int = 0
    moves: tuple[str, ...] = field(default=())


def listen(wish: Wish) -> Heard:
    """Do what is wished. Without ``expect`` the console is kept for the whole ``timeout`` when it is captured.

    Raises WaitTimeout when the pattern does not come (with the last output), ConsoleEnded when the instance ends,
    and the errors of asking servers.
    """
    wish.check()
    pattern = compile_pattern(wish.expect) if wish.expect is not None else None
    observer = Observer(api=wish.api, timeout=min(wish.ask_timeout, wish.timeout))
    deadline = time.monotonic() + wish.timeout
    server = observer.open(wish.server)
    with Output(pattern, wish.capture) as output:
        return _Session(wish, output, observer, server, deadline).run()


class _Session:
    """One console while it is watched, over all servers that its instance visits."""

    def __init__(self, wish: Wish, output: Output, observer: Observer, server: Server, deadline: float) -> None:
        self._wish = wish
        self._output = output
        self._deadline = deadline
        self._observer = observer
        self._at = wish.server
        self._instance_id = ""
        self._server = server
        self._socket: Socket | None = None
        self._visited = [wish.server]
        self._looked = 0.0
        self._offset = 0
        self._lost = 0
        self._sent = 0
        self._trouble: str | None = None
        self._moves: list[str] = []

    def run(self) -> Heard:
        try:
            self._begin()
            self._type_lines()
            return self._wait()
        finally:
            self._hang_up()

    # --- beginning ----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        server = self._server
        instance = server.instance()
        if instance is None or instance.state.is_final:
            state = "none" if instance is None else f"{instance.name}, which is {instance.state.value}"
            raise ConsoleEnded(
                f"{server} has no console: it holds {state}. Start an instance there first.", code="no_instance"
            )
        self._instance_id = instance.id
        self._open_socket()
        self._offset = self._first_offset(server)

    def _first_offset(self, server: Server) -> int:
        if self._wish.from_start is not None:
            return self._wish.from_start
        _data, end = read_history(server, most_recent=1)
        return max(end - (self._wish.most_recent or 0), 0)

    def _open_socket(self) -> None:
        self._hang_up()
        try:
            self._socket = Socket(self._server, min(self._wish.ask_timeout, max(self._left, 0.1)))
        except Unreachable:
            self._socket = None  # the history is still read, step by step

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _type_lines(self) -> None:
        if not self._wish.send:
            return
        if self._socket is None:
            raise Unreachable(f"{self._at} does not open its console, so nothing can be typed into it.")
        for line in self._wish.send:
            self._socket.type(line.encode() + b"\r")
            self._sent += 1

    # --- waiting ------------------------------------------------------------------------------------------------

    @property
    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _wait(self) -> Heard:
        while True:
            self._read()
            found = self._output.search()
            if found is not None:
                return self._heard(found.group(0), found.groups(), found.groupdict())
            if self._wish.expect is None and (self._wish.capture is None or self._left <= 0):
                return self._heard(None, (), {})
            if self._left <= 0:
                raise self._too_late()
            told = self._news()
            if told.news in (News.MOVES, News.CLOSED):
                if told.news is News.CLOSED and time.monotonic() - self._looked < _STEP:
                    time.sleep(max(min(_STEP, self._left), 0))  # closed again at once: do not storm the servers
                self._read()
                self._find(told.destination)

    def _news(self) -> Told:
        seconds = min(_STEP, self._left)
        if self._socket is not None:
            return self._socket.listen(seconds)
        return Told(News.CLOSED)

    def _read(self) -> None:
        """Take in all that the history has beyond our offset. A server that is away for a moment is asked again."""
        while not self._enough():
            try:
                data, end = read_history(self._server, from_start=self._offset)
            except (NoInstance, NoAnswer, Unreachable) as error:
                self._trouble = error.message
                return
            except ApiError as error:
                if error.status != 400 or not self._skip_lost(self._server):
                    raise
                continue
            self._trouble = None
            if not data:
                return
            if end <= self._offset:
                raise NotPropolis(
                    f"{self._server} gives {len(data)} bytes of its console from offset {self._offset} on and says "
                    f"that they end at {end}."
                )
            self._output.add(data)
            self._offset = end

    def _enough(self) -> bool:
        """A console that talks faster than we read must not keep us beyond the deadline."""
        return self._output.received > 0 and self._left <= 0

    def _skip_lost(self, server: Server) -> bool:
        """The server keeps the first and the last MiB only: go on where it has something, and count the rest."""
        _data, end = read_history(server, most_recent=1)
        start = max(end - _READ, 0)
        if start <= self._offset:
            return False
        self._lost += start - self._offset
        self._offset = start
        return True

    # --- following ----------------------------------------------------------------------------------------------

    def _find(self, destination: Address | None) -> None:
        """Find the instance again, at the server that was named, where it was, or at one of the others."""
        self._looked = time.monotonic()
        here = self._observer.look(Look(self._at))
        candidates = [here, *self._elsewhere(destination)]
        alive = [seen for seen in candidates if place(seen, self._instance_id) in _ALIVE]
        for seen in sorted(alive, key=lambda seen: self._rank(seen, here)):
            if seen.server == self._at:
                self._open_socket()
            else:
                self._go_to(seen.server)
            return
        self._server_may_come_back(candidates)

    def _elsewhere(self, destination: Address | None) -> list[Sighting]:
        """The other servers that may have it: those that we were told of, those where it was, the one just named."""
        known = {server.address: server for server in (*self._visited, *self._wish.others)}
        if destination is not None:
            known.setdefault(str(destination), ServerName(str(destination), str(destination)))
        known.pop(self._at.address, None)
        return self._observer.look_at_all([Look(server) for server in known.values()])

    def _rank(self, seen: Sighting, here: Sighting) -> int:
        """A server that runs it comes first, then one that takes it over, then the one that it leaves."""
        if place(seen, self._instance_id) is Place.RUNS:
            return 0
        return 1 if seen is not here else 2

    def _go_to(self, server: ServerName) -> None:
        opened = self._observer.open(server)  # its dialect is known since it was looked at
        self._at, self._server = server, opened
        self._visited.append(server)
        self._moves.append(server.name)
        if not opened.dialect.monitor_tells_migration:
            self._offset = 0  # January 2023: the destination's history begins with the move
        self._open_socket()

    def _server_may_come_back(self, candidates: Sequence[Sighting]) -> None:
        """Nowhere to be seen: an error when that is for good, else the next turn looks again."""
        here = candidates[0]
        if any(seen.reach is not Reach.ANSWERS for seen in candidates):
            return
        if here.state is not None and here.state.is_final:
            moved = here.outgoing is not None and here.outgoing.phase is Phase.FINISH
            if moved and len(candidates) == 1:
                raise ConsoleEnded(
                    f"The instance has moved away from {self._at}, and nobody said where to; name the other servers.",
                    code="moved_away",
                    details={"output": self._output.tail},
                )
            raise ConsoleEnded(
                f"The instance on {self._at} is {here.state.value}; its console has ended before the pattern came. "
                f"The last output was: {_last_line(self._output.tail)}",
                details={"output": self._output.tail},
            )
        if here.state is None and len(candidates) == 1:
            raise ConsoleEnded(
                f"{self._at} holds no instance any more; it was stopped or moved away. Name the other servers to "
                "follow it.",
                details={"output": self._output.tail},
            )

    # --- ending -------------------------------------------------------------------------------------------------

    def _heard(self, match: str | None, groups: tuple[str | None, ...], named: dict[str, str | None]) -> Heard:
        return Heard(
            match=match,
            groups=groups,
            named_groups=named,
            output=self._output.tail,
            offset=self._offset,
            server=self._at,
            sent=self._sent,
            lost=self._lost,
            moves=tuple(self._moves),
        )

    def _too_late(self) -> WaitTimeout:
        trouble = f" The last try to read it failed: {self._trouble}" if self._trouble is not None else ""
        return WaitTimeout(
            f"The console of {self._at} did not show {self._wish.expect!r} within {self._wish.timeout:g} s; "
            f"{self._output.received} bytes came, the last line was: {_last_line(self._output.tail)}.{trouble}",
            details={
                "output": self._output.tail,
                "received": self._output.received,
                "server": self._at.name,
                "expect": self._wish.expect,
            },
        )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return repr(lines[-1][-200:]) if lines else "none"


def read_history(
    server: Server, *, from_start: int | None = None, most_recent: int | None = None, max_bytes: int = _READ
) -> tuple[bytes, int]:
    """Bytes of the console and the offset after the last of them; empty with the end's offset beyond the end.

    Raises NoInstance without a live instance, ApiError with status 400 for bytes that are no longer kept.
    """
    wanted = {"from_start": from_start, "most_recent": most_recent, "max_bytes": max_bytes}
    query = urlencode({key: number for key, number in wanted.items() if number is not None})
    request = Request("GET", f"/instance/serial/history?{query}")
    try:
        value = server.client.call(request.method, request.path).value()
    except ApiError as error:
        raise server.dialect.explain(request, error) from error
    numbers = [entry.number() for entry in value.get("data").entries()]
    if any(number > 255 for number in numbers):
        raise value.get("data").wrong("a list of bytes")
    return bytes(numbers), value.get("last_byte_offset").number()
