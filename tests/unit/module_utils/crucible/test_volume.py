# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes of the inventory: what is refused, and the request that comes out."""

from __future__ import annotations

import base64
import contextlib
import json
import re

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.errors import InvalidValueError
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.placement import BadPlacement, placed_targets
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.vcr import with_generation
from ansible_collections.apiary.propolis.plugins.module_utils.crucible.volume import (
    Target,
    Volume,
    check_generation,
    parse_address,
)
from hypothesis import given
from hypothesis import strategies as st

ID = "0cedae45-3d6e-4d90-b2cb-56f1a1a42a89"
KEY = base64.b64encode(bytes(range(32))).decode()
TARGETS = ["172.20.3.73:8810", "172.20.3.73:8820", "172.20.3.73:8830"]
SEED = {"id": ID, "block_size": 512, "blocks_per_extent": 64000, "extent_count": 64, "targets": TARGETS}
# The request of the by-hand document, character by character as its programs write it.
REQUEST = (
    '{"type":"volume","id":"0cedae45-3d6e-4d90-b2cb-56f1a1a42a89","block_size":512,"sub_volumes":[{"type":"region",'
    '"block_size":512,"blocks_per_extent":64000,"extent_count":64,"opts":{"id":"0cedae45-3d6e-4d90-b2cb-56f1a1a42a89",'
    '"target":["172.20.3.73:8810","172.20.3.73:8820","172.20.3.73:8830"],"lossy":false,"flush_timeout":null,"key":null,'
    '"cert_pem":null,"key_pem":null,"root_cert_pem":null,"control":null,"read_only":false},"gen":1}],'
    '"read_only_parent":null}'
)


def request(generation: int = 1, **changed: object) -> dict:
    return Volume.from_mapping({**SEED, **changed}).construction_request(generation)


def test_the_request_equals_that_of_the_by_hand_document():
    assert json.dumps(request(), separators=(",", ":")) == REQUEST


def test_hosts_and_addresses_make_targets_too():
    mapped = [
        {"host": "ds0", "port": 8810, "address": "10.0.0.1"},
        {"host": "ds1", "port": "8810"},
        {"host": "ds2", "port": 8810, "address": "fd00::0:3"},
    ]
    volume = Volume.from_mapping({**SEED, "targets": mapped}, {"ds1": "10.0.0.2"})
    assert [str(target) for target in volume.targets] == ["10.0.0.1:8810", "10.0.0.2:8810", "[fd00::3]:8810"]
    assert volume.targets[0].name == "10.0.0.1:8810 (ds0)"


def test_an_encrypted_volume_has_its_key_in_the_request_and_nowhere_else():
    volume = Volume.from_mapping({**SEED, "key": KEY})
    assert volume.construction_request(1)["sub_volumes"][0]["opts"]["key"] == KEY
    assert volume.geometry.encrypted
    assert KEY not in repr(volume)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"targets": TARGETS[:2]}, "targets: found 2, expected exactly 3 targets"),
        ({"targets": [*TARGETS, "10.0.0.1:1"]}, "targets: found 4, expected exactly 3 targets"),
        ({"targets": None}, "targets: found 'nothing', expected exactly 3"),
        ({"targets": "abc"}, "targets: found 3, expected exactly 3"),
        ({"targets": 7}, "targets: found 7, expected exactly 3"),
        ({"targets": [TARGETS[0], TARGETS[1], TARGETS[0]]}, "expected three different ones"),
        ({"targets": [*TARGETS[:2], "localhost:8830"]}, "targets[2]: found 'localhost', expected an IP address"),
        ({"targets": [*TARGETS[:2], "fd00::1:8830"]}, "with an IPv6 address in brackets"),
        ({"targets": [*TARGETS[:2], "[fe80::1%eth0]:8830"]}, "expected an IP address"),
        ({"targets": [*TARGETS[:2], "172.20.3.73"]}, "'IP:port'"),
        ({"targets": [*TARGETS[:2], "172.20.3.73:61536"]}, "expected a port from 1 to 61535"),
        ({"targets": [*TARGETS[:2], "172.20.3.73:0"]}, "expected a port from 1 to 61535"),
        ({"targets": [*TARGETS[:2], "172.20.3.73:-1"]}, "expected a port from 1 to 61535"),
        ({"targets": [*TARGETS[:2], 7]}, "targets[2]: found 7, expected 'IP:port' or a mapping"),
        ({"targets": [*TARGETS[:2], {"host": "ds2", "port": 1}]}, "nothing says where host 'ds2' can be reached"),
        ({"targets": [*TARGETS[:2], {"address": 7, "port": 1}]}, "targets[2].address: found 7"),
        ({"targets": [*TARGETS[:2], {"address": "::1", "port": True}]}, "targets[2].port: found True"),
        ({"targets": [*TARGETS[:2], "172.20.3.73:12810"]}, "ports that are not 4000 apart on one address"),
        ({"targets": [*TARGETS[:2], "0.0.0.0:8830"]}, "expected the address of the host itself"),
        ({"targets": ["0.0.0.0:1", "0.0.0.0:2", "0.0.0.0:3"]}, "expected the address of the host itself"),
        ({"targets": ["[::]:1", "[::]:2", "10.0.0.1:3"], "allow_wildcard": True}, "the address of the host itself"),
        ({"key": "secret"}, "key: found 'something else', expected base64 (with padding) of 32 bytes"),
        ({"key": base64.b64encode(bytes(31)).decode()}, "key: found '31 bytes', expected base64"),
        ({"key": KEY.rstrip("=")}, "key: found 'something else'"),
        ({"key": 7}, "key: found 'something else'"),
        ({"key": KEY, "encrypted": False}, "key: found 'a key', expected none; the volume's regions are not encrypted"),
        ({"encrypted": True}, "key: found None, expected base64 of 32 bytes; the volume's regions are encrypted"),
        ({"block_size": 513}, "block_size: found 513, expected a power of two"),
        ({"block_size": "512 bytes"}, "block_size: found '512 bytes', expected a whole number"),
        ({"blocks_per_extent": 1048577}, "expected at most 1048576 blocks of 512 bytes"),
        ({"extent_count": None}, "extent_count: found None, expected a whole number"),
        ({"extent_count": True}, "extent_count: found True, expected a whole number"),
        ({"id": "vm0"}, "id: found 'vm0', expected a UUID"),
        ({"id": None}, "id: found None, expected a UUID"),
        ({"read_only": "yes"}, "read_only: found 'yes', expected true or false"),
    ],
)
def test_what_no_upstairs_would_survive_is_refused_with_a_sentence(changed, sentence):
    with pytest.raises(InvalidValueError, match=re.escape(sentence)) as caught:
        request(**changed)
    assert KEY not in caught.value.message
    assert KEY not in repr(caught.value.details)
    assert caught.value.message.endswith(".")


