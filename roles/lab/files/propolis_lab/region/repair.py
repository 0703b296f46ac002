# SPDX-License-Identifier: GPL-3.0-or-later
"""Replaces the files of an extent so that a crash at any moment leaves all old or all new ones.

Downloaded files are gathered in ``XXX.copy``. Its renaming to ``XXX.replace`` is the moment of decision: from then on
whoever opens the extent for writing finishes the work. ``XXX.completed`` is a finished one, to be removed. Seen on the
real program.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from propolis_lab.region import files
from propolis_lab.region.errors import RegionError, quoted

_COPY, _REPLACE, _COMPLETED = ".copy", ".replace", ".completed"
_METADATA_SUFFIXES = (".db", ".db-shm", ".db-wal")


def leftovers(directory: Path) -> frozenset[str]:
    """The names in ``directory`` that an interrupted repair left; none when there is no such directory."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return frozenset()
    return frozenset(name for name in names if name.endswith((_COPY, _REPLACE, _COMPLETED)))


def tidy(extent_file: Path, left: frozenset[str], *, read_only: bool) -> None:
    """Finish or forget an interrupted repair of one extent, before it is opened.

    A read-only opening removes ``.copy`` and ``.completed`` all the same, as the real program does, and leaves a
    decided replacement to the next opening for writing.
    """
    if not left:
        return
    for suffix in (_COPY, _COMPLETED):
        if extent_file.name + suffix in left:
            files.remove_tree(_beside(extent_file, suffix))
    if extent_file.name + _REPLACE in left and not read_only:
        _finish(extent_file)


def replace(extent_file: Path, contents: Mapping[str, Path | bytes]) -> None:
    """Put ``contents`` (file name to its bytes or the file that has them) in the place of a closed extent's files.

    Raises RegionError when a name does not belong to the extent or another repair of it stands half done.
    """
    allowed = {extent_file.name, *(extent_file.name + suffix for suffix in _METADATA_SUFFIXES)}
    strange = sorted(set(contents) - allowed)
    if strange or extent_file.name not in contents:
        raise RegionError(f"the files {sorted(contents)} are not those of extent file {quoted(extent_file)}")
    gathered = _beside(extent_file, _COPY)
    try:
        gathered.mkdir()
    except FileExistsError:
        raise RegionError(f"{quoted(gathered)} exists: another repair of this extent is under way") from None
    files.sync_directory(gathered.parent)
    for name, content in contents.items():
        _put(content, gathered / name)
    files.sync_directory(gathered)
    files.rename(gathered, _beside(extent_file, _REPLACE))
    _finish(extent_file)


def _finish(extent_file: Path) -> None:
    """Copy the decided files over the extent's own; may be done any number of times."""
    decided = _beside(extent_file, _REPLACE)
    names = sorted(os.listdir(decided))
    for name in names:
        files.copy_synced(decided / name, extent_file.parent / name)
    for suffix in _METADATA_SUFFIXES:
        # A journal of the old database would be played into the new one.
        if extent_file.name + suffix not in names:
            (extent_file.parent / (extent_file.name + suffix)).unlink(missing_ok=True)
    files.sync_directory(extent_file.parent)
    completed = _beside(extent_file, _COMPLETED)
    files.rename(decided, completed)
    files.remove_tree(completed)


def _put(content: Path | bytes, target: Path) -> None:
    if isinstance(content, Path):
        files.copy_synced(content, target)
        return
    with target.open("wb") as writer:
        writer.write(content)
        writer.flush()
        files.sync(writer.fileno())


def _beside(extent_file: Path, suffix: str) -> Path:
    return extent_file.with_name(extent_file.name + suffix)
