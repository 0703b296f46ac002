# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters over volumes, as templates use them."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.apiary.propolis.plugins.filter import (
    image_problems,
    volume_construction_request,
    with_generation,
)

VOLUME = {
    "id": "0cedae45-3d6e-4d90-b2cb-56f1a1a42a89",
    "blocks_per_extent": 64000,
    "extent_count": 64,
    "targets": [{"host": "ds0", "port": 8810}, "172.20.3.73:8820", "172.20.3.73:8830"],
}
render = volume_construction_request.FilterModule().filters()["volume_construction_request"]
differing = image_problems.FilterModule().filters()["image_problems"]
raise_generation = with_generation.FilterModule().filters()["with_generation"]


def test_a_volume_becomes_a_request_with_the_addresses_of_its_hosts():
    region = render(VOLUME, 3, {"ds0": "172.20.3.72"})["sub_volumes"][0]
    assert region["opts"]["target"] == ["172.20.3.72:8810", "172.20.3.73:8820", "172.20.3.73:8830"]
    assert region["gen"] == 3


def test_a_volume_that_no_upstairs_would_survive_is_one_sentence():
    with pytest.raises(AnsibleFilterError, match=r"targets: found 2, expected exactly 3 targets"):
        render({**VOLUME, "targets": VOLUME["targets"][1:]})


def test_a_request_gets_another_generation():
    before = render(VOLUME, 1, {"ds0": "172.20.3.72"})
    assert raise_generation(before, 13) == render(VOLUME, 13, {"ds0": "172.20.3.72"})


def test_what_is_no_request_is_one_sentence():
    with pytest.raises(AnsibleFilterError, match="type: found None"):
        raise_generation({}, 1)


def made(volume, host, checksum):
    image = {"sha256": checksum, "size": 1, "source": "/image"}
    return {"item": {"volume": volume, "host": host}, "changed": False} | ({"image": image} if checksum else {})


def test_volumes_whose_regions_hold_different_images_are_named_with_each_host():
    same = [made("same", f"ds{number}", "a") for number in range(3)]
    unknown = [made("written", "ds0", "a"), made("written", "ds1", None)]
    odd = [made("odd", "ds0", "a"), made("odd", "ds1", "b"), made("odd", "ds2", "a")]
    assert differing([*same, *unknown, *odd]) == [
        "The regions of odd were made from different images: a on ds0, b on ds1, a on ds2."
    ]
    assert differing([*same, *unknown]) == []
