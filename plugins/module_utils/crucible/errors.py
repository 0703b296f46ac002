# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be wrong with volumes, regions, downstairs and ledgers, each with the code that playbooks branch on."""

from __future__ import annotations

from typing import Any

from ..failures import CollectionError, shown


def _detail(found: Any) -> Any:
    """The value itself where a result can hold it, else what a sentence shows of it."""
    text = shown(found)
    plain = found is None or isinstance(found, bool | int | str | list)
    return found if plain and text == repr(found) else text


class CrucibleError(CollectionError):
    default_code = "crucible_error"


class InvalidValueError(CrucibleError):
    """A value that was given by the user. ``details``: field, found, expected."""

    default_code = "invalid_value"

    def __init__(self, field: str, found: Any, expected: str, *, hint: str = "", code: str | None = None) -> None:
        sentence = f"{field}: found {shown(found)}, expected {expected}" + (f"; {hint}" if hint else "") + "."
        super().__init__(sentence, code=code, details={"field": field, "found": _detail(found), "expected": expected})


class RegionError(CrucibleError):
    """A region directory that cannot be read or used."""

    default_code = "region_unusable"


class NoRegionError(RegionError):
    default_code = "no_region"


class GeometryMismatchError(CrucibleError):
    default_code = "geometry_mismatch"


class ForeignRegionError(CrucibleError):
    """The directory holds another region than the one asked for. ``details``: differences."""

    default_code = "foreign_region"


class ImageError(CrucibleError):
    default_code = "image_unusable"


class ProgramError(CrucibleError):
    """crucible-downstairs ended with an error. ``details``: exit_status, command, output (its last lines)."""

    default_code = "program_failed"


class OutputError(CrucibleError):
    """crucible-downstairs printed something that we do not understand."""

    default_code = "unexpected_output"


class RepairApiError(CrucibleError):
    """What answers on the repair port does not answer as a downstairs does."""

    default_code = "repair_api"


class UnreachableError(RepairApiError):
    """Nothing answers on the repair port."""

    default_code = "unreachable"


class DownstairsError(CrucibleError):
    """A downstairs process cannot be started or does not get ready."""

    default_code = "downstairs_failed"


class LedgerError(CrucibleError):
    default_code = "ledger_unusable"


class LedgerMovedError(LedgerError):
    """The ledger is not the one that was read: somebody else took a number, or it has lost some (``ledger_fell_back``).

    ``details``: last, expected_last, newest; of one that has lost some, last and seen_last.
    """

    default_code = "ledger_moved"


class GenerationError(CrucibleError):
    """A generation that must not be used. ``details``: generation, floor, source."""

    default_code = "generation_too_low"
