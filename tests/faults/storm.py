# SPDX-License-Identifier: GPL-3.0-or-later
"""A storm: a move during which something drawn by chance goes wrong.

Whatever happens, a play that ends tells the truth, a play that was killed can be run again, and the machine can be
brought back. Storms follow each other on one machine, back and forth, and the history of all of it is judged.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from conftest import DOWNSTAIRS, SERVERS, Machine, begin_anew, healthy
from played_lab import Played

_PHASES = ("Sync", "RamPush", "Pause", "RamPushDirty", "Device", "RamPull", "Server", "Finish")
_LATE = ("Activate", "Run")  # phases that the destination alone has
_STALL_SECONDS = 1.5
_LINES = 170  # some more than a move says that nothing disturbs
_LINE_SECONDS = 0.2  # what comes after a line may take so long


@dataclass(frozen=True)
class Storm:
    """What goes wrong in one move.

    ``fault`` is a step for the propolis servers (see ``server/faults.py`` of the lab), ``replica`` a downstairs that is
    killed and whether it is started again before the play or while it runs, ``kill`` when the controller is killed: so
    many lines of its output and seconds after its beginning. Each may be absent.
    """

    fault: dict[str, object] | None
    replica: tuple[str, str] | None
    kill: tuple[int, float] | None

    def __str__(self) -> str:
        parts = [f"fault {self.fault}" if self.fault else "", f"{self.replica}" if self.replica else ""]
        parts += ["controller killed after {} lines and {:.2f} s".format(*self.kill) if self.kill else ""]
        return ", ".join(part for part in parts if part) or "nothing"


def draw(random: Random) -> Storm:
    """One storm."""
    kinds = random.choice(("fault", "fault", "fault", "replica", "kill", "kill", "fault+kill", "replica+fault"))
    fault = None
    if "fault" in kinds:
        side = random.choice(("source", "destination"))
        phase = random.choice(_PHASES + (_LATE if side == "destination" else ()))
        action = random.choice(("die", "error", "stall"))
        fault = {"side": side, "phase": phase, "at": random.choice(("begin", "end")), "action": action, "times": 1}
        if action == "stall":
            fault["seconds"] = _STALL_SECONDS
    replica = None
    if "replica" in kinds:
        replica = (random.choice(DOWNSTAIRS), random.choice(("back before the play", "back while it runs", "away")))
    kill = (random.randrange(_LINES), random.uniform(0, _LINE_SECONDS)) if "kill" in kinds else None
    return Storm(fault, replica, kill)


def perform(machine: Machine, storm: Storm) -> None:
    """Let it happen and bring the machine back.

    AssertionError when a play lies, or when a second one cannot finish what a killed one began.
    """
    lab = machine.lab
    if storm.replica:
        lab.kill(storm.replica[0])
        if storm.replica[1] == "back before the play":
            lab.restart(storm.replica[0])
    lab.fault(steps=[storm.fault] if storm.fault else [])
    playing = machine.begin_move()
    if storm.replica and storm.replica[1] == "back while it runs":
        lab.restart(storm.replica[0])
    if storm.kill is None:
        tells_the_truth(machine, playing.ended())
    else:
        lines, seconds = storm.kill
        playing.until_lines(lines)
        time.sleep(seconds)  # the moment is drawn by chance, not one that anything announces
        playing.kill()
    lab.fault()
    _bring_back(machine)
    if storm.kill is not None:
        played = machine.move()
        assert played.status == 0, (
            f"{machine.destination} is not reached in the calm after it:\n{played.output[-4000:]}"
        )
        tells_the_truth(machine, played)


def tells_the_truth(machine: Machine, played: Played) -> None:
    """What a play says of the machine is so: its exit status, and where it says that the machine runs."""
    lab = machine.lab
    states = {host: lab.state(host) for host in SERVERS}
    told = played.output[-3000:]
    if played.status == 0:
        assert states[machine.destination] == "Running", f"success, and {states}:\n{told}"
        assert states[machine.source] != "Running", f"success, and {states}:\n{told}"
    truths: dict[str, Callable[[], bool]] = {
        f"vm0 still runs on {machine.source} at generation": lambda: states[machine.source] == "Running",
        f"vm0 runs on {machine.destination} at generation": lambda: states[machine.destination] == "Running",
        "NOBODY RUNS vm0": lambda: "Running" not in states.values(),
    }
    for sentence, is_so in truths.items():
        assert sentence not in played.words or is_so(), f"{sentence!r} is said, and {states}:\n{told}"
    assert "Traceback" not in played.output, told


def _bring_back(machine: Machine) -> None:
    """Start again what died, as service managers would, and boot the machine if nobody runs it."""
    lab = machine.lab
    for host in (*SERVERS, *DOWNSTAIRS):
        if lab.pid(host) is None:
            lab.restart(host)
    states = lab.until("no server is in the middle of something", lambda: _settled(machine), seconds=60)
    if "Running" not in states.values():
        begin_anew(lab, keep_history=True)
    lab.until("it runs with three replicas", lambda: healthy(lab), seconds=60)


def _settled(machine: Machine) -> dict[str, str | None] | None:
    """The state at each server, once none of them will change by itself."""
    states = {host: machine.lab.state(host) for host in SERVERS}
    return states if all(state in ("Running", "Failed", "Destroyed", None) for state in states.values()) else None
