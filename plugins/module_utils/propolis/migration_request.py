# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user asks for when an instance shall move: read, checked, and with the id that makes a second run the same."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..failures import shown
from .address import Address
from .errors import BadDescription
from .instance import Volume
from .observation import ServerName
from .serial_output import compile_pattern
from .spec_volume import check_volume
from .verdict import InstanceName

# The name space of our migration ids: what is made from the same move is the same id, on every controller.
NAMESPACE = uuid.UUID("6a1d7c36-2f6b-5d0e-9e55-3c1f5e0a7b42")


@dataclass(frozen=True)
class NewDisk:
    """A Crucible disk as it shall be at the destination. ``name`` is that of the disk or of its backend."""

    name: str
    generation: int
    volume: Volume = field(repr=False)

    @classmethod
    def from_json(cls, raw: Mapping[str, object]) -> NewDisk:
        """Read ``{name, volume_construction_request, generation}``; the number may be left out, but not differ."""
        name = raw.get("name")
        if not isinstance(name, str) or not name:
            raise BadDescription("A disk of the migration has no name; give the name of the disk or of its backend.")
        volume = check_volume(raw.get("volume_construction_request"), f"disk {name}")
        if volume.generation is None:
            raise BadDescription(f"Disk {name}: its volume construction request has no Crucible region.")
        numbers = sorted({region.generation for region in volume.regions})
        given = raw.get("generation")
        wanted = volume.generation if given is None else given
        if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
            raise BadDescription(f"Disk {name}: generation is {shown(given)}; it must be a whole number from 1 up.")
        if numbers != [wanted]:
            found = ", ".join(str(number) for number in numbers)
            raise BadDescription(
                f"Disk {name}: generation is {wanted}, but its volume construction request says {found}; give the "
                "request the allocated number (filter with_generation)."
            )
        return cls(name, wanted, volume)


@dataclass(frozen=True)
class WaitFor:
    """What the console has to show at the destination before the guest counts as going on.

    ``expect`` is a pattern, ``send`` are lines that are typed there first, ``timeout`` is in seconds.
    """

    expect: str
    send: tuple[str, ...] = ()
    timeout: float = 60.0

    @classmethod
    def read(cls, raw: object, place: str) -> WaitFor:
        """Read ``{expect, send, timeout}``; raise BadDescription for what cannot be waited for."""
        if not isinstance(raw, Mapping):
            raise BadDescription(f"{place} is {shown(raw)}; it must be a dictionary of expect, send and timeout.")
        unknown = sorted(str(key) for key in raw if key not in ("expect", "send", "timeout"))
        if unknown:
            raise BadDescription(f"{place} has {', '.join(unknown)}; it knows expect, send and timeout.")
        expect, send, timeout = raw.get("expect"), raw.get("send") or [], raw.get("timeout", cls.timeout)
        if not isinstance(expect, str) or not expect:
            raise BadDescription(f"{place}.expect is {shown(expect)}; it must be a pattern that the console will show.")
        compile_pattern(expect)
        if not isinstance(send, list) or not all(isinstance(line, str) for line in send):
            raise BadDescription(f"{place}.send is {shown(send)}; it must be a list of lines to type.")
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout <= 0:
            raise BadDescription(f"{place}.timeout is {shown(timeout)}; it must be a number of seconds above 0.")
        return cls(expect, tuple(send), float(timeout))


@dataclass(frozen=True)
class Move:
    """One move of one instance. ``timeout`` (seconds) bounds the whole run, ``ask_timeout`` each single request.

    ``wait_for`` is what the guest has to show afterwards; None when nobody listens to it.
    """

    instance: InstanceName
    source: ServerName
    destination: ServerName
    disks: tuple[NewDisk, ...]
    others: tuple[ServerName, ...] = ()
    given_id: str | None = None
    timeout: float = 600.0
    ask_timeout: float = 5.0
    api: str = "auto"
    wait_for: WaitFor | None = None

    @property
    def generations(self) -> dict[str, int]:
        return {disk.name: disk.generation for disk in self.disks}

    @property
    def volumes(self) -> frozenset[str]:
        return frozenset(disk.volume.id for disk in self.disks if disk.volume.id is not None)

    @property
    def migration_id(self) -> str:
        """The user's id, or the one that instance, both ends and the generations make."""
        if self.given_id is not None:
            return self.given_id
        numbers = ",".join(f"{name}={number}" for name, number in sorted(self.generations.items()))
        words = "|".join((self.instance.id, self.source.address, self.destination.address, numbers))
        return str(uuid.uuid5(NAMESPACE, words))

    @classmethod
    def read(
        cls,
        *,
        instance: Mapping[str, object],
        source: Mapping[str, object],
        destination: Mapping[str, object],
        disks: Sequence[Mapping[str, object]],
        servers: Sequence[Mapping[str, object]] = (),
        migration_id: str | None = None,
        timeout: float = 600.0,
        ask_timeout: float = 5.0,
        api: str = "auto",
        wait_for: Mapping[str, object] | None = None,
    ) -> Move:
        """Read what a module was given; raise BadDescription or BadAddress for what cannot be a move."""
        new = tuple(NewDisk.from_json(disk) for disk in disks)
        names = [disk.name for disk in new]
        for name in names:
            if names.count(name) > 1:
                raise BadDescription(f"The disk {name} is given twice; each Crucible disk is replaced once.")
        if timeout <= 0 or ask_timeout <= 0:
            raise BadDescription(f"timeout ({timeout}) and ask_timeout ({ask_timeout}) must be more than 0 seconds.")
        called = instance.get("name")
        identity = _uuid(instance.get("id"), "instance.id")
        return cls(
            instance=InstanceName(identity, called if isinstance(called, str) and called else identity),
            source=read_server(source, "source"),
            destination=read_server(destination, "destination"),
            disks=new,
            others=tuple(read_server(server, f"servers[{index}]") for index, server in enumerate(servers)),
            given_id=None if migration_id is None else _uuid(migration_id, "migration_id"),
            timeout=timeout,
            ask_timeout=ask_timeout,
            api=api,
            wait_for=None if wait_for is None else WaitFor.read(wait_for, "wait_for"),
        )


def read_server(raw: Mapping[str, object], place: str) -> ServerName:
    """``{name, address}``; the address in one spelling, the name being the address when there is none."""
    address = raw.get("address")
    if not isinstance(address, str) or not address:
        raise BadDescription(f"{place} has no address; give the IP:PORT of its propolis server.")
    parsed = str(Address.parse(address))
    name = raw.get("name")
    return ServerName(name if isinstance(name, str) and name else parsed, parsed)


def _uuid(raw: object, place: str) -> str:
    try:
        return str(uuid.UUID(str(raw)))
    except ValueError:
        raise BadDescription(f"{place} is {shown(raw)}, which is not a UUID.") from None
