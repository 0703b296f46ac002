# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking secrets out of what we show: volume keys and TLS material in requests, specs and error texts."""

from __future__ import annotations

import json

# The members of a volume construction request (CrucibleOpts) that nobody but a server may see.
# Certificates are public, but a log has no use for them either.
SECRET_MEMBERS = frozenset({"key", "key_pem", "cert_pem", "root_cert_pem"})
# The member of a Crucible backend that holds a whole volume construction request as one text.
EMBEDDED_REQUEST = "request_json"
HIDDEN = "(hidden)"


def redact(value: object) -> object:
    """A copy of a JSON value with every secret replaced by ``(hidden)``, also inside embedded requests.

    An embedded request that cannot be read is hidden whole: nobody can say what is in it.
    """
    if isinstance(value, dict):
        return {key: _redact_member(key, member) for key, member in value.items()}
    if isinstance(value, list):
        return [redact(entry) for entry in value]
    return value


def _redact_member(key: object, member: object) -> object:
    if key in SECRET_MEMBERS and member is not None:
        return HIDDEN
    if key == EMBEDDED_REQUEST and isinstance(member, str):
        try:
            return json.dumps(redact(json.loads(member)))
        except (ValueError, RecursionError):
            return HIDDEN
    return redact(member)


def secrets_in(value: object) -> set[str]:
    """All secret texts of a JSON value, also inside embedded requests."""
    found: set[str] = set()
    if isinstance(value, dict):
        for key, member in value.items():
            if key in SECRET_MEMBERS and isinstance(member, str | int | float):
                found.add(str(member))
            elif key == EMBEDDED_REQUEST and isinstance(member, str):
                try:
                    found |= secrets_in(json.loads(member))
                except (ValueError, RecursionError):
                    found.add(member)
            else:
                found |= secrets_in(member)
    elif isinstance(value, list):
        for entry in value:
            found |= secrets_in(entry)
    return found


def scrub(text: str, secrets: set[str]) -> str:
    """``text`` without the given secrets: servers quote what they could not parse back at the sender.

    They quote with escapes, so each secret is looked for as it is, escaped, and line by line.
    """
    forms: set[str] = set()
    for secret in secrets:
        forms |= {secret, json.dumps(secret)[1:-1], *(line for line in secret.splitlines() if len(line) >= 8)}
    for form in sorted(forms, key=len, reverse=True):
        if form:
            text = text.replace(form, HIDDEN)
    return text
