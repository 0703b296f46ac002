# SPDX-License-Identifier: GPL-3.0-or-later
"""The `api-version` header: which values are accepted and what is said about the others (seen on the real program)."""

from __future__ import annotations

from dataclasses import dataclass

from propolis_lab.server.errors import bad_request
from propolis_lab.server.instance_spec import Version

_HEADER = "api-version"
_PARTS = ("major", "minor", "patch")


class VersionSyntaxError(ValueError):
    """Not a version; the text is that of the real program's parser."""


def parse_version(text: str) -> Version:
    """A semantic version without pre-release and build parts; raises VersionSyntaxError."""
    if not text:
        raise VersionSyntaxError("empty string, expected a semver version")
    rest = text
    numbers: list[int] = []
    for position, part in enumerate(_PARTS):
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        rest = rest[len(digits) :]
        if not digits:
            if not rest:
                raise VersionSyntaxError(f"unexpected end of input while parsing {part} version number")
            raise VersionSyntaxError(f"unexpected character '{rest[0]}' while parsing {part} version number")
        if len(digits) > 1 and digits[0] == "0":
            raise VersionSyntaxError(f"invalid leading zero in {part} version number")
        if int(digits) >= 1 << 64:
            raise VersionSyntaxError(f"value of {part} version number exceeds u64::MAX")
        numbers.append(int(digits))
        if position < len(_PARTS) - 1:
            if not rest:
                raise VersionSyntaxError(f"unexpected end of input while parsing {part} version number")
            if rest[0] != ".":
                raise VersionSyntaxError(f"unexpected character '{rest[0]}' after {part} version number")
            rest = rest[1:]
    if rest:
        raise VersionSyntaxError(f"unexpected character '{rest[0]}' after patch version number")
    return (numbers[0], numbers[1], numbers[2])


@dataclass(frozen=True)
class VersionRules:
    """A server that speaks versions up to `latest`."""

    latest: Version

    def check(self, value: str | None) -> Version:
        """The version of a request; raises HttpError."""
        if value is None:
            raise bad_request(f'missing expected header "{_HEADER}"')
        try:
            version = parse_version(value)
        except VersionSyntaxError as error:
            raise bad_request(f'bad value for header "{_HEADER}": {error}: {value}') from None
        if version > self.latest:
            raise bad_request(f"server does not support this API version: {value}")
        return version
