# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to the lab's server of today and their answers: versions, routes, states, disks."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from propolis_lab.server.console import DEFAULT_HISTORY
from server_fakes import Storage, in_a_loop, server, spec, vcr

NO_INSTANCE = (424, "NoInstance", "Server not initialized (no instance)")


def error(reply: Any) -> tuple[int, str | None, str]:
    assert reply.body["request_id"] == reply.headers["x-request-id"]
    return reply.status, reply.body.get("error_code"), reply.body["message"]


@pytest.mark.parametrize(
    ("version", "text"),
    [
        (None, 'missing expected header "api-version"'),
        (
            "banana",
            "bad value for header \"api-version\": unexpected character 'b' while parsing major version number: banana",
        ),
        ("5", 'bad value for header "api-version": unexpected end of input while parsing major version number: 5'),
        ("", 'bad value for header "api-version": empty string, expected a semver version: '),
        ("6.0.0", "server does not support this API version: 6.0.0"),
        ("5.1.0", "server does not support this API version: 5.1.0"),
    ],
)
@in_a_loop
async def test_the_version_header_is_looked_at_before_anything_else(tmp_path: Path, version: str, text: str) -> None:
    async with server(tmp_path, Storage()) as one:
        for path in ("/instance", "/nope"):
            assert error(await one.call("GET", path, version=version)) == (400, None, text)


@in_a_loop
async def test_a_server_can_be_older_than_version_5(tmp_path: Path) -> None:
    async with server(tmp_path, Storage(), latest_api=(3, 0, 0)) as one:
        assert error(await one.call("GET", "/instance", version="3.0.0")) == NO_INSTANCE
        assert (await one.call("GET", "/instance", version="4.0.0")).status == 400


