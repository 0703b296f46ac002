# SPDX-License-Identifier: GPL-3.0-or-later
"""Replaces the files of an extent so that a crash at any moment leaves all old or all new ones.

Downloaded files are gathered in ``XXX.copy``. Its renaming to ``XXX.replace`` is the moment of decision: from then on
whoever opens the extent for writing finishes the work. ``XXX.completed`` is a finished one, to be removed. Seen on the
real program.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
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


class Replacement:
    """The new files of one closed extent, gathered in its ``.copy`` directory until ``commit``.

    ``note`` is told each step in the words of the real program's log.
    """

    def __init__(self, extent_file: Path, note: Callable[[str], None] = lambda text: None) -> None:
        self._file = extent_file
        self._note = note
        self._gathered = _beside(extent_file, _COPY)

    def begin(self) -> None:
        """Make the directory. Raises RegionError when another repair of the extent stands half done."""
        try:
            self._gathered.mkdir()
        except FileExistsError:
            raise RegionError(f"{quoted(self._gathered)} exists: another repair of the extent is under way") from None
        files.sync_directory(self._gathered.parent)
        self._note(f"Created copy dir {quoted(self._gathered)}")

    def put(self, name: str, content: Path | bytes | Iterable[bytes]) -> None:
        """Gather one file: its bytes, in one or more pieces, or the file that has them."""
        if name not in _names_of(self._file):
            raise RegionError(f"a file {name} does not belong to extent file {quoted(self._file)}")
        if isinstance(content, Path):
            files.copy_synced(content, self._gathered / name)
            return
        with (self._gathered / name).open("wb") as writer:
            for piece in (content,) if isinstance(content, bytes) else content:
                writer.write(piece)
            writer.flush()
            files.sync(writer.fileno())

    def commit(self) -> None:
        """Put the gathered files in the place of the extent's own."""
        count = len(os.listdir(self._gathered))
        files.sync_directory(self._gathered)
        decided = _beside(self._file, _REPLACE)
        moved = f"{quoted(self._gathered)} to {quoted(decided)}"
        self._note(f"{count} repair files downloaded, move directory {moved}")
        files.rename(self._gathered, decided)
        _finish(self._file, self._note)

    def forget(self) -> None:
        """Remove what was gathered, after a failure."""
        if self._gathered.exists():
            files.remove_tree(self._gathered)


def replace(
    extent_file: Path, contents: Mapping[str, Path | bytes], note: Callable[[str], None] = lambda text: None
) -> None:
    """Put ``contents`` (file name to its bytes or the file that has them) in the place of a closed extent's files.

    Raises RegionError when a name does not belong to the extent or another repair of it stands half done.
    """
    if extent_file.name not in contents:
        raise RegionError(f"the files {sorted(contents)} lack {extent_file.name}, the extent's data")
    replacement = Replacement(extent_file, note)
    replacement.begin()
    try:
        for name, content in contents.items():
            replacement.put(name, content)
    except BaseException:
        replacement.forget()
        raise
    replacement.commit()


def _finish(extent_file: Path, note: Callable[[str], None] = lambda text: None) -> None:
    """Copy the decided files over the extent's own; may be done any number of times."""
    decided = _beside(extent_file, _REPLACE)
    note(f"Copy files from {quoted(decided)} in {quoted(extent_file.parent)}")
    names = sorted(os.listdir(decided))
    for name in names:
        files.copy_synced(decided / name, extent_file.parent / name)
    for suffix in _METADATA_SUFFIXES:
        # A journal of the old database would be played into the new one.
        if extent_file.name + suffix not in names:
            (extent_file.parent / (extent_file.name + suffix)).unlink(missing_ok=True)
    files.sync_directory(extent_file.parent)
    completed = _beside(extent_file, _COMPLETED)
    note(f"Move directory  {quoted(decided)} to {quoted(completed)}")
    files.rename(decided, completed)
    files.remove_tree(completed)


def _names_of(extent_file: Path) -> set[str]:
    return {extent_file.name, *(extent_file.name + suffix for suffix in _METADATA_SUFFIXES)}


def _beside(extent_file: Path, suffix: str) -> Path:
    return extent_file.with_name(extent_file.name + suffix)
