# SPDX-License-Identifier: GPL-3.0-or-later
"""Four hosts: a stale replica is never reconciled while all listen on 0.0.0.0, and is when they listen on addresses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from recordings.crucible_masks import STAND_IN
from recordings.crucible_network import hosts
from recordings.crucible_replay import Answer, Replay
from recordings.crucible_transcript import Step, read_today
from shared import PYTHON, ROOT, needs_shared, recordings

pytestmark = needs_shared

RECORDING = "crucible/07-wildcard-repair-address"
NETWORK = "10.99.0"
"""The recorded one; here too it is in namespaces alone."""
COMMANDS = 42
"""How many the recording holds."""
HOST = re.compile(r"\[host (\d)\] ")
LOOK = re.compile(r"messages of (?P<log>\S+) that match /(?P<pattern>.*)/, last (?P<last>\d+)")
CRUDD_LOG = "upstairs.log"
DUMP = "crucible-downstairs dump -d ds0 -d ds1 -d ds2 --no-color"
IMPATIENT = """#!/bin/sh
PYTHONPATH='{lab}' exec {python} -c '
import sys, aiohttp
from propolis_lab.downstairs import extent_copy, main
extent_copy._LIMIT = aiohttp.ClientTimeout(total=3)
sys.exit(main.main(sys.argv[1:]))' "$@"
"""
"""The stand-in that gives a copy up after 3 seconds, where the real program and itself take 15."""


def half(name: str) -> list[Step]:
    """The steps under one of the two headings of the recording."""
    steps = read_today(recordings / "transcripts" / f"{RECORDING}.txt")
    headings = [index for index, step in enumerate(steps) if (step.note or "").startswith("===")]
    starts = {(steps[index].note or "").removeprefix("=== "): index for index in headings}
    end = next((index for index in headings if index > starts[name]), len(steps))
    return steps[starts[name] + 1 : end]


def lives(steps: list[Step]) -> Iterator[list[Step]]:
    """The steps in pieces, each as long as three downstairs lived: they were ended after each of the upstairs."""
    piece: list[Step] = []
    for step in steps:
        piece.append(step)
        if str(step.command).startswith("[host 4]"):
            yield piece
            piece = []
    yield piece


def on_their_hosts(replay: Replay, steps: list[Step], places: Mapping[str, tuple[str, ...]]) -> Iterator[Step]:
    """The steps with shell lines in the place of the recorder's words; the replay turns to the host of each."""
    for step in steps:
        command = str(step.command)
        host = HOST.match(command)
        replay.prefix = places[host[1]] if host else ()
        if (look := LOOK.fullmatch(command)) and look["log"].startswith("r-"):
            replay.hold(without_job(step), said_by_the_upstairs(replay.folder / CRUDD_LOG))
        else:
            yield replace(step, command=shell_line(HOST.sub("", command)))


def shell_line(command: str) -> str:
    """What is run for a recorded command; some were recorded in words."""
    if command.startswith("head -c 1024 /dev/urandom"):
        # Of random data the first bytes might be equal, which the recorded ones are not.
        return "; ".join(f"head -c 1024 /dev/zero | tr '\\0' {name} > {name}" for name in "ab")
    if command == 'ds2 put back to its state before "b"; dump':
        return f"rm -r ds2; cp -r stale ds2; {DUMP}"
    if found := re.fullmatch(r"(crudd .*) write (\w)", command):
        return f"timeout 40 {found[1]} -n 1024 write < {found[2]}; echo rc=$?"
    if found := re.fullmatch(r"(crudd .*) read; compare", command):
        # What the recorder's ``timeout`` ended, is ended here once the first try has failed: 143 is that signal.
        return (
            f"CRUDD_LOG={CRUDD_LOG} timeout 40 {found[1]} -n 1024 read 3>got & "
            f"until grep -qs 'aborting reconciliation' {CRUDD_LOG} || ! kill -0 $! 2>/dev/null; do sleep 0.1; done; "
            "kill $! 2>/dev/null; wait $!; rc=$?; test $rc = 143 && rc=124; echo rc=$rc; "
            "cmp got b && echo read-is-b; cmp got a"
        )
    if look := LOOK.fullmatch(command):
        # The recorder saw only messages without a quotation mark in them.
        return (
            rf"""grep -o '"msg":"[^"\\]*"' {look["log"]} | sed 's/"msg"://' | grep -v {STAND_IN} | """
            f"grep -E '{look['pattern']}' | tail -{look['last']}"
        )
    return command


def without_job(step: Step) -> Step:
    """The number of a step is compared with the list of steps; the lab's upstairs does not tell it in its log."""
    return replace(step, stdout=re.sub(r"error on job \d+", "error", step.stdout or ""))


def said_by_the_upstairs(log: Path) -> Answer:
    """What the lab's upstairs said of the reconciliation, in the words of the real one."""
    lines: list[str] = []
    for text in (json.loads(line)["msg"] for line in log.read_text("utf-8").splitlines()):
        if found := re.fullmatch(r"extent (\d+): replica (\d) is copied to \((\d),\)", text):
            fix = f"ExtentFix {{ source: ClientId({found[2]}), dest: [ClientId({found[3]})] }}"
            lines.append(f"Full repair list: {{ExtentId({found[1]}): {fix}}}")
        elif found := re.fullmatch(r"aborting reconciliation: replica 2 failed at extent (\d+): ([\w ]+): (.*)", text):
            lines += [f"extent {found[1]} error: {found[2]} {found[3]}", "aborting reconciliation"]
        elif text == "The guest has finished waiting for activation":
            lines.append("Set Downstairs and Upstairs active after reconciliation")
    return Answer("".join(f'"{line}"\n' for line in lines), "", 0)


def test_a_stale_replica_is_reconciled_or_not_as_recorded_by_the_address_that_the_good_one_listens_on(
    tmp_path: Path,
) -> None:
    with hosts(4, NETWORK) as places:
        replay = Replay(RECORDING, tmp_path / "work")
        replay.prepare()
        tool = replay.folder.parent / "bin" / "crucible-downstairs"
        patient, lab = tool.read_text(), ROOT / "roles" / "lab" / "files"
        for name, program in (
            ("wildcard", IMPATIENT.format(lab=lab, python=PYTHON)),
            ("address", patient),
        ):
            tool.write_text(program)
            for piece in lives(half(name)):
                replay.play(on_their_hosts(replay, piece, places))
            replay.run(f"rm -r stale {CRUDD_LOG}")
        replay.check(COMMANDS)
