# SPDX-License-Identifier: GPL-3.0-or-later
"""Which dialect a server speaks, found out with requests that change nothing.

No answer of a propolis server names its version. The signs used here were read in the history of its API; where a
sign leaves several ages possible, the result says so. Ages between the two families are recognised and refused in
one sentence: guessing a request form for them could start half a machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..client import NO_BODY, Client
from ..errors import ApiError, NotPropolis, UnsupportedDialect
from .base import Dialect
from .seed import LABEL as SEED_LABEL
from .seed import SeedDialect
from .spec import KNOWN_VERSIONS, SpecDialect, parse_version

_HEADER_MISSING = 'missing expected header "api-version"'
_VERSION_TOO_NEW = "server does not support this API version"


@dataclass(frozen=True)
class Detected:
    """A dialect, the sign that it was recognised by, and what that sign cannot tell apart."""

    dialect: Dialect
    sign: str
    could_not_tell: tuple[str, ...] = ()


def choose(api: str) -> Dialect | None:
    """The dialect that a user names: ``2023-01`` or a version; None for ``auto``. Raises UnsupportedDialect."""
    if api == "auto":
        return None
    if api == SEED_LABEL:
        return SeedDialect()
    parse_version(api)
    return SpecDialect(api)


def detect(client: Client) -> Detected:
    """Ask ``client``'s server until its dialect is clear.

    Raises UnsupportedDialect for servers of an age between the families, NotPropolis for other programs, and what
    the client raises when there is no answer.
    """
    bare = Client(client.address, name=client.name, timeout=client.timeout)
    try:
        answer = bare.call("GET", "/instance").value()
    except ApiError as error:
        if error.status == 400 and _HEADER_MISSING in error.api_message:
            return _newest_version(bare)
        return _without_instance(bare, error)
    instance = answer.get("instance")
    properties = instance.get("properties")
    if not properties.has("id"):
        raise properties.get("id").wrong("the id of an instance")
    if not instance.has("disks"):
        raise _unsupported(bare, "October 2024 to October 2025 (disk requests without image ids, or specs unversioned)")
    if properties.has("metadata"):
        raise _unsupported(bare, "March to October 2024 (disk requests with metadata)")
    return _seed_or_later(bare, "GET /instance lists disks and has no metadata")


def _newest_version(bare: Client) -> Detected:
    """The newest version that both sides know: servers take every version up to their own."""
    for version in KNOWN_VERSIONS:
        try:
            bare.call("GET", "/instance", api_version=version)
        except ApiError as error:
            # 404: a later server may have dropped an old version's handlers and routes nothing to it.
            if error.status == 404 or (error.status == 400 and _VERSION_TOO_NEW in error.api_message):
                continue
        unknown = ("whether the server knows later versions than this one",) if version == KNOWN_VERSIONS[0] else ()
        return Detected(SpecDialect(version), f"it wants api-version and takes {version}", unknown)
    raise UnsupportedDialect(
        f"{bare} wants the header api-version and takes none of {', '.join(KNOWN_VERSIONS)}: not supported yet. "
        "Set api to a version that it takes."
    )


def _without_instance(bare: Client, error: ApiError) -> Detected:
    """An unversioned server that holds no instance shows its age only in how it refuses."""
    if error.status == 424:
        if _refusal(bare, "GET", "/instance/migration-status") == 404:
            raise _unsupported(bare, "April to June 2024 (disk requests, errors with 424)")
        raise _unsupported(bare, "June 2024 to October 2025 (before api-version)")
    if error.status == 404:
        if _refusal(bare, "GET", "/instance/state-monitor") == 404:
            raise NotPropolis(
                f"{bare} knows no path /instance: not a propolis server. The repair port of a crucible-downstairs "
                "answers like this; check the address.",
                details={"server": str(bare.address), "asked": "GET /instance", "status": 404},
            )
        raise _unsupported(bare, "June 2023 to April 2024 (disk requests, errors with 404)")
    if error.status == 500:
        return _seed_or_later(bare, "GET /instance answers 500 without an instance")
    raise NotPropolis(
        f"{bare} answered GET /instance with HTTP {error.status}, which no propolis server does. Check the address.",
        details={"server": str(bare.address), "asked": "GET /instance", "status": error.status},
    )


def _seed_or_later(bare: Client, sign: str) -> Detected:
    """In January 2023 the migration status took its id in a body: an empty one is a 400. Later the path is gone."""
    status = _refusal(bare, "GET", "/instance/migrate/status", {})
    if status == 400:
        return Detected(
            SeedDialect(),
            f"{sign}, and GET /instance/migrate/status wants a body",
            ("which day before 2023-02-08 the server is of",),
        )
    if status == 404:
        raise _unsupported(
            bare, "February 2023 to March 2024, or propolis-mock-server (disk requests, migration status by path)"
        )
    raise NotPropolis(
        f"{bare} answered GET /instance/migrate/status with HTTP {status}, which no propolis server does. "
        "Check the address.",
        details={"server": str(bare.address), "asked": "GET /instance/migrate/status", "status": status},
    )


def _refusal(bare: Client, method: str, path: str, body: object = NO_BODY) -> int:
    """The HTTP status of the answer to a request that may be refused."""
    try:
        return bare.call(method, path, body).status
    except ApiError as error:
        return error.status


def _unsupported(bare: Client, period: str) -> UnsupportedDialect:
    return UnsupportedDialect(
        f"{bare} is a propolis server of {period}: not supported yet. Supported are servers of January 2023 and those "
        f"with api-version 1.0.0 and later.",
        details={"server": str(bare.address), "period": period},
    )