@in_a_loop
async def test_unknown_paths_are_404_and_wrong_methods_405_with_the_right_ones(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        assert error(await one.call("GET", "/nope")) == (404, None, "Not Found")
        reply = await one.call("DELETE", "/instance")
        assert error(reply) == (405, None, "Method Not Allowed")
        assert reply.headers.getall("allow") == ["GET", "PUT"]
        assert error(await one.call("GET", "/instance/")) == NO_INSTANCE


@in_a_loop
async def test_without_an_instance_everything_is_424(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        for method, path, body in (
            ("GET", "/instance", None),
            ("GET", "/instance/spec", None),
            ("GET", "/instance/migration-status", None),
            ("GET", "/instance/serial/history?from_start=0", None),
            ("GET", "/instance/disk/disk0-backend/status", None),
            ("PUT", "/instance/state", "Run"),
            ("POST", "/instance/nmi", None),
            ("GET", "/instance/state-monitor", {"gen": 0}),
            ("POST", f"/instance/disk/disk0-backend/snapshot/{uuid.uuid4()}", None),
            ("PUT", "/instance/disk/disk0-backend/vcr", {"vcr_json": "{}"}),
        ):
            assert error(await one.call(method, path, body)) == NO_INSTANCE, path


@in_a_loop
async def test_bodies_are_json_and_not_too_large(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        text = await one.call("PUT", "/instance", b"{}", headers={"content-type": "text/plain"})
        assert error(text) == (400, None, "unsupported content-type: text/plain")
        large = await one.call("PUT", "/instance", b" " * 1048577, headers={"content-type": "application/json"})
        assert error(large) == (400, None, "request body exceeded maximum size of 1048576 bytes")


@in_a_loop
async def test_an_instance_is_made_shown_run_and_stopped(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        instance = uuid.uuid4()
        made = await one.ensure(instance=instance)
        assert (made.status, made.body) == (201, {"migrate": None})
        shown = (await one.call("GET", "/instance")).body["instance"]
        assert (shown["properties"]["id"], shown["state"]) == (str(instance), "Creating")
        assert (await one.monitor(0)).body["gen"] == 1
        assert (await one.put_state("Run")).status == 204
        await one.until("Running")
        assert (await one.put_state("Stop")).status == 204
        await one.until("Destroyed")
        assert [row[:2] for row in one.published()] == [
            (1, "Creating"),
            (2, "Starting"),
            (3, "Running"),
            (4, "Stopping"),
            (5, "Stopped"),
            (6, "Destroyed"),
        ]
        assert (await one.call("GET", "/instance")).body["instance"]["state"] == "Destroyed"
        assert error(await one.put_state("Stop")) == NO_INSTANCE
        gone = await one.monitor(99)
        assert error(gone) == (410, "NoInstance", "No instance present; will never reach generation 99")
        assert (await one.ensure()).status == 201


@in_a_loop
async def test_a_second_instance_is_refused_whatever_its_id(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        instance = uuid.uuid4()
        await one.ensure(instance=instance)
        for again in (instance, uuid.uuid4()):
            refused = await one.ensure(instance=again)
            assert error(refused) == (409, "AlreadyInitialized", "instance already initialized")


@in_a_loop
async def test_states_that_are_not_allowed_are_403_with_the_reason_as_code(tmp_path: Path) -> None:
    storage = Storage()
    async with server(tmp_path, storage) as one:
        await one.ensure()
        prefix = "instance state change not allowed: "
        assert error(await one.put_state("Reboot")) == (
            403,
            prefix + "Operation requires an active instance",
            "Forbidden",
        )
        storage.reachable.clear()
        await one.put_state("Run")
        await one.until("Starting")
        assert (await one.put_state("Run")).status == 204
        assert error(await one.put_state("Reboot")) == (403, prefix + "Instance is currently starting", "Forbidden")
        status = (await one.call("GET", "/instance/disk/disk0-backend/status")).body["volume_info"]
        assert status["volume"]["sub_volumes"][0]["upstairs"]["state"] == "go_active"
        await one.put_state("Stop")
        await one.until("Destroyed")
        assert [row[1] for row in one.published()] == ["Creating", "Starting", "Stopped", "Destroyed"]


@in_a_loop
async def test_a_stop_before_the_run_destroys_the_instance(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        await one.ensure()
        await one.put_state("Stop")
        await one.until("Destroyed")
        assert [row[1] for row in one.published()] == ["Creating", "Stopping", "Stopped", "Destroyed"]


@in_a_loop
async def test_a_generation_that_is_too_low_fails_the_instance(tmp_path: Path) -> None:
    async with server(tmp_path, Storage(stored_generation=10)) as one:
        await one.ensure(spec(10))
        await one.put_state("Run")
        await one.until("Failed")
        assert [row[1] for row in one.published()] == ["Creating", "Starting", "Failed"]
        assert "Generation number is too low: requested 10, found 11" in one.log.getvalue()
        assert (await one.ensure(spec(11))).status == 201


@in_a_loop
async def test_a_reboot_starts_the_guest_again_and_several_at_once_are_one(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        await one.run()
        await one.console_until("tick 1")
        answers = await asyncio.gather(*(one.put_state(wanted) for wanted in ("Reboot", "Reboot", "Run")))
        assert [answer.status for answer in answers] == [204] * 3
        await one.monitor(5)
        text = await one.console_until("boot 2")
        assert [row[1] for row in one.published()][3:] == ["Rebooting", "Running"]
        assert text.count("Lab BIOS") == 2


@pytest.mark.parametrize(
    ("change", "log"),
    [
        (lambda value: value["board"].update(cpus=0), "failed to set max cpus"),
        (lambda value: value["board"].update(cpus=65), "failed to set max cpus"),
        (lambda value: value["board"].update(memory_mb=0), "failed to add low memory region"),
        (
            lambda value: value["components"]["disk0-backend"]["component"].update(request_json="{nope"),
            "failed to deserialize volume construction request",
        ),
    ],
)
@in_a_loop
async def test_what_cannot_be_built_is_500_failed_and_can_be_tried_again(tmp_path: Path, change: Any, log: str) -> None:
    async with server(tmp_path, Storage()) as one:
        bad = spec()
        change(bad)
        assert error(await one.ensure(bad)) == (500, "Internal", "Internal Server Error")
        assert [row[:2] for row in one.published()] == [(1, "Creating"), (2, "Failed")]
        assert error(await one.put_state("Run")) == NO_INSTANCE
        assert log in one.log.getvalue()
        assert (await one.ensure()).status == 201


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value["components"].pop("com1"),
        lambda value: value["components"]["disk0"]["component"]["pci_path"].update(device=0),
        lambda value: value["components"]["disk0-backend"]["component"].update(request_json=vcr(1, key="no base64!")),
        lambda value: value["components"]["disk0-backend"]["component"].update(
            request_json=vcr(1, key=base64.b64encode(bytes(16)).decode())
        ),
        lambda value: value["components"]["disk0-backend"]["component"].update(
            request_json=vcr(1, target=["127.0.0.1:3810", "127.0.0.1:3820"])
        ),
    ],
)
@in_a_loop
async def test_what_panics_the_real_server_leaves_the_instance_creating_for_ever(tmp_path: Path, change: Any) -> None:
    async with server(tmp_path, Storage()) as one:
        bad = spec()
        change(bad)
        assert error(await one.ensure(bad)) == (500, "Internal", "Internal Server Error")
        assert (await one.call("GET", "/instance")).body["instance"]["state"] == "Creating"
        assert error(await one.put_state("Stop")) == NO_INSTANCE
        assert (await one.ensure()).status == 409


@in_a_loop
async def test_a_missing_boot_rom_is_noticed_when_an_instance_is_made(tmp_path: Path) -> None:
    async with server(tmp_path, Storage(), bootrom=tmp_path / "nothing") as one:
        assert (await one.ensure()).status == 500
        assert "Cannot open bootrom" in one.log.getvalue()
        assert (await one.call("GET", "/instance")).body["instance"]["state"] == "Creating"


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"disk0-backend": None}, "storage backend disk0-backend not found for device disk0"),
        ({"disk0": None}, "backend disk0-backend not used by any device"),
        ({"com1b": {"type": "serial_port", "component": {"num": "com1"}}}, "serial port Com1 is already specified"),
    ],
)
@in_a_loop
async def test_specs_that_do_not_fit_together_are_400(tmp_path: Path, parts: dict[str, Any], text: str) -> None:
    async with server(tmp_path, Storage()) as one:
        refused = await one.ensure(spec(**parts))
        assert error(refused) == (400, None, f"failed to generate internal instance spec: {text}")
        assert error(await one.call("GET", "/instance")) == NO_INSTANCE


@in_a_loop
async def test_the_spec_is_shown_in_the_form_of_the_asked_version(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        await one.ensure()
        old = (await one.call("GET", "/instance/spec", version="1.0.0")).body["spec"]["value"]
        new = (await one.call("GET", "/instance/spec", version="2.0.0")).body["spec"]["value"]
        assert list(old) == ["version", "spec"]
        assert list(new) == ["board", "components", "smbios"]
        assert old["spec"]["components"] == new["components"]
        assert new["components"]["disk0-backend"]["component"]["request_json"] == vcr(1)


@in_a_loop
async def test_disk_status_is_a_flag_below_version_5_and_a_tree_from_there_on(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        await one.ensure()
        path = "/instance/disk/disk0-backend/status"
        assert (await one.call("GET", path, version="4.0.0")).body == {"active": False}
        await one.put_state("Run")
        await one.until("Running")
        assert (await one.call("GET", path, version="4.0.0")).body == {"active": True}
        assert list((await one.call("GET", path)).body) == ["volume_info"]
        unknown = await one.call("GET", "/instance/disk/disk0/status")
        assert error(unknown) == (404, "No crucible backend for id disk0", "Not Found")


@in_a_loop
async def test_snapshots_want_a_uuid_and_a_disk(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        await one.run()
        snapshot = f"snapshot/{uuid.uuid4()}"
        taken = await one.call("POST", f"/instance/disk/disk0-backend/{snapshot}")
        assert (taken.status, taken.body) == (200, None)
        assert error(await one.call("POST", f"/instance/disk/nope/{snapshot}"))[1] == "no disk with id nope!"
        bad = await one.call("POST", "/instance/disk/disk0-backend/snapshot/notauuid")
        text = "bad parameter in URL path: UUID parsing failed: invalid character: found `n` at 0"
        assert error(bad) == (400, None, text)


@in_a_loop
async def test_a_replacement_changes_the_shown_spec(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        await one.run()
        path = "/instance/disk/disk0-backend/vcr"
        same = await one.call("PUT", path, {"vcr_json": vcr(1)})
        text = "Invalid downstairs replace The VCRs have no difference"
        assert error(same) == (400, text, text)
        assert (await one.call("PUT", path, {"vcr_json": vcr(2)})).body == "vcr_matches"
        shown = (await one.call("GET", "/instance/spec")).body["spec"]["value"]["components"]["disk0-backend"]
        assert json.loads(shown["component"]["request_json"])["sub_volumes"][0]["gen"] == 2
        unknown = await one.call("PUT", "/instance/disk/nope/vcr", {"vcr_json": vcr(2)})
        assert error(unknown) == (404, "No crucible backend for id nope", "Not Found")


@in_a_loop
async def test_the_monitor_waits_for_its_generation_and_wants_a_body(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        await one.ensure()
        waiting = asyncio.create_task(one.monitor(3))
        await one.put_state("Run")
        assert (await waiting).body["gen"] >= 3
        nothing = await one.call("GET", "/instance/state-monitor")
        assert error(nothing) == (400, None, "unable to parse JSON body: EOF while parsing a value at line 1 column 0")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "Exactly one of 'from_start' or 'most_recent' must be specified."),
        ("from_start=0&most_recent=5", "Exactly one of 'from_start' or 'most_recent' must be specified."),
        ("from_start=-1", "unable to parse query string: invalid digit found in string"),
        ("from_start=banana", "unable to parse query string: invalid digit found in string"),
    ],
)
@in_a_loop
async def test_the_console_history_wants_exactly_one_offset(tmp_path: Path, query: str, expected: str) -> None:
    async with server(tmp_path, Storage()) as one:
        await one.run()
        assert error(await one.call("GET", f"/instance/serial/history?{query}")) == (400, None, expected)


@in_a_loop
async def test_the_console_history_is_cut_as_asked(tmp_path: Path) -> None:
    async with server(tmp_path, Storage()) as one:
        await one.run()
        text = (await one.console_until("login:")).encode()
        cut = (await one.call("GET", "/instance/serial/history?from_start=4&max_bytes=4")).body
        assert cut == {"data": list(text[4:8]), "last_byte_offset": 8}
        beyond = (await one.call("GET", "/instance/serial/history?from_start=100000")).body
        assert beyond["data"] == []
        all_of_it = (await one.call("GET", f"/instance/serial/history?most_recent={10 * DEFAULT_HISTORY}")).body
        assert bytes(all_of_it["data"]).startswith(text)


@in_a_loop
async def test_no_secret_of_a_volume_reaches_the_log_or_the_history(tmp_path: Path) -> None:
    key = base64.b64encode(b"k" * 32).decode()
    async with server(tmp_path, Storage()) as one:
        the_spec = spec()
        the_spec["components"]["disk0-backend"]["component"]["request_json"] = vcr(1, key=key)
        await one.run(the_spec)
        await one.put_state("Stop")
        await one.until("Destroyed")
        assert key not in one.log.getvalue()
        assert key not in json.dumps(one.events())
