# SPDX-License-Identifier: GPL-3.0-or-later
"""The repair service over HTTP: recorded routes, statuses and bodies of both ages."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from downstairs_harness import (
    ABORTS,
    SESSION,
    UPSTAIRS,
    Client,
    Running,
    active,
    downstairs,
    hello,
    make_region,
    with_session,
)
from propolis_lab.downstairs import extent_copy
from propolis_lab.downstairs.options import Mode
from propolis_lab.protocol.basics import SocketAddress
from propolis_lab.protocol.errors import ErrorKind
from propolis_lab.protocol.messages import (
    ExtentClose,
    ExtentError,
    ExtentReopen,
    ExtentRepair,
    PromoteToActive,
    ReadRequest,
    ReadResponse,
    RepairAckId,
    Write,
    YesItsMe,
    YouAreNowActive,
)
from propolis_lab.region import Age, Region, context_of

IDS = (UPSTAIRS, SESSION)
REQUEST_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


async def _get(running: Running, path: str, method: str = "GET") -> tuple[int, str, bytes]:
    """Status, content type and body; the id of the request is checked and masked."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"http://127.0.0.1:{running.port + 4000}{path}") as response,
    ):
        body = await response.read()
        request_id = response.headers["x-request-id"]
        assert REQUEST_ID.fullmatch(request_id)
        assert "Server" not in response.headers
        return response.status, response.headers["content-type"], body.replace(request_id.encode(), b"ID")


def _answers(path: Path, *paths: str, method: str = "GET", **options: Any) -> list[tuple[int, str, bytes]]:
    async def run() -> list[tuple[int, str, bytes]]:
        async with downstairs(path, **options) as running:
            return [await _get(running, path, method) for path in paths]

    return asyncio.run(run())


def _error(message: str) -> bytes:
    return f'{{\n  "request_id": "ID",\n  "message": {json.dumps(message)}\n}}'.encode()


JSON = "application/json"
NOT_FOUND = (404, JSON, _error("Not Found"))


def test_todays_answers_are_the_recorded_ones(tmp_path: Path) -> None:
    path = make_region(tmp_path / "ds0")
    answers = _answers(
        path,
        "/region-info",
        "/region-mode",
        "/extent/0/files",
        "/extent/0/repair-ready",
        "/work",
        "/newextent/0/data",
    )
    assert answers == [
        (
            200,
            JSON,
            b'{"block_size":512,"extent_size":{"value":16,"shift":9},"extent_count":4,'
            b'"uuid":"12345678-0000-4000-8000-000000000001","encrypted":false,'
            b'"database_read_version":1,"database_write_version":1}',
        ),
        (200, JSON, b"false"),
        (200, JSON, b'["000"]'),
        (200, JSON, b"false"),
        (200, JSON, b"true"),
        (200, "application/octet-stream", (path / "00" / "000" / "000").read_bytes()),
    ]


def test_the_answers_of_2023_are_the_recorded_ones_and_it_has_no_region_info(tmp_path: Path) -> None:
    path = make_region(tmp_path / "ds0", age=Age.JANUARY_2023)

    async def run() -> None:
        async with downstairs(path, age=Age.JANUARY_2023) as running:
            for name in ("/", "/region-info", "/region-mode", "/info", "/work", "/extent/0/repair-ready"):
                assert await _get(running, name) == NOT_FOUND
            status, kind, files = await _get(running, "/extent/0/files")
            assert (status, kind, json.loads(files)[:2]) == (200, JSON, ["000", "000.db"])
            for listed, asked in ((".db", "db"), (".db-wal", "db_shm"), (".db-shm", "db_wal")):
                file = path / "00" / "000" / f"000{listed}"
                if file.exists():
                    assert await _get(running, f"/newextent/0/{asked}") == (
                        200,
                        "application/octet-stream",
                        file.read_bytes(),
                    )

    asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/extent/4/files", "EBADF"),
        ("/extent/9999/files", 'Failed to get "DIR/00/002" metadata: No such file or directory (os error 2)'),
        ("/newextent/77/data", 'Failed to get "DIR/00/000/04D" metadata: No such file or directory (os error 2)'),
        ("/extent/x/files", "bad parameter in URL path: unable to parse 'x' as u32"),
        ("/extent/4294967296/files", "bad parameter in URL path: unable to parse '4294967296' as u32"),
        (
            "/newextent/0/xx",
            "bad parameter in URL path: unknown variant `xx`, expected one of `data`, `db`, `db_shm`, `db_wal`",
        ),
    ],
)
def test_bad_requests_get_the_recorded_words(tmp_path: Path, path: str, message: str) -> None:
    region = make_region(tmp_path / "ds0")
    assert _answers(region, path) == [(400, JSON, _error(message.replace("DIR", str(region))))]


def test_another_method_is_not_allowed(tmp_path: Path) -> None:
    answers = _answers(make_region(tmp_path / "ds0"), "/extent/0/files", method="POST")
    assert answers == [(405, JSON, _error("Method Not Allowed"))]


def test_an_extent_is_ready_for_repair_when_it_is_closed_or_the_downstairs_is_read_only(tmp_path: Path) -> None:
    async def use(client: Client, running: Running) -> None:
        assert await client.ask(ExtentClose(0, 2)) == RepairAckId(0)
        assert await _get(running, "/extent/2/repair-ready") == (200, JSON, b"true")
        assert await _get(running, "/extent/1/repair-ready") == (200, JSON, b"false")

    with_session(make_region(tmp_path / "rw"), use)
    read_only = make_region(tmp_path / "ro")
    assert _answers(read_only, "/extent/2/repair-ready", "/region-mode", mode=Mode.READ_ONLY) == 2 * [
        (200, JSON, b"true")
    ]


