# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes two answers comparable: addresses are translated, what differs from run to run is replaced by its name.

Addresses keep their length when they are translated (same number of digits), so lengths and columns stay comparable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

REPAIR_DISTANCE = 4000
"""A downstairs answers its repair API this many ports above its own."""

STRANGER, STRANGER_HERE = "10.255.255.1", "127.25.255.1"
"""An address outside of the recorder's machine, and one of the same length that stands for it here."""

UUID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
DATE = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")

FIELDS = (
    (re.compile(rf'("request_id": ?")({UUID})(")'), r"\1<request id>\3"),
    (re.compile(rf'("session_id": ?")({UUID})(")'), r"\1<session id>\3"),
)
CPUID = re.compile(r'"cpuid": ?\{')


@dataclass(frozen=True)
class Places:
    """Which port here stands for which recorded port, and which directory here is the recording's STATE."""

    ports: dict[int, int]
    """Recorded port to port here, servers and downstairs; repair ports follow from them."""
    state: PurePath

    def __post_init__(self) -> None:
        for recorded, here in self._pairs():
            if len(str(recorded)) != len(str(here)):
                raise ValueError(f"port {here} stands for {recorded}: expected the same number of digits")

    def _pairs(self) -> list[tuple[int, int]]:
        pairs = list(self.ports.items())
        return pairs + [(a + REPAIR_DISTANCE, b + REPAIR_DISTANCE) for a, b in pairs if a < 10000]

    def here(self, text: str) -> str:
        """A recorded text as it must be sent here."""
        table = {str(recorded): str(here) for recorded, here in self._pairs()}
        return _translate(text, table).replace(f"{STRANGER}:", f"{STRANGER_HERE}:").replace("STATE/", f"{self.state}/")

    def recorded(self, text: str) -> str:
        """A text of this run as the recording would have written it."""
        table = {str(here): str(recorded) for recorded, here in self._pairs()}
        return _translate(text.replace(f"{self.state}/", "STATE/"), table)


def _translate(text: str, table: dict[str, str]) -> str:
    """Replace ports after these addresses at once, so that two ports can change places."""
    return re.sub(
        r"(127\.0\.0\.1:|\[::1\]:|10\.255\.255\.1:)(\d+)\b",
        lambda found: found[1] + table.get(found[2], found[2]),
        text,
    )


def mask_header(name: str, value: str) -> str:
    """A header's value; ids and dates that have the right form become their names, others stay and so differ."""
    if name.lower() == "x-request-id" and re.fullmatch(UUID, value):
        return "<request id>"
    if name.lower() == "date" and DATE.fullmatch(value):
        return "<date>"
    return value


def mask_body(text: str) -> str:
    """A body without ids that are new in each run and without what the hypervisor fills in."""
    for pattern, replacement in FIELDS:
        text = pattern.sub(replacement, text)
    return mask_cpuid(text)


def mask_cpuid(text: str) -> str:
    """Replace the object behind "cpuid", also when the text ends within it; null stays null."""
    found = CPUID.search(text)
    if not found:
        return text
    depth = 0
    for position in range(found.end() - 1, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[: found.end() - 1] + "<cpuid>" + mask_cpuid(text[position + 1 :])
    return text[: found.end() - 1] + "<cpuid>"