def test_three_wildcards_are_allowed_when_asked_for():
    asked = request(targets=["0.0.0.0:1", "0.0.0.0:2", "0.0.0.0:3"], allow_wildcard=True)
    assert asked["sub_volumes"][0]["opts"]["target"] == ["0.0.0.0:1", "0.0.0.0:2", "0.0.0.0:3"]
    assert Target("::", 1).wildcard


def test_what_is_no_mapping_is_no_volume():
    with pytest.raises(InvalidValueError, match="volume: found 'list'"):
        Volume.from_mapping([])


@pytest.mark.parametrize("generation", [0, -1, "0", "-1", "x", 1.5, None, True, 2**63, "9" * 30, "١"])
def test_a_generation_that_nobody_may_use_is_refused(generation):
    with pytest.raises(InvalidValueError, match=r"generation: found .* expected a whole number from 1") as caught:
        request(generation)
    assert caught.value.code == "invalid_generation"


def test_a_generation_of_digits_is_a_number():
    assert check_generation("12") == 12


@given(st.text() | st.from_regex(r"\[?[0-9a-f:.]{0,20}\]?:[0-9]{0,6}"))
def test_any_text_is_an_address_or_an_error_of_ours(text):
    with contextlib.suppress(InvalidValueError):
        address, port = parse_address("x", text)
        assert parse_address("x", str(Target(address, port))) == (address, port)


values = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.sampled_from([*TARGETS, 1]))


@given(st.dictionaries(st.sampled_from([*SEED, "key", "encrypted", "allow_wildcard", "read_only"]), values))
def test_any_volume_is_a_request_or_an_error_of_ours(changed):
    with contextlib.suppress(InvalidValueError):
        found = Volume.from_mapping({**SEED, **changed}).construction_request(1)
        assert json.loads(json.dumps(found)) == found
        assert with_generation(found, 1) == found


def test_only_the_generation_is_raised_and_the_given_request_is_left_alone():
    before = request(1)
    after = with_generation(before, 7)
    assert before == request(1)
    assert after == request(7)
    disk = {"device": "virtio", "name": "helios-blockdev", "slot": 1, "volume_construction_request": before}
    raised = with_generation([disk], "7")
    assert raised == [{**disk, "volume_construction_request": request(7)}]


def test_a_read_only_parent_keeps_its_generation():
    parent = {"type": "volume", "id": ID, "block_size": 512, "sub_volumes": [], "read_only_parent": None}
    before = {**request(1), "read_only_parent": parent}
    assert with_generation(before, 2)["read_only_parent"] == parent
    image = {"type": "url", "id": ID, "block_size": 512, "url": "http://x"}
    assert with_generation({**parent, "sub_volumes": [image]}, 2)["sub_volumes"] == [image]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (7, "request: found 'int'"),
        ("text", "request: found 'str'"),
        ({}, "type: found None, expected volume, region, url or file"),
        ({"type": "volume", "sub_volumes": None}, "sub_volumes: found 'NoneType', expected a list"),
        ({"type": "volume", "sub_volumes": [3]}, "type: found None"),
    ],
)
def test_what_is_no_request_is_refused(asked, sentence):
    with pytest.raises(InvalidValueError, match=re.escape(sentence)):
        with_generation(asked, 1)


def test_a_request_of_endless_depth_is_refused():
    nested = request(1)
    for _level in range(12):
        nested = {"type": "volume", "sub_volumes": [nested]}
    with pytest.raises(InvalidValueError, match="more than 8 levels"):
        with_generation(nested, 1)


@pytest.mark.parametrize(
    ("volumes", "sentence"),
    [
        ([], "crucible_volumes is"),
        ({"x": 7}, "expected a mapping with id"),
        ({"x": {"targets": "ds0"}}, "expected a list of three targets"),
        ({"x": {"id": "y", "targets": [{"host": "ds0", "port": [1]}]}}, "expected a port number and a uuid"),
        ({"x": {"targets": [{"host": "ds0", "port": None}]}}, "crucible_volumes.x has no id; expected a uuid."),
        ({"x": {"id": SEED["id"], "targets": [{"host": "ds0", "port": 1, "uuid": "z"}]}}, "uuid is 'z'"),
    ],
)
def test_volumes_that_cannot_be_placed_are_refused_in_one_sentence(volumes, sentence):
    with pytest.raises(BadPlacement, match=sentence):
        placed_targets(volumes, {"ds0": {}})
