# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be true of the hosts before a machine is moved: memory, processors, clocks, revisions of Crucible.

``hosts`` are the ``host`` of ``propolis_host_info`` by inventory name; a host that could not be asked is missing.
``programs`` are what ``crucible_facts`` tells of ``crucible-downstairs``, by inventory name; None where it cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .preflight import Check, ok, refused, warned

Answer = Mapping[str, Any]

# Message versions of Crucible that this collection was tried with: January 2023, and today's.
TRIED_MESSAGE_VERSIONS = frozenset({1, 13})
# Two hosts are asked one after the other; what is less than this may be the asking.
_CLOCK_SECONDS = 10.0


def check_hosts(
    source: str,
    destination: str,
    memory_mib: int,
    hosts: Mapping[str, Answer],
    programs: Mapping[str, Answer | None],
    *,
    any_cpu: bool = False,
) -> list[Check]:
    """All conditions. ``source`` and ``destination`` are names of hosts, ``programs`` versions by host of a downstairs.

    With ``any_cpu`` processors of another vendor or family are only warned of.
    """
    return [
        _memory(destination, memory_mib, hosts),
        *_processors(source, destination, hosts, any_cpu=any_cpu),
        *_clocks(source, destination, hosts),
        _crucible(programs),
    ]


def _memory(destination: str, needed: int, hosts: Mapping[str, Answer]) -> Check:
    memory = hosts.get(destination, {}).get("memory") or {}
    total, available = memory.get("total_mib"), memory.get("available_mib")
    if total is not None and total < needed:
        return refused("memory", f"{destination} has {total} MiB of memory in all; the machine needs {needed} MiB.")
    if available is None:
        return warned("memory", f"It is not known whether {destination} has room for {needed} MiB of memory.")
    if available < needed:
        return warned(
            "memory",
            f"{destination} has {available} MiB of memory to give, and the machine needs {needed} MiB: the destination "
            "may refuse it, and the machine then goes on at the source.",
        )
    return ok("memory", f"{destination} has {available} MiB of memory to give; the machine needs {needed} MiB.")


def _processors(source: str, destination: str, hosts: Mapping[str, Answer], *, any_cpu: bool) -> Iterator[Check]:
    here, there = (hosts.get(name, {}).get("cpu") or {} for name in (source, destination))
    if here.get("vendor") is None or there.get("vendor") is None:
        yield warned("cpu", f"It is not known whether {source} and {destination} have processors of one kind.")
        return
    strict = warned if any_cpu else refused
    for word, judge in (("vendor", strict), ("family", strict), ("model", warned)):
        if here.get(word) != there.get(word):
            yield judge(
                "cpu",
                f"The {word} of the processor is {here.get(word)} on {source} and {there.get(word)} on {destination}; "
                "a guest that uses what the other one lacks dies of it.",
            )
            return
    yield ok("cpu", f"{source} and {destination} have processors of one kind ({here.get('model')}).")


def _clocks(source: str, destination: str, hosts: Mapping[str, Answer]) -> Iterator[Check]:
    """A server adds to the guest's clock what the hosts' clocks say the move took, and takes a negative time for 0."""
    here, there = (hosts.get(name, {}).get("clock_offset") for name in (source, destination))
    if here is None or there is None:
        return
    behind = float(here) - float(there)
    if abs(behind) > _CLOCK_SECONDS:
        which = f"{abs(behind):.0f} s {'behind' if behind > 0 else 'ahead of'}"
        yield warned(
            "clock",
            f"The clock of {destination} is {which} that of {source}; the guest's clock will be wrong by so much.",
        )


def _crucible(told: Mapping[str, Answer | None]) -> Check:
    silent = [name for name, version in told.items() if version is None]
    if silent:
        return warned("crucible", f"It is not known which revision of Crucible {', '.join(silent)} has.")
    messages = {int(version["message_version"]) for version in told.values() if version}
    if len(messages) > 1:
        listed = ", ".join(f"{version['message_version']} on {name}" for name, version in told.items() if version)
        return refused(
            "crucible",
            f"The programs crucible-downstairs speak different message versions ({listed}); one upstairs speaks one.",
        )
    builds = {version["commit"] for version in told.values() if version}
    if len(builds) > 1:
        listed = ", ".join(f"{version['commit']} on {name}" for name, version in told.items() if version)
        return warned("crucible", f"The programs crucible-downstairs are of different revisions ({listed}).")
    message, build = messages.pop(), builds.pop()
    what = f"revision {build or 'of January 2023'}, message version {message}"
    if message not in TRIED_MESSAGE_VERSIONS:
        return warned("crucible", f"Nobody has tried this Crucible ({what}) with this collection.")
    return ok("crucible", f"All crucible-downstairs are one program ({what}).")
