# SPDX-License-Identifier: GPL-3.0-or-later
"""``clone`` and ``create --clone-source``: takes every extent from a read-only downstairs, over its repair API.

Steps, log lines and errors were seen on the real program.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from propolis_lab.downstairs.logs import Logger
from propolis_lab.downstairs.opening import log_shape, open_logged
from propolis_lab.downstairs.outcome import Failure
from propolis_lab.downstairs.version import MESSAGE_VERSION_RECORD, VERSION_RECORD
from propolis_lab.region import Age, Definition, Region
from propolis_lab.region.repair import Replacement

_TIMEOUT_SECONDS = 15.0
_CHUNK_BYTES = 1 << 20


def clone(directory: Path, source: str, log: Logger) -> None:
    """Make the region in ``directory`` a copy of the one served at ``source`` (repair address, ``IP:PORT``).

    Raises RegionError, Failure: the source does not answer, may be written, or has another shape.
    """
    region = open_logged(directory, Age.TODAY, log, read_only=False)
    try:
        log_shape(region, log)
        task = log.child(task="clone")
        task.info(VERSION_RECORD)
        task.info(MESSAGE_VERSION_RECORD)
        task.info(f"Connecting to {source} to obtain our extent files.")
        api = _RepairApi(source)
        definition = Definition.from_json(api.json("/region-info", "Failed to get source region definition"))
        task.info(f"The source RegionDefinition is: {_debug(definition)}")
        read_only = api.json("/region-mode", "Failed to get source mode")
        task.info(f"The source mode is: {str(read_only).lower()}")
        if not read_only:
            raise Failure("Source downstairs is not read only")
        task.info(f"my def is {_debug(region.definition)}")
        _check_compatible(region.definition, definition)
        for extent in range(definition.extent_count):
            task.info(f"Repair extent {extent}")
            _copy_extent(region, extent, api, log)
        task.info("Region has been cloned")
    finally:
        region.close()


def _copy_extent(region: Region, extent: int, api: _RepairApi, log: Logger) -> None:
    region.close_extent(extent)
    path = region.extent_file(extent)
    replacement = Replacement(path, log.info)
    replacement.begin()
    try:
        names = api.json(f"/extent/{extent}/files", f"Failed to get the files of extent {extent}")
        log.info(f"eid:{extent} Found repair files: {json.dumps(names)}")
        if names != [path.name]:
            raise Failure(f"extent {extent} of the source has the files {names}, not one raw file {path.name}")
        replacement.put(path.name, api.pieces(f"/newextent/{extent}/data", f"Failed to get extent {extent}"))
        log.info(f"Verify extent {extent} still ready for copy")
        if not api.json(f"/extent/{extent}/repair-ready", f"Failed to ask about extent {extent}"):
            raise Failure(f"extent {extent} of the source is not ready for repair any more")
    except BaseException:
        replacement.forget()
        raise
    replacement.commit()
    region.reopen_extent(extent)


class _RepairApi:
    """The repair service of another downstairs, one connection a request, each with a time limit."""

    def __init__(self, address: str) -> None:
        self._address = address

    def json(self, path: str, trouble: str) -> Any:
        """The answer's JSON. Raises Failure that starts with ``trouble``."""
        body = b"".join(self.pieces(path, trouble))
        try:
            return json.loads(body)
        except ValueError as error:
            raise Failure(f"{trouble}: {self._address}{path} answered no JSON: {error}") from None

    def pieces(self, path: str, trouble: str) -> Iterator[bytes]:
        """The answer's bytes as they come. Raises Failure that starts with ``trouble``."""
        connection = http.client.HTTPConnection(self._address, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            if response.status != http.HTTPStatus.OK:
                raise Failure(f"{trouble}: Error Response: status: {response.status} {response.reason}")
            while piece := response.read(_CHUNK_BYTES):
                yield piece
        except (OSError, http.client.HTTPException) as error:
            url = f"http://{self._address}{path}"
            text = f"Communication Error: error sending request for url ({url})"
            raise Failure(f"{trouble}: {text}") from error
        finally:
            connection.close()


def _check_compatible(mine: Definition, theirs: Definition) -> None:
    """The order of these checks is the real program's."""
    checks = (
        ("Incompatible RegionDefinition block_size", mine.block_size != theirs.block_size),
        ("Incompatible RegionDefinition extent_size", mine.blocks_per_extent != theirs.blocks_per_extent),
        ("Incompatible RegionDefinition extent_count", mine.extent_count != theirs.extent_count),
        ("UUIDs are the same", mine.uuid == theirs.uuid),
        ("Incompatible RegionDefinition encrypted", mine.encrypted != theirs.encrypted),
    )
    for text, wrong in checks:
        if wrong:
            raise Failure(f"Incompatible region definitions: {text}")


def _debug(definition: Definition) -> str:
    """A definition as Rust prints one."""
    shift = definition.block_size.bit_length() - 1
    return (
        f"RegionDefinition {{ block_size: {definition.block_size}, "
        f"extent_size: Block {{ value: {definition.blocks_per_extent}, shift: {shift} }}, "
        f"extent_count: {definition.extent_count}, uuid: {definition.uuid}, "
        f"encrypted: {str(definition.encrypted).lower()}, database_read_version: 1, database_write_version: 1 }}"
    )
