# SPDX-License-Identifier: GPL-3.0-or-later
"""Volume construction requests: read from servers, and refused before a server dies of them."""

from __future__ import annotations

from typing import Any

import propolis_samples as samples
import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.errors import BadDescription, NotPropolis
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_volume import (
    check_volume,
    read_embedded_volume,
    read_volume,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.values import Value
from hypothesis import given
from hypothesis import strategies as st


class TestVolumes:
    def test_a_request_is_read_with_its_regions(self) -> None:
        volume = check_volume(samples.vcr(7), "disk a")
        assert (volume.id, volume.generation) == (samples.VOLUME_ID, 7)
        assert volume.targets == ("172.20.3.73:8810", "172.20.3.73:8820", "172.20.3.73:8830")
        assert volume.regions[0].extent_count == 64

    def test_a_key_is_in_no_representation(self) -> None:
        request = samples.vcr()
        request["sub_volumes"][0]["opts"]["key"] = samples.KEY
        assert samples.KEY not in repr(check_volume(request, "disk a"))

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"target": ["10.0.0.1:1", "10.0.0.1:2"]}, "2 targets"),
            ({"target": ["10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:1"]}, "same target twice"),
            ({"target": ["10.0.0.1:1", "10.0.0.1:2", "alpha:3"]}, "alpha:3"),
            ({"target": ["10.0.0.1:1", "10.0.0.1:2", "10.0.0.1"]}, "IP:PORT"),
            ({"key": "not base64"}, "32 bytes"),
            ({"key": "c2hvcnQ="}, "32 bytes"),
            ({"key": 17}, "32 bytes"),
            ({"id": "nonsense"}, "UUID"),
            ({"read_only": None}, "read_only"),
        ],
    )
    def test_options_that_kill_or_hang_a_real_server_are_refused(self, change: dict[str, Any], sentence: str) -> None:
        request = samples.vcr()
        request["sub_volumes"][0]["opts"] |= change
        with pytest.raises(BadDescription, match=sentence) as caught:
            check_volume(request, "disk a")
        assert "disk a" in caught.value.message
        assert "not base64" not in caught.value.message

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"gen": 0}, "generation 0"),
            ({"gen": 2**64}, "generation"),
            ({"extent_count": 0}, "extent_count 0"),
            ({"block_size": 1536}, "block_size 1536"),
            ({"block_size": 256}, "block_size 256"),
            ({"type": "disk"}, "type"),
        ],
    )
    def test_a_region_that_cannot_be_is_refused(self, change: dict[str, Any], sentence: str) -> None:
        request = samples.vcr()
        request["sub_volumes"][0] |= change
        with pytest.raises(BadDescription, match=sentence):
            check_volume(request, "disk a")

    def test_a_key_of_a_parent_is_checked_too(self) -> None:
        request = samples.vcr()
        request["read_only_parent"] = samples.vcr()["sub_volumes"][0]
        request["read_only_parent"]["opts"]["key"] = "short"
        with pytest.raises(BadDescription, match="32 bytes"):
            check_volume(request, "disk a")

    def test_a_bare_region_takes_its_id_from_its_options_and_files_have_no_generation(self) -> None:
        assert check_volume(samples.vcr()["sub_volumes"][0], "x").id == samples.VOLUME_ID
        file = check_volume({"type": "file", "id": samples.VOLUME_ID, "block_size": 512, "path": "/x"}, "x")
        assert (file.generation, file.targets) == (None, ())

    def test_volumes_inside_each_other_without_end_are_refused(self) -> None:
        request: dict[str, Any] = samples.vcr()
        for _unused in range(20):
            request = {"type": "volume", "id": samples.VOLUME_ID, "block_size": 512, "sub_volumes": [request]}
        with pytest.raises(BadDescription, match="at most 8"):
            check_volume(request, "x")

    def test_an_embedded_request_that_is_no_json_is_said_to_be_that(self) -> None:
        assert read_embedded_volume(Value(samples.request_json(3), "x")).generation == 3
        for text in ("{", "[]", "7"):
            with pytest.raises(NotPropolis):
                read_embedded_volume(Value(text, "x"))
        with pytest.raises(BadDescription, match="dictionary"):
            check_volume("text", "x")

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("volume") | st.just("region"),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["type", "id", "sub_volumes", "opts", "gen", "target", "key", "read_only_parent"]),
                    inner,
                    max_size=6,
                )
            ),
            max_leaves=15,
        )
    )
    def test_any_json_is_a_volume_or_refused(self, raw: object) -> None:
        for read in (lambda: read_volume(Value(raw, "x")), lambda: check_volume(raw, "x")):
            try:
                read()
            except CollectionError as error:
                assert error.message  # noqa: PT017 - the readers may succeed too
