# SPDX-License-Identifier: GPL-3.0-or-later
"""The module propolis_instance, run whole against a server that plays."""

from __future__ import annotations

import json
from typing import Any

import propolis_samples as samples
import pytest
from ansible_collections.apiary.propolis.plugins.module_utils import ansible_propolis
from ansible_collections.apiary.propolis.plugins.modules import propolis_instance
from client_fakes import FakePropolis, http_server, refusal
from module_running import run_module

SPEC = {"cpus": 4, "memory_mib": 1024, "disks": [samples.disk_request()]}
VM0 = {"id": samples.INSTANCE_ID, "name": "vm0", "spec": SPEC, "timeout": 5}


def run(fake: FakePropolis, *, check: bool = False, **options: Any) -> dict[str, Any]:
    with fake.serve() as address:
        result = run_module(propolis_instance.main, {"server": address, **options}, check=check)
    return {**result, "server": address}


def fresh() -> FakePropolis:
    fake = FakePropolis()
    fake.disk_status = samples.volume_info()
    return fake


def test_an_instance_is_made_and_run_and_a_second_time_nothing_changes() -> None:
    fake = fresh()
    first = run(fake, **VM0, state="running")
    expected = {"id": samples.INSTANCE_ID, "name": "vm0", "state": "Running", "dialect": "5.0.0"}
    assert first["changed"] is True, first
    assert first["instance"] == {**expected, "server": first["server"]}
    assert first["diff"] == {"before": {"state": None}, "after": {"state": "Running"}}
    second = run(fake, **VM0, state="running")
    assert second["changed"] is False
    assert "warnings" not in second
    assert second["diff"]["before"] == second["diff"]["after"]


def test_check_mode_foresees_what_the_real_run_returns_and_changes_nothing() -> None:
    fake = fresh()
    for options in ({**VM0, "state": "running"}, {"id": samples.INSTANCE_ID, "state": "absent"}):
        foreseen = run(fake, check=True, **options)
        before = len(fake.published)
        assert {said.method for said in fake.said[-3:]} == {"GET"}
        assert len(fake.published) == before
        real = run(fake, **options)
        for key in ("changed", "diff"):
            assert foreseen[key] == real[key]
        assert {**foreseen["instance"], "server": 0} == {**real["instance"], "server": 0}


def test_check_mode_refuses_what_the_servers_age_cannot_express() -> None:
    result = run(FakePropolis("2023-01"), check=True, **{**VM0, "spec": {**SPEC, "boot_order": ["helios-blockdev"]}})
    assert result["failure"]["code"] == "bad_description"
    assert "2023" in result["msg"]


def test_an_instance_that_is_not_there_is_absent_already() -> None:
    result = run(FakePropolis(), id=samples.INSTANCE_ID, state="absent")
    assert (result["changed"], result["instance"]) == (False, None)
    assert run(FakePropolis(), id=samples.INSTANCE_ID, state="absent", check=True)["instance"] is None


def test_a_live_instance_that_differs_from_its_description_is_warned_of() -> None:
    fake = fresh()
    run(fake, **VM0, state="running")
    result = run(fake, **{**VM0, "spec": {**SPEC, "cpus": 8}}, state="running")
    assert result["changed"] is False
    assert "cpus is 4, described as 8" in json.dumps(result["warnings"])


def test_a_server_with_another_instance_is_refused_with_both_ids() -> None:
    fake = fresh()
    fake.hold(samples.DESTINATION_ID, "other", "Running")
    for state in ("present", "running", "stopped", "absent", "rebooted"):
        result = run(fake, **VM0, state=state)
        assert result["failure"]["code"] == "server_occupied"
        assert samples.DESTINATION_ID in result["msg"]
        assert samples.INSTANCE_ID in result["msg"]


def test_a_failure_half_way_says_that_something_was_changed() -> None:
    fake = fresh()
    fake.scripts["Run"] = ["Starting", "Failed"]
    result = run(fake, **VM0, state="running")
    assert result["failed"] is True
    assert result["changed"] is True
    assert result["failure"]["code"] == "instance_failed"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"id": "nonsense"}, "bad_description"),
        ({"timeout": 0}, "bad_description"),
        ({"spec": {"cpus": 0}}, "bad_description"),
        ({"server": "nonsense"}, "bad_address"),
        ({"server": "127.0.0.1:9"}, "unreachable"),
        ({"api": "newest"}, "unsupported_dialect"),
        ({"spec": None, "state": "running"}, "cannot_create"),
    ],
)
def test_bad_input_fails_with_one_sentence_and_a_code(options: dict[str, Any], code: str) -> None:
    result = run(FakePropolis(), **{**VM0, **options})
    assert result["failed"] is True
    assert result["changed"] is False
    assert result["failure"]["code"] == code
    assert result["msg"] == result["failure"]["message"]


def test_html_from_a_server_is_said_to_be_no_propolis_server() -> None:
    from client_fakes import Reply

    with http_server(lambda said: Reply(200, b"<html>", "text/html")) as address:
        result = run_module(propolis_instance.main, {**VM0, "server": address})
    assert result["failure"]["code"] == "not_propolis"


def test_keys_are_hidden_in_the_result_and_nothing_else_is() -> None:
    keyed = samples.disk_request()
    keyed["volume_construction_request"]["sub_volumes"][0]["opts"]["key"] = samples.KEY
    fake = fresh()
    fake.instead["PUT", "/instance"] = refusal(400, f'invalid value: string "{samples.KEY}", expected 512 bytes')
    result = run(fake, **{**VM0, "spec": {**SPEC, "disks": [keyed]}})
    text = json.dumps(result)
    assert samples.KEY not in text
    assert "expected 512 bytes" in result["msg"]
    assert "127.0.0.1" in result["msg"]
    assert fake.bodies("PUT", "/instance")[0]["init"]["value"]["spec"]["components"]
    assert samples.KEY in json.dumps(fake.bodies("PUT", "/instance"))


def test_without_requests_the_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ansible_propolis, "HAS_REQUESTS", False)
    result = run_module(propolis_instance.main, {**VM0, "server": "127.0.0.1:9"})
    assert result["failure"]["code"] == "missing_library"
    assert "requests" in result["msg"]