def test_where_the_real_process_aborts_on_a_request_ours_hangs_up_and_says_so(tmp_path: Path) -> None:
    async def run() -> None:
        async with downstairs(make_region(tmp_path / "ds0")) as running, await Client.connect(running.port) as client:
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await _get(running, "/extent/4/repair-ready")
            client.send(hello(), PromoteToActive(*IDS, 1))
            assert [type(await client.next()) for _unused in range(2)] == [YesItsMe, YouAreNowActive]
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await _get(running, "/work")
            said = running.messages()
            for reason in (
                "/extent/4/repair-ready: extent 4 is not one of the region's",
                "/work: an upstairs is between its promotion and the end of its negotiation",
            ):
                assert said[said.index(reason) + 1] == ABORTS
            assert (await _get(running, "/region-mode"))[0] == 200

    asyncio.run(run())


async def _repair(client: Client, source: Running, extent: int) -> object:
    address = SocketAddress(ip_address("127.0.0.1"), source.port + 4000)
    return await client.ask(ExtentRepair(2, extent, 0, address, (1,)))


@pytest.mark.parametrize("age", list(Age))
def test_a_repaired_extent_has_the_bytes_and_numbers_of_its_source(tmp_path: Path, age: Age) -> None:
    good, stale = make_region(tmp_path / "good", age=age), make_region(tmp_path / "stale", age=age)
    region = Region.open(good)
    data = bytes(range(256)) * 2
    region.write(35, [context_of(data)], data)
    region.flush(9, 4)
    region.close()

    async def run() -> None:
        version = 13 if age is Age.TODAY else 1
        async with (
            downstairs(good, age=age) as source,
            downstairs(stale, age=age) as target,
            await active(source.port, version=version) as giver,
            await active(target.port, version=version) as taker,
        ):
            for client in (giver, taker):
                assert await client.ask(ExtentClose(1, 2)) == RepairAckId(1)
            assert await _repair(taker, source, 2) == RepairAckId(2)
            for client in (giver, taker):
                assert await client.ask(ExtentReopen(3, 2)) == RepairAckId(3)
            found = await taker.ask(ReadRequest(*IDS, 1, (), 35, 1))
            assert isinstance(found, ReadResponse)
            assert bytes(found.data) == data

    asyncio.run(run())
    repaired = Region.open(stale)
    assert (repaired.versions()[2].generation, repaired.versions()[2].flush) == (4, 9)
    assert not list(stale.rglob("*.copy")) + list(stale.rglob("*.replace")) + list(stale.rglob("*.completed"))


def test_a_source_that_opened_its_extent_again_is_no_source(tmp_path: Path) -> None:
    async def use(client: Client, running: Running) -> None:
        async with downstairs(make_region(tmp_path / "source")) as source:
            assert await client.ask(ExtentClose(1, 0)) == RepairAckId(1)
            found = await _repair(client, source, 0)
            assert isinstance(found, ExtentError)
            assert "no longer closed" in str(found.error)

    with_session(make_region(tmp_path / "target"), use)


def test_an_extent_of_another_size_is_refused_and_the_own_one_kept(tmp_path: Path) -> None:
    target = make_region(tmp_path / "target")
    before = (target / "00" / "000" / "000").read_bytes()

    async def use(client: Client, _unused: Running) -> None:
        async with downstairs(make_region(tmp_path / "source", blocks=32)) as source:
            assert await client.ask(ExtentClose(1, 0)) == RepairAckId(1)
            found = await _repair(client, source, 0)
            assert isinstance(found, ExtentError)
            assert found.error.kind is ErrorKind.REPAIR_FILES_INVALID

    with_session(target, use)
    assert (target / "00" / "000" / "000").read_bytes() == before


def test_a_downstairs_that_is_sent_to_itself_for_repair_fails_with_the_recorded_words_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extent_copy, "_LIMIT", aiohttp.ClientTimeout(total=0.5))
    path = make_region(tmp_path / "ds0")
    copy = shutil.copytree(path, tmp_path / "before")

    async def use(client: Client, running: Running) -> None:
        assert await client.ask(ExtentClose(1, 0)) == RepairAckId(1)
        found = await _repair(client, running, 0)
        assert isinstance(found, ExtentError)
        assert found.error.details == (
            "Failed to verify extent is still valid for repair Communication Error: error sending request for url "
            f"(http://127.0.0.1:{running.port + 4000}/extent/0/repair-ready)",
        )

    with_session(path, use)
    assert (path / "00" / "000" / "000").read_bytes() == (Path(copy) / "00" / "000" / "000").read_bytes()


def test_the_work_of_a_session_is_written_to_the_log(tmp_path: Path) -> None:
    async def use(client: Client, running: Running) -> None:
        client.send(Write(*IDS, 5, (4,), 0, (), b""))
        await client.ask(ExtentClose(1, 0))
        assert await _get(running, "/work") == (200, JSON, b"true")
        await running.said("ConnectionId(0): job 5 Write waits for [4]")

    with_session(make_region(tmp_path / "ds0"), use)


def test_connections_and_requests_are_logged_as_recorded(tmp_path: Path) -> None:
    async def use(_unused: Client, running: Running) -> None:
        await _get(running, "/region-info")
        await _get(running, "/nothing")
        requests = [record for record in running.records() if "remote_addr" in record]
        assert [record["msg"] for record in requests] == 2 * ["accepted connection", "request completed"]
        assert {record["local_addr"] for record in requests} == {f"127.0.0.1:{running.port + 4000}"}
        assert [(record["uri"], record["response_code"]) for record in requests[1::2]] == [
            ("/region-info", "200"),
            ("/nothing", "404"),
        ]

    with_session(make_region(tmp_path / "ds0"), use)
