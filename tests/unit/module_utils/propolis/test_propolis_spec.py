# SPDX-License-Identifier: GPL-3.0-or-later
"""Disk requests, descriptions and specs: the by-hand JSON key by key, and every refusal before a server sees it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import propolis_samples as samples
import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.apiary.propolis.plugins.filter import disk_request as disk_request_filter
from ansible_collections.apiary.propolis.plugins.filter import disk_requests as disk_requests_filter
from ansible_collections.apiary.propolis.plugins.filter import instance_spec as instance_spec_filter
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.dialects import SpecDialect
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.errors import BadDescription
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.instance import Volume
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.redaction import SECRET_MEMBERS
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec import instance_spec
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_description import Description
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_drift import Difference, differences, drift
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_requests import (
    disk_request,
    disk_requests,
    instance_description,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_volume import check_volume
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.values import Value
from hypothesis import given
from hypothesis import strategies as st


def described(**changes: Any) -> dict[str, Any]:
    return {"cpus": 4, "memory_mib": 1024, "disks": [samples.disk_request()], **changes}


class TestDiskRequests:
    def test_the_by_hand_documents_disk_request_is_made_key_by_key(self) -> None:
        assert disk_request(samples.DISK, samples.VOLUMES["helios"]) == samples.disk_request()

    def test_device_is_virtio_and_the_name_is_the_volumes_when_nothing_else_is_said(self) -> None:
        made = disk_requests([{"volume": "helios"}], samples.VOLUMES)
        assert made == [{**samples.disk_request(), "name": "helios", "slot": 0}]

    def test_slots_follow_the_order_and_generations_are_found_by_name_or_id(self) -> None:
        made = disk_requests(
            [{"volume": "helios"}, {"volume": "data"}],
            samples.VOLUMES,
            {samples.VOLUME_ID: 7, "data": 9},
        )
        assert [one["slot"] for one in made] == [0, 1]
        generations = [one["volume_construction_request"]["sub_volumes"][0]["gen"] for one in made]  # type: ignore[index]
        assert generations == [7, 9]

    def test_a_read_only_disk_opens_its_volume_read_only_too(self) -> None:
        made = disk_request({**samples.DISK, "read_only": True}, samples.VOLUMES["helios"])
        assert made["read_only"] is True
        assert made["volume_construction_request"]["sub_volumes"][0]["opts"]["read_only"] is True  # type: ignore[index]

    @pytest.mark.parametrize(
        ("disks", "sentence"),
        [
            ([{"volume": "nosuch"}], "nosuch"),
            ([{"slot": 1}], "defined: data, helios"),
            ([{"volume": "helios"}, {"volume": "helios", "name": "twin"}], "volume"),
            ([{"volume": "helios", "slot": 1}, {"volume": "data", "slot": 1}], "slot 1"),
            ([{"volume": "helios", "device": "scsi"}], "virtio and nvme"),
            ([{"volume": "helios", "slot": 8}], "from 0 to 7"),
            ([{"volume": "helios", "slot": "x"}], "whole number"),
            ([{"volume": "helios", "slto": 1}], "'slot' meant"),
            ([{"volume": "helios", "name": "a/b"}], "a/b"),
            ([{"volume": "helios", "name": "com1"}], "com1"),
            ([{"volume": "helios", "read_only": "maybe"}], "true or false"),
            ([["helios"]], "None"),
        ],
    )
    def test_what_no_server_would_take_is_refused_in_one_sentence(self, disks: list[Any], sentence: str) -> None:
        with pytest.raises(BadDescription, match=sentence):
            disk_requests(disks, samples.VOLUMES)

    def test_a_disk_that_is_no_dictionary_is_refused(self) -> None:
        with pytest.raises(BadDescription, match="dictionary"):
            disk_request("helios", samples.VOLUMES["helios"])  # type: ignore[arg-type]

    def test_two_disks_that_share_a_target_are_refused(self) -> None:
        volumes = copy.deepcopy(samples.VOLUMES)
        volumes["data"]["targets"][0] = "172.20.3.73:8820"
        with pytest.raises(BadDescription, match=r"target 172\.20\.3\.73:8820"):
            disk_requests([{"volume": "helios"}, {"volume": "data"}], volumes)

    @pytest.mark.parametrize("generation", [0, -1, "many", None, True])
    def test_a_generation_that_nobody_may_use_is_refused(self, generation: Any) -> None:
        with pytest.raises(CollectionError):
            disk_request(samples.DISK, samples.VOLUMES["helios"], generation)


class TestDescriptions:
    def test_the_filters_output_is_what_the_description_reads(self) -> None:
        requests = disk_requests(samples.INSTANCE["disks"], samples.VOLUMES)
        description = Description.from_json(instance_description(samples.INSTANCE, requests))
        assert (description.cpus, description.memory_mib) == (4, 1024)
        assert description.disks[0].to_json() == samples.disk_request()
        assert description.metadata.sled_model == "fake-gimlet"

    def test_processors_and_memory_have_the_defaults_of_propolis_cli(self) -> None:
        assert instance_description({}) == {"cpus": 4, "memory_mib": 1024, "disks": []}

    def test_members_for_other_readers_are_left_alone_and_slips_of_the_pen_are_refused(self) -> None:
        assert "console" not in instance_description({"console": {"expect": "login:"}, "hosts": ["alpha"]})
        with pytest.raises(BadDescription, match="'memory_mib' meant"):
            instance_description({"memory_mb": 2048})

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"cpus": 0}, r"spec\.cpus is 0"),
            ({"cpus": None}, r"spec\.cpus must be"),
            ({"cpus": True}, r"spec\.cpus must be"),
            ({"memory_mib": -1}, r"spec\.memory_mib is -1"),
            ({"memory": 4}, "unknown member 'memory'"),
            ({"disks": "none"}, r"spec\.disks must be a list"),
            ({"disks": [7]}, "dictionary"),
            ({"disks": [{**samples.disk_request(), "colour": 1}]}, "colour"),
            ({"boot_order": ["nosuch"]}, "nosuch"),
            ({"boot_order": [1]}, "must be a text"),
            ({"nics": [{"name": "vnic0", "slot": 0, "interface_id": "x"}]}, "UUID"),
            ({"nics": [{"name": "a", "slot": 0}, {"name": "b", "slot": 0}]}, "slot 0"),
            ({"nics": [{"name": "helios-blockdev", "slot": 0}]}, "used twice"),
            ({"nics": [{"name": "helios-blockdev-backend", "slot": 0}]}, "used twice"),
            ({"nics": [{"name": "", "slot": 0}]}, "1 to 128"),
            ({"metadata": {"silo_id": 4}}, "silo_id"),
            ({"metadata": {"silo": samples.NIL}}, "silo"),
            ({"smbios": {"manufacturer": "m"}}, "product_name"),
            ({"cloud_init": "not base64!"}, "base64"),
            ({"cloud_init": "AAAA" * 200_000}, "1 MiB"),
            ({"enable_pcie": "yes"}, "true or false"),
        ],
    )
    def test_a_description_that_cannot_be_is_refused_with_its_place(
        self, changes: dict[str, Any], sentence: str
    ) -> None:
        with pytest.raises(BadDescription, match=sentence):
            Description.from_json(described(**changes))

    def test_a_description_that_is_no_dictionary_is_refused(self) -> None:
        with pytest.raises(BadDescription, match="must be a dictionary, found list"):
            Description.from_json([])

    def test_numbers_that_a_template_made_into_texts_are_taken(self) -> None:
        assert Description.from_json(described(cpus="8")).cpus == 8

    @given(
        st.recursive(
            st.none() | st.integers() | st.text(max_size=4),
            lambda i: (
                st.lists(i)
                | st.dictionaries(
                    st.sampled_from(["cpus", "memory_mib", "disks", "nics", "metadata", "name", "slot", "smbios"]), i
                )
            ),
            max_leaves=8,
        )
    )
    def test_any_json_is_a_description_or_refused(self, raw: object) -> None:
        try:
            Description.from_json(raw)
        except CollectionError as error:
            assert error.message  # noqa: PT017 - the reader may succeed too


class TestSpecsOfToday:
    def test_the_by_hand_documents_machine_becomes_the_spec_that_propolis_cli_makes(self) -> None:
        assert instance_spec(Description.from_json(described()), smbios=True) == samples.instance_spec()

    def test_before_version_2_there_is_no_smbios_and_none_can_be_asked_for(self) -> None:
        assert "smbios" not in instance_spec(Description.from_json(described()), smbios=False)
        smbios = {"manufacturer": "m", "product_name": "p", "serial_number": "s", "version": 1}
        wanted = Description.from_json(described(smbios=smbios))
        assert instance_spec(wanted, smbios=True)["smbios"] == smbios
        with pytest.raises(BadDescription, match="smbios"):
            instance_spec(wanted, smbios=False)

    def test_an_nvme_disk_has_a_serial_number_of_twenty_bytes_padded_with_spaces(self) -> None:
        request = {**samples.disk_request(), "device": "nvme"}
        spec = instance_spec(Description.from_json(described(disks=[request])), smbios=True)
        disk = spec["components"]["helios-blockdev"]  # type: ignore[index]
        assert disk["type"] == "nvme_disk"
        assert bytes(disk["component"]["serial_number"]) == b"helios-blockdev     "

    def test_network_cards_cloud_init_and_boot_order_become_components(self) -> None:
        wanted = described(
            nics=[{"name": "vnic0", "slot": 3}], cloud_init="AAAA", boot_order=["helios-blockdev"], pvpanic=False
        )
        made: dict[str, Any] = instance_spec(Description.from_json(wanted), smbios=True)["components"]  # type: ignore[assignment]
        assert made["vnic0"]["component"]["pci_path"]["device"] == 11
        assert made["vnic0-backend"] == {"type": "virtio_network_backend", "component": {"vnic_name": "vnic0"}}
        assert made["cloud-init"]["component"]["pci_path"]["device"] == 24
        assert made["cloud-init-backend"]["component"] == {"base64": "AAAA", "readonly": True}
        assert made["boot-settings"]["component"] == {"order": [{"id": "helios-blockdev"}]}
        assert "pvpanic" not in made


class TestDrift:
    def spec(self) -> Any:
        shown = {"spec": {"type": "Present", "value": samples.instance_spec()}}
        return SpecDialect("5.0.0").read_spec(Value(shown, "x"))

    def test_the_same_machine_at_another_generation_does_not_differ(self) -> None:
        assert drift(Description.from_json(described(disks=[samples.disk_request(12)])), self.spec()) == []

    def test_each_difference_is_named(self) -> None:
        request = {**samples.disk_request(), "device": "nvme", "slot": 2, "read_only": True}
        request["volume_construction_request"]["sub_volumes"][0]["extent_count"] = 65
        found = drift(Description.from_json(described(cpus=8, memory_mib=2048, disks=[request])), self.spec())
        assert [clause.split(" is ")[0] for clause in found[:2]] == ["cpus", "memory_mib"]
        assert "disk helios-blockdev: device is virtio, described as nvme" in found
        assert "disk helios-blockdev: sub_volumes[0].extent_count is 64 there and 65 as described" in found
        other = {**samples.disk_request(), "name": "other"}
        assert drift(Description.from_json(described(disks=[other])), self.spec()) == [
            "disk other is missing",
            "disk helios-blockdev is not described",
        ]


def region(request: dict[str, Any], **changes: Any) -> dict[str, Any]:
    request["sub_volumes"][0] |= changes
    return request


def options(request: dict[str, Any], **changes: Any) -> dict[str, Any]:
    request["sub_volumes"][0]["opts"] |= changes
    return request


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[Difference]:
    return differences(check_volume(one, "one"), check_volume(other, "other"))


class TestDifferences:
    """Of volume construction requests. See also the moves that are refused for them."""

    def test_generation_spelling_nulls_and_the_order_of_targets_are_none(self) -> None:
        other = samples.vcr(9)
        other["id"] = samples.VOLUME_ID.upper()
        del other["sub_volumes"][0]["opts"]["control"]
        del other["read_only_parent"]
        other["sub_volumes"][0]["opts"]["target"].reverse()
        assert differing(samples.vcr(), other) == []

    def test_the_request_of_a_region_is_that_of_a_volume_of_it(self) -> None:
        assert differing(samples.vcr()["sub_volumes"][0], samples.vcr(2)) == []

    @pytest.mark.parametrize(
        ("changed", "place", "one", "other"),
        [
            (region(samples.vcr(2), extent_count=65), "sub_volumes[0].extent_count", "64", "65"),
            (options(samples.vcr(2), flush_timeout=0.5), "sub_volumes[0].opts.flush_timeout", "none", "0.5"),
            (options(samples.vcr(2), lossy=True), "sub_volumes[0].opts.lossy", "False", "True"),
            (options(samples.vcr(2), key=samples.KEY), "sub_volumes[0].opts.key", "none", "one"),
            (options(samples.vcr(2), cert_pem="/a"), "sub_volumes[0].opts.cert_pem", "none", "one"),
            (samples.vcr(2) | {"id": samples.INSTANCE_ID}, "id", samples.VOLUME_ID, samples.INSTANCE_ID),
            (
                samples.vcr(2) | {"sub_volumes": samples.vcr(2)["sub_volumes"] * 2},
                "sub_volumes",
                "a list of 1",
                "a list of 2",
            ),
            (
                samples.vcr(2) | {"read_only_parent": samples.vcr()},
                "read_only_parent",
                "none",
                f"volume {samples.VOLUME_ID}",
            ),
            (
                options(samples.vcr(2), target=["172.20.3.73:8810", "172.20.3.73:8820", "[::1]:9"]),
                "sub_volumes[0].opts.target",
                "172.20.3.73:8810, 172.20.3.73:8820, 172.20.3.73:8830",
                "172.20.3.73:8810, 172.20.3.73:8820, [::1]:9",
            ),
        ],
    )
    def test_a_difference_is_named_with_both_values(
        self, changed: dict[str, Any], place: str, one: str, other: str
    ) -> None:
        assert differing(samples.vcr(), changed) == [Difference(place, one, other)]
        assert differing(changed, samples.vcr(7)) == [Difference(place, one=other, other=one)]

    def test_the_generation_of_a_parent_is_part_of_it(self) -> None:
        one, other = (samples.vcr(2) | {"read_only_parent": samples.vcr(number)} for number in (1, 2))
        assert differing(one, other) == [Difference("read_only_parent.sub_volumes[0].gen", "1", "2")]

    @pytest.mark.parametrize("member", sorted(SECRET_MEMBERS))
    def test_no_secret_is_shown(self, member: str) -> None:
        one, other = (options(samples.vcr(), **{member: secret}) for secret in (samples.KEY, samples.KEY[:-4] + "AAA="))
        assert differing(one, other) == [Difference(f"sub_volumes[0].opts.{member}", "one", "another one")]

    @pytest.mark.parametrize("odd", [lambda secret: [secret], lambda secret: {"x": secret}])
    def test_nothing_inside_a_secret_is_shown(self, odd: Callable[[str], object]) -> None:
        one, other = (Volume(None, (), {"type": "volume", "key": odd(secret)}) for secret in ("mine", "yours"))
        assert differences(one, other) == [Difference("key", "one", "another one")]

    def test_what_is_deep_beyond_all_measure_differs(self) -> None:
        deep: dict[str, Any] = {}
        for _unused in range(100):
            deep = {"x": deep}
        found = differing(samples.vcr() | {"more": deep}, samples.vcr() | {"more": deep})
        assert [one.other for one in found] == ["too deep to be compared"]

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=20,
        )
    )
    def test_anything_is_compared_with_anything(self, inner: object) -> None:
        one = check_volume(samples.vcr() | {"more": inner}, "one")
        assert differences(one, one) == []
        assert (differences(one, check_volume(samples.vcr(), "other")) == []) == (inner is None)


class TestFilters:
    def test_the_filters_give_what_the_domain_gives(self) -> None:
        one = disk_request_filter.FilterModule().filters()["disk_request"]
        many = disk_requests_filter.FilterModule().filters()["disk_requests"]
        spec = instance_spec_filter.FilterModule().filters()["instance_spec"]
        assert one(samples.DISK, samples.VOLUMES["helios"], 3) == samples.disk_request(3)
        assert many([samples.DISK], samples.VOLUMES) == [samples.disk_request()]
        assert spec(samples.INSTANCE, [samples.disk_request()])["disks"] == [samples.disk_request()]

    def test_a_refusal_is_one_sentence_of_the_filter(self) -> None:
        for call in (
            lambda: disk_request_filter.disk_request({"slot": 9}, samples.VOLUMES["helios"]),
            lambda: disk_requests_filter.disk_requests([{"volume": "x"}], {}),
            lambda: instance_spec_filter.instance_spec({"vcpus": 0}),
        ):
            with pytest.raises(AnsibleFilterError):
                call()

    def test_disk_requests_can_be_written_to_a_file_for_propolis_cli(self) -> None:
        assert json.loads(json.dumps(disk_requests_filter.disk_requests([samples.DISK], samples.VOLUMES)))
