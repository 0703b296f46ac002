# SPDX-License-Identifier: GPL-3.0-or-later
"""The SQLite database of a 2023 extent: its tables, its numbers and the contexts of its blocks.

Journal mode WAL: a process that dies leaves ``-wal`` and ``-shm`` files, which hold what was committed last; the next
one that opens and closes the database takes them in. Seen on the real program; hashes are 8 bytes, little-endian.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from propolis_lab.region.context import BlockContext
from propolis_lab.region.errors import DatabaseUnopened, RegionError, quoted
from propolis_lab.region.extent import ExtentVersion

_EXTENT_VERSION = 1
_METADATA_TABLE = """CREATE TABLE metadata (
                    name TEXT PRIMARY KEY,
                    value INTEGER NOT NULL
                )"""
_CONTEXT_TABLE = """CREATE TABLE block_context (
                    block INTEGER,
                    hash BLOB NOT NULL,
                    nonce BLOB,
                    tag BLOB,
                    on_disk_hash BLOB NOT NULL,
                    PRIMARY KEY (block, hash, nonce, tag, on_disk_hash)
                )"""
_SET = "UPDATE metadata SET value=? WHERE name=?"
_CONTEXTS = (
    "SELECT block, hash, nonce, tag, on_disk_hash FROM block_context WHERE block BETWEEN ? AND ? ORDER BY block, rowid"
)

_REMOVE_EQUAL = "DELETE FROM block_context WHERE block=? AND hash=? AND nonce IS ? AND tag IS ? AND on_disk_hash=?"


class Database:
    """An open database; every change is one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path, extent: int) -> Database:
        """Open an existing database for writing. Raises RegionError with the recorded text."""
        try:
            connection = _connect(path, create=False)
            try:
                found = cls(connection)
                version = found._numbers().get("ext_version")
            except sqlite3.Error:
                connection.close()
                raise
        except sqlite3.Error as error:
            raise DatabaseUnopened(f"Open of db file {quoted(path)} for extent#{extent} returned: {error}") from error
        if version != _EXTENT_VERSION:
            connection.close()
            raise RegionError(f"extent {extent} has database version {version}, not {_EXTENT_VERSION}")
        return found

    @classmethod
    def create(cls, path: Path) -> None:
        """Make the database of an extent that was never written, with nothing left in a journal."""
        connection = _connect(path, create=True)
        try:
            connection.execute("BEGIN")
            connection.execute(_METADATA_TABLE)
            connection.execute(_CONTEXT_TABLE)
            rows = (("ext_version", _EXTENT_VERSION), ("gen_number", 0), ("flush_number", 0), ("dirty", 0))
            connection.executemany("INSERT INTO metadata VALUES (?, ?)", rows)
            connection.execute("COMMIT")
        finally:
            connection.close()

    def close(self) -> None:
        self._connection.close()

    def version(self) -> ExtentVersion:
        numbers = self._numbers()
        return ExtentVersion(numbers["gen_number"], numbers["flush_number"], bool(numbers["dirty"]))

    def mark_dirty(self) -> None:
        self._connection.execute(_SET, (1, "dirty"))

    def store_flush(self, flush_number: int, generation: int) -> None:
        """Numbers above 2^63 - 1 do not fit: OverflowError, as SQLite's integers are signed."""
        with self._connection:
            self._connection.execute("BEGIN")
            rows = ((flush_number, "flush_number"), (generation, "gen_number"), (0, "dirty"))
            self._connection.executemany(_SET, rows)

    def add_contexts(self, start: int, contexts: Sequence[BlockContext], stored_hashes: Sequence[int]) -> None:
        """Store the contexts of consecutive blocks, beside those that they have."""
        rows = [
            (start + index, _blob(context.hash), *(context.encryption or (None, None)), _blob(stored))
            for index, (context, stored) in enumerate(zip(contexts, stored_hashes, strict=True))
        ]
        with self._connection:
            self._connection.execute("BEGIN")
            # The table's key does not see rows without nonce and tag as equal, so an equal one goes first.
            self._connection.executemany(
                "DELETE FROM block_context WHERE block=? AND hash=? AND nonce IS ? AND tag IS ? AND on_disk_hash=?",
                rows,
            )
            self._connection.executemany("INSERT INTO block_context VALUES (?, ?, ?, ?, ?)", rows)

    def contexts(self, start: int, count: int) -> Iterator[tuple[int, BlockContext, int]]:
        """(block, context, hash of the stored bytes), in the order in which a block's contexts were stored."""
        for block, hash_, nonce, tag, stored in self._connection.execute(_CONTEXTS, (start, start + count - 1)):
            encryption = None if nonce is None else (bytes(nonce), bytes(tag))
            yield block, BlockContext(int.from_bytes(hash_, "little"), encryption), int.from_bytes(stored, "little")

    def keep_only(self, start: int, stored_hashes: Sequence[int]) -> None:
        """Of the contexts of consecutive blocks remove those that do not fit the blocks' bytes."""
        rows = [(start + index, _blob(stored)) for index, stored in enumerate(stored_hashes)]
        with self._connection:
            self._connection.execute("BEGIN")
            self._connection.executemany("DELETE FROM block_context WHERE block=? AND on_disk_hash<>?", rows)

    def _numbers(self) -> dict[str, int]:
        return dict(self._connection.execute("SELECT name, value FROM metadata"))


def _connect(path: Path, *, create: bool) -> sqlite3.Connection:
    """A connection without transactions of its own; changes are on the disk when a transaction has ended."""
    mode = "rwc" if create else "rw"
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _blob(value: int) -> bytes:
    return value.to_bytes(8, "little")
