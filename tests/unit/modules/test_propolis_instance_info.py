# SPDX-License-Identifier: GPL-3.0-or-later
"""The module propolis_instance_info, run whole against servers that play and servers that are away."""

from __future__ import annotations

import json

import propolis_samples as samples
import pytest
from ansible_collections.apiary.propolis.plugins.module_utils import ansible_propolis
from ansible_collections.apiary.propolis.plugins.modules import propolis_instance_info
from client_fakes import FakePropolis
from module_running import run_module


def held() -> FakePropolis:
    keyed = samples.vcr(7)
    keyed["sub_volumes"][0]["opts"]["key"] = samples.KEY
    fake = FakePropolis("5.0.0")
    fake.hold(samples.INSTANCE_ID, "vm0", "Running")
    fake.spec = {"type": "Present", "value": samples.instance_spec()}
    fake.spec["value"]["components"]["helios-blockdev-backend"]["component"]["request_json"] = json.dumps(keyed)
    fake.disk_status = samples.volume_info(generation=7)
    return fake


def test_several_servers_are_shown_and_a_missing_one_fails_nothing() -> None:
    with held().serve() as address:
        servers = [{"name": "alpha", "address": address}, {"address": "127.0.0.1:9"}]
        result = run_module(propolis_instance_info.main, {"servers": servers})
    assert result["changed"] is False
    alpha, away = result["servers"]
    assert alpha["instance"] == {"id": samples.INSTANCE_ID, "name": "vm0", "state": "Running"}
    assert (alpha["disks"][0]["generation"], alpha["disks"][0]["active"]) == (7, True)
    assert (away["name"], away["reachable"], away["failure"]["code"]) == ("127.0.0.1:9", False, "unreachable")


def test_one_server_can_be_named_alone_and_its_keys_stay_hidden_unless_asked_for() -> None:
    with held().serve() as address:
        hidden = run_module(propolis_instance_info.main, {"server": address})
        shown = run_module(propolis_instance_info.main, {"server": address, "include_spec": True}, check=True)
    assert samples.KEY not in json.dumps(hidden)
    assert hidden["servers"][0]["spec"]["state"] == "Running"
    assert samples.KEY in json.dumps(shown)


@pytest.mark.parametrize(
    ("keys", "fits"),
    [
        ({samples.VOLUME_ID: samples.KEY}, True),
        ({samples.VOLUME_ID.upper(): samples.KEY}, True),
        ({samples.VOLUME_ID: samples.KEY[::-1]}, False),
        ({samples.INSTANCE_ID: samples.KEY}, None),
        ({}, None),
    ],
)
def test_whether_a_key_fits_is_told_and_the_key_is_not(keys: dict[str, str], fits: bool | None) -> None:
    with held().serve() as address:
        result = run_module(propolis_instance_info.main, {"server": address, "keys": keys})
    assert [disk["key_fits"] for disk in result["servers"][0]["disks"]] == [fits]
    del result["invocation"]
    assert samples.KEY not in json.dumps(result)
    assert samples.KEY[::-1] not in json.dumps(result)


def test_a_volume_without_a_key_does_not_fit_one() -> None:
    fake = held()
    backend = fake.spec["value"]["components"]["helios-blockdev-backend"]["component"]
    backend["request_json"] = json.dumps(samples.vcr(7))
    with fake.serve() as address:
        result = run_module(propolis_instance_info.main, {"server": address, "keys": {samples.VOLUME_ID: samples.KEY}})
    assert [disk["key_fits"] for disk in result["servers"][0]["disks"]] == [False]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "one of the following is required"),
        ({"server": "127.0.0.1:9", "timeout": 0}, "timeout"),
        ({"server": "127.0.0.1:9", "api": "newest"}, "newest"),
        ({"server": "127.0.0.1:9", "servers": []}, "mutually exclusive"),
        ({"server": "127.0.0.1:9", "keys": {"vm0-boot": samples.KEY}}, "'vm0-boot'; it must be the UUID of a volume"),
    ],
)
def test_bad_options_fail_the_task(options: dict[str, object], word: str) -> None:
    result = run_module(propolis_instance_info.main, options)
    assert result["failed"] is True
    assert word in result["msg"]


def test_without_requests_the_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ansible_propolis, "HAS_REQUESTS", False)
    result = run_module(propolis_instance_info.main, {"server": "127.0.0.1:9"})
    assert result["failure"]["code"] == "missing_library"
