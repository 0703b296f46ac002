# SPDX-License-Identifier: GPL-3.0-or-later
"""Why an instance failed: known lines of a server's log, turned into sentences.

The API answers most failures with "Internal Server Error" or the bare state Failed; the reason stands in the log
only. The texts are those seen on real programs of 2023 and of today. Nothing of a log but the numbers and names that
a pattern captures is ever shown, because logs hold volume construction requests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TAIL = 256 * 1024  # bytes of a log that are looked at


@dataclass(frozen=True)
class _Sign:
    pattern: re.Pattern[str]
    sentence: str


_SIGNS = tuple(
    _Sign(re.compile(pattern), sentence)
    for pattern, sentence in (
        (
            r"Generation number is too low: requested (\d+), found (\d+)",
            "the generation of a disk is too low: {0} was asked for, at least {1} is needed; allocate a new one",
        ),
        (
            r"found/using gen number (\d+), larger than requested: (\d+)",
            "the generation of a disk is too low: {1} was asked for, at least {0} is needed; allocate a new one",
        ),
        (
            r"saw YouAreNoLongerActive with larger gen (\d+) than ours (\d+)",
            "another session with generation {0} has taken a disk from this one ({1})",
        ),
        (
            r"Incompatible encryption settings: wanted (true|false), got (true|false)",
            "a volume's key and its regions do not match (encrypted wanted: {0}, found: {1})",
        ),
        (
            r"Incompatible read-only settings: wanted (true|false), got (true|false)",
            "a volume's read_only and its downstairs do not match (wanted: {0}, found: {1})",
        ),
        (r"ew region info mismatch|egion info mismatch", "a volume's geometry is not that of its regions"),
        (
            r"(?:panicked at|expected ).*RegionDefinition",
            "a volume's geometry is not that of its regions",
        ),
        (r"[Bb]lock size mismatch|mismatched block sizes?", "a volume's block size is not that of its regions"),
        (r"\bNo longer active\b", "a disk lost its session to another one, or names one target more than once"),
        (r"failed to deserialize volume construction request", "a volume construction request could not be read"),
        (r"failed to create Crucible backend", "a disk could not be made from its volume construction request"),
        (r"failed to read file backend metadata", "the file of a file-backed disk cannot be read"),
        (r"failed to set max cpus", "the number of processors is more than the host can give (or none)"),
        (
            r"failed to add low memory region|failed to create VM with reservoir",
            "the host cannot give that much memory",
        ),
        (r"Cannot open bootrom", "the bootrom file cannot be opened"),
        (r"bad targets", "a volume has other than three targets"),
        (
            r"replacement component ([\w.-]+) not in source spec",
            "{0} was to be replaced, but the source's spec has no such component",
        ),
        (
            r"component ([\w.-]+) is not a crucible backend in the source spec",
            "{0} was to be replaced, but is no Crucible backend in the source's spec",
        ),
        (
            r"AlreadyMigrationSource",
            "the server believes that it is a migration source; only stopping its instance cures that",
        ),
        (r"ForbiddenStateChange\(InstanceNotActive\)", "the source has no running instance"),
        (r"Decryption failed!", "a volume's key is not the one that its data was written with"),
    )
)

_NEVER_AGREED = "destination side did not begin migration version handshake"


def reasons(lines: Iterable[str]) -> list[str]:
    """What the lines of a log say about failures, each sentence once, the latest first."""
    found: dict[str, None] = {}
    for line in reversed(list(lines)):
        for sign in _SIGNS:
            match = sign.pattern.search(line)
            if match:
                found.setdefault(sign.sentence.format(*match.groups()))
    return list(found)


def refuses_since(log: str, migration_id: str) -> bool:
    """Whether the log of a source says that this migration out of it failed before a protocol was agreed on.

    After that the real server counts as a migration source for ever, and refuses every further migration.
    """
    return any(_NEVER_AGREED in line and migration_id in line for line in log.splitlines())


def read_log(path: Path, start: int = 0) -> list[str]:
    """The lines of a log from byte ``start`` on, the last 256 KiB at most; none when it cannot be read."""
    try:
        with path.open("rb") as log:
            end = log.seek(0, 2)
            log.seek(max(start if start <= end else 0, end - _TAIL))
            return log.read().decode(errors="replace").splitlines()
    except OSError:
        return []
