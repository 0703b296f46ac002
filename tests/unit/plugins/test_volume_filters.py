# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters volume_construction_request and with_generation, as templates use them."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.apiary.propolis.plugins.filter import volume_construction_request, with_generation

VOLUME = {
    "id": "0cedae45-3d6e-4d90-b2cb-56f1a1a42a89",
    "blocks_per_extent": 64000,
    "extent_count": 64,
    "targets": [{"host": "ds0", "port": 8810}, "172.20.3.73:8820", "172.20.3.73:8830"],
}
render = volume_construction_request.FilterModule().filters()["volume_construction_request"]
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
