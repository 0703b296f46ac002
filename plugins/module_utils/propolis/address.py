# SPDX-License-Identifier: GPL-3.0-or-later
"""The address of a propolis server, as people write it and as requests need it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from ..failures import shown
from .errors import BadAddress


@dataclass(frozen=True)
class Address:
    """Host (an IP address without brackets, or a name) and TCP port of a server."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """``http://host:port`` without a slash at the end: propolis speaks plain HTTP only."""
        return f"http://{self}"

    @property
    def ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The IP address, or None when the host is a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def is_literal(self) -> bool:
        """True for ``IP:port``, the only form that a server takes as the address of a migration source."""
        return self.ip is not None

    @property
    def is_wildcard(self) -> bool:
        """True for 0.0.0.0 and [::], which mean "here" to a listener and nothing useful to anybody else."""
        return self.ip is not None and self.ip.is_unspecified

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``IP:port``, ``[v6]:port``, ``name:port`` or ``http://…`` of these; raise BadAddress."""
        stripped = text.strip()
        parts = _split(stripped)
        if parts.scheme.lower() != "http":
            raise BadAddress(
                f"The server address {shown(text)} asks for {shown(parts.scheme)}; propolis-server speaks plain "
                "HTTP only: give IP:PORT or http://IP:PORT."
            )
        if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
            raise BadAddress(f"The server address {shown(text)} has more in it than a host and a port: give IP:PORT.")
        if not parts.hostname:
            raise BadAddress(f"The server address {shown(text)} has no host: give IP:PORT, such as 172.20.3.73:8000.")
        try:
            port = parts.port
        except ValueError:
            port = 0
        if not port:
            raise BadAddress(
                f"The server address {shown(text)} has no port between 1 and 65535: give IP:PORT, such as "
                "172.20.3.73:8000."
            )
        return cls(parts.hostname, port)


def _split(text: str) -> SplitResult:
    """Split an address with or without its scheme; raise BadAddress for brackets that do not match and the like."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        bracketed = parts.netloc.rpartition("@")[2].startswith("[")
        if parts.hostname and bracketed:
            ipaddress.IPv6Address(parts.hostname)
    except ValueError as error:
        raise BadAddress(
            f"The server address {shown(text)} cannot be read ({shown(str(error))}): give IP:PORT."
        ) from error
    if any(character.isspace() for character in text):
        raise BadAddress(f"The server address {shown(text)} has a space in it: give IP:PORT.")
    return parts
